//! `emberline activations`: what every layer of a GPT or a BERT makes of some tokens, in a file that Python opens.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use emberline::auto::{AutoConfig, AutoModel, encoder_directory};
use emberline_checkpoint::save_tensors;
use emberline_core::{
    HiddenStates, LanguageModel, SentencePair, TaskModel, TokenBatch, VocabularyHead,
};
use emberline_models::bert::{AnyBert, BertConfig};
use emberline_text::{BertTokenizer, Tokenizer};

use crate::cli::ActivationsArguments;
use crate::failure::Outcome;
use crate::{model_directory, terminal};

/// Tensors by their names.
type Named = Vec<(String, TensorData)>;

/// Writes `hidden.0` to `hidden.L`, as `transformers` numbers its hidden states, and what the head makes of the last:
/// `logits`, or the names that `transformers` gives to the scores of heads that have several. Of a BERT with a pooler,
/// `pooled` too.
pub fn run(arguments: ActivationsArguments) -> Outcome {
    let directory = encoder_directory(model_directory::resolve(&arguments.model)?)?;
    let device = arguments.device.open()?;
    let config = model_directory::config(&directory)?;
    let batch = batch(&arguments, &directory, &config, &device)?;
    let tensors = match config.load(&directory, &device)? {
        AutoModel::Gpt1(model) => of_gpt(&model, &batch),
        AutoModel::Gpt2(model) => of_gpt(&model, &batch),
        AutoModel::Gpt3(model) => of_gpt(&model, &batch),
        AutoModel::Bert(model) => of_bert(&model, &batch),
        AutoModel::Recurrent(_) => {
            let directory = directory.display();
            let error =
                format!("{directory} holds a recurrent model, whose states are not numbered");
            return Err(anyhow::Error::msg(error).into());
        }
    };
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let said = format!("{} in {}\n", names.join(" "), arguments.output.display());
    save_tensors(&arguments.output, tensors)?;
    Ok(terminal::result(said)?)
}

/// The rows that were asked for, which the model can read.
fn batch(
    arguments: &ActivationsArguments,
    directory: &Path,
    config: &AutoConfig,
    device: &Device,
) -> Result<TokenBatch> {
    let (rows, segments) = match (&arguments.text, config) {
        (Some(text), AutoConfig::Bert(config)) => {
            let tokenizer = BertTokenizer::from_directory(directory)?;
            let row = tokenizer.row(text, None, config.n_positions)?;
            ensure!(
                row.n_cut == 0,
                "the text has more tokens than {} positions",
                config.n_positions
            );
            (vec![row.tokens], Vec::new())
        }
        (Some(text), _) => (vec![Tokenizer::from_directory(directory)?.encode(text)?], Vec::new()),
        (None, _) => (
            parse_all("--tokens", &arguments.tokens)?,
            parse_all("--segments", &arguments.segments)?,
        ),
    };
    check(&rows, config.vocab_size(), config.n_positions())?;
    let batch = TokenBatch::padded(&slices(&rows), device);
    if segments.is_empty() {
        return Ok(batch);
    }
    let AutoConfig::Bert(config) = config else {
        bail!("--segments are for a BERT, and {} holds none", directory.display());
    };
    check_segments(&segments, &rows, config)?;
    Ok(batch.with_segments(&slices(&segments)))
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// The rows of numbers that a flag was given.
fn parse_all(flag: &str, rows: &[String]) -> Result<Vec<Vec<u32>>> {
    let row = |text: &String| parse(text).with_context(|| format!("{flag} {text}"));
    rows.iter().map(row).collect()
}

/// Whether every token has a segment that the model knows.
fn check_segments(segments: &[Vec<u32>], rows: &[Vec<u32>], config: &BertConfig) -> Result<()> {
    let (n, n_rows) = (segments.len(), rows.len());
    ensure!(n == n_rows, "there are {n_rows} rows of tokens and {n} of segments");
    for (index, (segments, row)) in segments.iter().zip(rows).enumerate() {
        let (n, n_tokens) = (segments.len(), row.len());
        ensure!(n == n_tokens, "row {index} has {n_tokens} tokens and {n} segments");
        let n_segments = config.n_segments;
        if let Some(segment) = segments.iter().find(|segment| **segment as usize >= n_segments) {
            bail!("row {index} has segment {segment}, but the model has only {n_segments}");
        }
    }
    Ok(())
}

/// Whether a model can read the rows.
fn check(rows: &[Vec<u32>], vocab_size: usize, n_positions: Option<usize>) -> Result<()> {
    for (index, row) in rows.iter().enumerate() {
        ensure!(!row.is_empty(), "row {index} is empty: expected at least one token");
        if let Some(token) = row.iter().find(|token| **token as usize >= vocab_size) {
            bail!(
                "row {index} has token {token}, but the model knows only those below {vocab_size}"
            );
        }
        let (n, most) = (row.len(), n_positions.unwrap_or(usize::MAX));
        ensure!(n <= most, "row {index} has {n} tokens, and the model {most} positions");
    }
    Ok(())
}

/// The states by name, and the last of them.
fn states<M: HiddenStates>(model: &M, batch: &TokenBatch) -> (Named, Tensor<3>) {
    let states = model.hidden_states(batch);
    let last = states.last().expect("the vectors that go into the first layer").clone();
    let name = |(index, state): (usize, Tensor<3>)| (format!("hidden.{index}"), state.into_data());
    (states.into_iter().enumerate().map(name).collect(), last)
}

/// The scores of all words at all positions.
fn words<M: VocabularyHead>(model: &M, hidden: Tensor<3>) -> TensorData {
    let [batch_size, seq_length, d_model] = hidden.dims();
    let logits = model.head(hidden.reshape([batch_size * seq_length, d_model]));
    logits.reshape([batch_size, seq_length, model.vocab_size()]).into_data()
}

fn of_gpt<M: HiddenStates + LanguageModel>(model: &M, batch: &TokenBatch) -> Named {
    let (mut tensors, last) = states(model, batch);
    tensors.push(("logits".to_string(), words(model, last)));
    tensors
}

fn of_bert(model: &AnyBert, batch: &TokenBatch) -> Named {
    let (mut tensors, last) = states(model.bert(), batch);
    let mut add = |name: &str, data: TensorData| tensors.push((name.to_string(), data));
    if let Some(pooled) = model.bert().pooled(last.clone()) {
        add("pooled", pooled.into_data());
    }
    match model {
        AnyBert::Model(_) => {}
        AnyBert::PreTraining(model) => {
            add("logits", words(model, last.clone()));
            add("seq_relationship_logits", model.pair_logits(last).into_data());
        }
        AnyBert::MaskedLm(model) => add("logits", words(model, last)),
        AnyBert::NextSentence(model) => add("logits", model.pair_logits(last).into_data()),
        AnyBert::SequenceClassification(model) => add("logits", model.logits(batch).into_data()),
        AnyBert::TokenClassification(model) => {
            add("logits", model.head.classifier.forward(last).into_data());
        }
        AnyBert::QuestionAnswering(model) => {
            let scores = model.head.answers.forward(last);
            for (kind, name) in ["start_logits", "end_logits"].into_iter().enumerate() {
                add(name, scores.clone().narrow(2, kind, 1).squeeze_dim::<2>(2).into_data());
            }
        }
        AnyBert::MultipleChoice(model) => add("logits", model.logits(batch).into_data()),
    }
    tensors
}

/// Token ids with commas between them.
fn parse(text: &str) -> Result<Vec<u32>> {
    let id = |part: &str| {
        part.trim().parse().with_context(|| format!("expected a token id, found {part:?}"))
    };
    text.split(',').map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_a_model_cannot_read_are_named() {
        let complaint = |rows: &[&[u32]]| {
            let rows: Vec<Vec<u32>> = rows.iter().map(|row| row.to_vec()).collect();
            check(&rows, 5, Some(2)).unwrap_err().to_string()
        };
        assert_eq!(complaint(&[&[1], &[]]), "row 1 is empty: expected at least one token");
        let unknown = "row 0 has token 5, but the model knows only those below 5";
        assert_eq!(complaint(&[&[4, 5]]), unknown);
        assert_eq!(complaint(&[&[1, 2, 3]]), "row 0 has 3 tokens, and the model 2 positions");
    }

    #[test]
    fn segments_that_a_model_cannot_read_are_named() {
        let complaint = |segments: &[&[u32]]| {
            let segments: Vec<Vec<u32>> = segments.iter().map(|row| row.to_vec()).collect();
            let rows = [vec![1, 2], vec![3]];
            check_segments(&segments, &rows, &BertConfig::default()).unwrap_err().to_string()
        };
        assert_eq!(complaint(&[&[0, 1]]), "there are 2 rows of tokens and 1 of segments");
        assert_eq!(complaint(&[&[0, 1], &[0, 0]]), "row 1 has 1 tokens and 2 segments");
        assert_eq!(complaint(&[&[0, 2], &[0]]), "row 0 has segment 2, but the model has only 2");
    }

    #[test]
    fn ids_stand_between_commas() {
        assert_eq!(parse("1, 2,30").unwrap(), [1, 2, 30]);
        let error = parse("1,x").unwrap_err().to_string();
        assert_eq!(error, "expected a token id, found \"x\"");
    }
}
