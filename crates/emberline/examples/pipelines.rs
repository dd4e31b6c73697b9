//! What a directory of a BERT makes of texts: `cargo run --release -p emberline --example pipelines DIRECTORY TEXT…`.

use std::error::Error;

use emberline::DeviceName;
use emberline::auto::AutoConfig;
use emberline::models::bert::Architecture;
use emberline::pipelines::{
    Aggregation, FeatureExtraction, FillMask, Pipeline, TextClassification, TokenClassification,
};

/// How many texts are read at a time.
const BATCH_SIZE: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, texts @ ..] = arguments.as_slice() else {
        return Err("expected a directory and texts".into());
    };
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let AutoConfig::Bert(config) = AutoConfig::read(directory)? else {
        return Err(format!("{directory} holds no BERT").into());
    };
    let device = DeviceName::Flex.open()?;
    match config.architecture()? {
        Architecture::MaskedLm | Architecture::PreTraining => {
            let found = FillMask::open(directory, &device)?.predict(&texts, 5, BATCH_SIZE)?;
            for word in found.texts.iter().flat_map(|text| text.masks.iter().flatten()) {
                println!("{:.3} {}", word.score, word.sequence);
            }
        }
        Architecture::SequenceClassification => {
            let classifier = TextClassification::open(directory, &device)?;
            for (text, labels) in texts.iter().zip(classifier.predict(&texts, 1, BATCH_SIZE)?.texts)
            {
                println!("{:.3} {} {text}", labels[0].score, labels[0].label);
            }
        }
        Architecture::TokenClassification => {
            let tagger = TokenClassification::open(directory, &device)?;
            let found = tagger.predict_groups(&texts, Aggregation::First, BATCH_SIZE)?;
            for name in found.texts.iter().flatten() {
                println!("{:.3} {} {}", name.score, name.entity_group, name.word);
            }
        }
        _ => {
            let encoder = FeatureExtraction::open(directory, &device)?;
            for (text, vectors) in texts.iter().zip(encoder.predict(&texts, BATCH_SIZE)?.texts) {
                println!("{} vectors of {} numbers: {text}", vectors.len(), vectors[0].len());
            }
        }
    }
    Ok(())
}
