//! `emberline predict translation`.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use emberline_generation::BeamConfig;
use serde_json::json;

use crate::cli::PredictTranslationArguments;
use crate::failure::{Failure, Outcome};
use crate::tasks::translation::translator;
use crate::{model_directory, terminal};

/// Prints the translation of each line.
pub fn run(arguments: &PredictTranslationArguments) -> Outcome {
    let beam = BeamConfig { beam_size: arguments.num_beams, ..BeamConfig::default() };
    beam.validate().map_err(|error| Failure::Usage(error.into()))?;
    let directory = model_directory::resolve(&arguments.model)?;
    let translator = translator::load(&directory, &arguments.device.open()?)?;
    let sources = lines(arguments.text.as_deref())?;
    let translations = translator.translate(&sources, &beam)?;
    let line = |(source, translation): (&String, String)| match arguments.json {
        true => format!("{}\n", json!({ "source": source, "translation": translation })),
        false => translation + "\n",
    };
    let text: String = sources.iter().zip(translations).map(line).collect();
    Ok(terminal::result(text)?)
}

/// The lines of a text, or of stdin.
fn lines(text: Option<&str>) -> Result<Vec<String>> {
    let mut read = String::new();
    let text = match text {
        Some(text) => text,
        None => {
            std::io::stdin().read_to_string(&mut read).context("cannot read stdin")?;
            &read
        }
    };
    let lines: Vec<String> = text.lines().map(str::to_string).collect();
    ensure!(!lines.is_empty(), "there is no line to translate");
    Ok(lines)
}
