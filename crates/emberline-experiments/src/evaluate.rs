//! `emberline evaluate`: how well a model tells what comes next in texts that it did not write.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use emberline_evaluation::{LastWords, TextLikelihood, last_words, text_likelihoods};
use emberline_generation::Window;
use serde_json::{Value, json};

use crate::cli::EvaluateArguments;
use crate::documents::Documents;
use crate::failure::{Failure, Outcome};
use crate::in_context;
use crate::model_directory::{self, Loaded, with_model};
use crate::result::grouped;
use crate::terminal;

/// The window of a model that reads texts of any length.
const WINDOW: usize = 1024;

/// Prints what the model makes of a file.
pub fn run(arguments: EvaluateArguments) -> Outcome {
    if arguments.batch_size == 0 {
        return Err(Failure::usage("--batch-size is 0: expected at least 1"));
    }
    let directory = model_directory::resolve(&arguments.model)?;
    let loaded = model_directory::load(&directory, &arguments.device.open()?)?;
    let start_token = start_token(&loaded, arguments.start_token.as_deref())?;
    let report = match (&arguments.file.text, &arguments.file.last_words) {
        (Some(file), _) => perplexity(&loaded, file, start_token, &arguments)?,
        (_, Some(file)) => last_word_accuracy(&loaded, file, arguments.batch_size)?,
        _ => in_context::run(&loaded, &directory, start_token, &arguments)?,
    };
    Ok(terminal::result(report.printed(&directory, arguments.json))?)
}

/// What was found, for people and for machines.
pub struct Report {
    pub rows: Vec<(String, String)>,
    pub json: Value,
}

impl Report {
    fn printed(mut self, model: &Path, json: bool) -> String {
        let model = model.display().to_string();
        if json {
            self.json["model"] = json!(model);
            return format!("{}\n", self.json);
        }
        let line = |(name, value): &(String, String)| format!("{name:<12} {value}\n");
        line(&("model".into(), model)) + &self.rows.iter().map(line).collect::<String>()
    }
}

/// The token that is asked for by its name.
fn start_token(loaded: &Loaded, name: Option<&str>) -> Result<Option<u32>> {
    let id = |name: &str| {
        let id = loaded.tokenizer.id(name);
        id.with_context(|| format!("--start-token {name:?} is no token of the model's vocabulary"))
    };
    name.map(id).transpose()
}

/// The perplexity of a text, by overlapping windows.
fn perplexity(
    loaded: &Loaded,
    file: &Path,
    start_token: Option<u32>,
    arguments: &EvaluateArguments,
) -> Result<Report, Failure> {
    let window = window(loaded.n_positions, arguments.window, arguments.stride)?;
    let documents = Documents::whole(file)?;
    let Loaded { model, tokenizer, device, .. } = loaded;
    documents.check(|text| {
        let n_tokens = tokenizer.encode(text)?.len();
        let n_first = usize::from(start_token.is_none());
        ensure!(n_tokens > n_first, "has {n_tokens} tokens, of which none follows another");
        Ok(())
    })?;
    let texts = documents.texts();
    let found = with_model!(model, model => text_likelihoods(
        model, tokenizer, &texts, start_token, window, arguments.batch_size, device,
    ));
    let found: TextLikelihood = documents.at_its_place(found, 1)?.into_iter().sum();

    let Window { max_positions, stride } = window;
    let TextLikelihood { log_likelihood, n_words, n_bytes } = found;
    let n_tokens = log_likelihood.n_tokens;
    let of = |perplexity: f64, count: usize, unit: &str| {
        format!("perplexity {perplexity:.4}, of {} {unit}", grouped(count as u64))
    };
    let start = match &arguments.start_token {
        Some(token) => format!("after {token}, every token is scored"),
        None => "the first token follows nothing, and is not scored".to_string(),
    };
    Ok(Report {
        rows: [
            ("text", file.display().to_string()),
            ("token", of(found.token_perplexity(), n_tokens, "tokens")),
            ("word", of(found.word_perplexity(), n_words, "words")),
            ("byte", of(found.byte_perplexity(), n_bytes, "bytes")),
            ("bits", format!("{:.4} a byte", found.bits_per_byte())),
            ("window", format!("{max_positions} tokens, the next one {stride} further")),
            ("start", start),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .to_vec(),
        json: json!({
            "measure": "perplexity",
            "file": file.display().to_string(),
            "texts": texts.len(),
            "token_perplexity": found.token_perplexity(),
            "word_perplexity": found.word_perplexity(),
            "byte_perplexity": found.byte_perplexity(),
            "bits_per_byte": found.bits_per_byte(),
            "log_likelihood": log_likelihood.sum,
            "tokens": n_tokens,
            "words": n_words,
            "bytes": n_bytes,
            "window": max_positions,
            "stride": stride,
            "start_token": arguments.start_token,
        }),
    })
}

/// The window that is asked for, or all positions, and half of it as the stride.
fn window(
    n_positions: Option<usize>,
    window: Option<usize>,
    stride: Option<usize>,
) -> Result<Window, Failure> {
    let max_positions = window.unwrap_or(n_positions.unwrap_or(WINDOW));
    let stride = stride.unwrap_or(max_positions.div_ceil(2));
    let complaint = if max_positions == 0 {
        "--window is 0: expected at least 1".to_string()
    } else if n_positions.is_some_and(|n_positions| max_positions > n_positions) {
        let n_positions = n_positions.unwrap_or_default();
        format!(
            "--window is {max_positions}: expected at most {n_positions}, the positions of the model"
        )
    } else if stride == 0 || stride > max_positions {
        format!(
            "--stride is {stride}: expected at least 1 and at most the window of {max_positions}"
        )
    } else {
        return Ok(Window { max_positions, stride });
    };
    Err(Failure::usage(complaint))
}

/// How often the model writes the last word of a passage.
fn last_word_accuracy(loaded: &Loaded, file: &Path, batch_size: usize) -> Result<Report> {
    let documents = Documents::lines(file)?;
    let Loaded { model, tokenizer, device, n_positions, .. } = loaded;
    documents.check(|text| {
        tokenizer.encode(text)?;
        let before = text.trim_end().rsplit_once(' ').map_or("", |(before, _)| before);
        ensure!(!before.trim_end().is_empty(), "has one word: expected something before it");
        Ok(())
    })?;
    let texts = documents.texts();
    let found = with_model!(model, model => last_words(
        model, tokenizer, &texts, *n_positions, batch_size, device,
    ));
    let found: LastWords = documents.at_its_place(found, 1)?;
    let (accuracy, perplexity) = (found.accuracy(), found.word_perplexity());
    let LastWords { n_right, n_texts, log_likelihood } = found;
    Ok(Report {
        rows: [
            ("passages", format!("{}, of {}", grouped(n_texts as u64), file.display())),
            ("accuracy", format!("{accuracy:.4}, {} are right", grouped(n_right as u64))),
            ("perplexity", format!("{perplexity:.4} a last word")),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .to_vec(),
        json: json!({
            "measure": "last words",
            "file": file.display().to_string(),
            "passages": n_texts,
            "right": n_right,
            "accuracy": accuracy,
            "word_perplexity": perplexity,
            "log_likelihood": log_likelihood.sum,
            "tokens": log_likelihood.n_tokens,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_all_that_a_model_reads_and_moves_by_half() {
        let of = |n_positions, asked, stride| {
            let Window { max_positions, stride } = window(n_positions, asked, stride).unwrap();
            [max_positions, stride]
        };
        assert_eq!(of(Some(8), None, None), [8, 4]);
        assert_eq!(of(Some(8), Some(7), None), [7, 4]);
        assert_eq!(of(None, None, Some(WINDOW)), [WINDOW, WINDOW]);
        for (asked, stride) in [(Some(9), None), (Some(0), None), (None, Some(0)), (None, Some(9))]
        {
            assert!(matches!(window(Some(8), asked, stride), Err(Failure::Usage(_))));
        }
    }
}
