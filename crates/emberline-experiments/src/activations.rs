//! `emberline activations`: what every layer of a GPT makes of some tokens, in a file that Python opens.

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Tensor;
use emberline_checkpoint::save_tensors;
use emberline_core::{HiddenStates, LanguageModel, TokenBatch};
use emberline_text::Tokenizer;

use crate::cli::ActivationsArguments;
use crate::failure::Outcome;
use crate::model_directory::{self, AnyModel, Model};
use crate::terminal;

/// Writes `hidden.0` to `hidden.L`, as `transformers` numbers its hidden states, and `logits`.
pub fn run(arguments: ActivationsArguments) -> Outcome {
    let directory = model_directory::resolve(&arguments.model)?;
    let device = arguments.device.open()?;
    let Model { model, vocab_size, n_positions } =
        model_directory::load_model(&directory, &device)?;
    let rows = match &arguments.text {
        Some(text) => vec![Tokenizer::from_directory(&directory)?.encode(text)?],
        None => {
            let row = |text: &String| parse(text).with_context(|| format!("--tokens {text}"));
            arguments.tokens.iter().map(row).collect::<Result<_>>()?
        }
    };
    check(&rows, vocab_size, n_positions)?;
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let batch = TokenBatch::padded(&rows, &device);
    let states = match &model {
        AnyModel::Gpt1(model) => states(model, &batch),
        AnyModel::Gpt2(model) => states(model, &batch),
        AnyModel::Gpt3(model) => states(model, &batch),
        AnyModel::Recurrent(_) => {
            return Err(anyhow::anyhow!(
                "{} holds a recurrent model, whose states are not numbered",
                directory.display()
            )
            .into());
        }
    };
    let tensors: Vec<_> =
        states.into_iter().map(|(name, tensor)| (name, tensor.into_data())).collect();
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let said = format!("{} in {}\n", names.join(" "), arguments.output.display());
    save_tensors(&arguments.output, tensors)?;
    Ok(terminal::result(said)?)
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

/// The states and the scores, by name.
fn states<M: HiddenStates + LanguageModel>(
    model: &M,
    batch: &TokenBatch,
) -> Vec<(String, Tensor<3>)> {
    let states = model.hidden_states(batch);
    let last = states.last().expect("the vectors that go into the first layer").clone();
    let [batch_size, seq_length, d_model] = last.dims();
    let logits = model.head(last.reshape([batch_size * seq_length, d_model]));
    let logits = logits.reshape([batch_size, seq_length, model.vocab_size()]);
    let name = |(index, state)| (format!("hidden.{index}"), state);
    let states = states.into_iter().enumerate().map(name);
    states.chain([("logits".to_string(), logits)]).collect()
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
    fn ids_stand_between_commas() {
        assert_eq!(parse("1, 2,30").unwrap(), [1, 2, 30]);
        let error = parse("1,x").unwrap_err().to_string();
        assert_eq!(error, "expected a token id, found \"x\"");
    }
}
