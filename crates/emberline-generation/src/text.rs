//! Generating text: a tokenizer before the engine, and its decoder behind.

use std::ops::ControlFlow;

use burn::tensor::Device;
use emberline_core::Incremental;
use emberline_text::{DecodeStream, Tokenizer};

use crate::beam::{BeamConfig, Hypothesis, beam_search};
use crate::engine::{GenerationConfig, continue_prompts};
use crate::error::GenerationError;
use crate::input;
use crate::pick::Pick;
use crate::stop_strings::StopScan;

/// What a row gets with one token more.
#[derive(Clone, Copy, Debug)]
pub struct TextStep<'a> {
    /// The index of the row: those of the first prompt come first, as many as it has sequences.
    pub row: usize,
    /// The text that is whole with the token, and cannot become a part of a stop string: of no, one or more characters.
    pub piece: &'a str,
    /// The token, which may be a stop token; `None` for what was held back when the row ended without.
    pub pick: Option<&'a Pick<'a>>,
}

/// Continues texts; `on_step` sees every token and each piece of text as soon as its characters are whole, and may end a
/// row with `Break`. The pieces of a row joined are what is returned of it. There are `n_sequences` rows for each prompt.
///
/// A row ends where one of the `stop_strings` begins, wherever in its tokens that is; the token with which the stop
/// string is whole is the last that `on_step` sees.
///
/// # Errors
/// Those of [`generate`](crate::generate), and [`Text`](GenerationError::Text) if the tokenizer does not
/// know a part of a prompt, or a token of the model.
pub fn generate_texts<M: Incremental>(
    model: &M,
    tokenizer: &Tokenizer,
    prompts: &[&str],
    config: &GenerationConfig,
    device: &Device,
    mut on_step: impl FnMut(&TextStep<'_>) -> ControlFlow<()>,
) -> Result<Vec<String>, GenerationError> {
    config.validate()?;
    let prompts = prompts.iter().map(|prompt| tokenizer.encode(prompt));
    let prompts: Vec<Vec<u32>> = prompts.collect::<Result<_, _>>()?;
    let mut rows = Vec::with_capacity(prompts.len() * config.n_sequences);
    for prompt in &prompts {
        let row = Row::new(tokenizer, prompt, &config.stop_strings)?;
        rows.extend(vec![row; config.n_sequences]);
    }
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let mut outcome = Ok(());
    continue_prompts(model, &prompts, config, device, |row, pick| {
        // A text that cannot be decoded is the end of all.
        if outcome.is_err() {
            return ControlFlow::Break(());
        }
        let piece = match rows[row].push(pick) {
            Ok(piece) => piece,
            Err(error) => {
                outcome = Err(error);
                return ControlFlow::Break(());
            }
        };
        let flow = on_step(&TextStep { row, piece: &piece, pick: Some(pick) });
        rows[row].is_over |= flow.is_break();
        if rows[row].is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    outcome?;
    for (index, row) in rows.iter_mut().enumerate() {
        let piece = row.finish()?;
        if !piece.is_empty() {
            // There is nothing left to end.
            let _ = on_step(&TextStep { row: index, piece: &piece, pick: None });
        }
    }
    Ok(rows.into_iter().map(|row| row.text).collect())
}

/// Continues a text; `on_text` sees each piece of the continuation as soon as its characters are whole,
/// and may end it with `Break`. The pieces joined are what is returned.
///
/// # Errors
/// Those of [`generate_texts`], and [`Setting`](GenerationError::Setting) for more than one sequence.
pub fn generate_text<M: Incremental>(
    model: &M,
    tokenizer: &Tokenizer,
    prompt: &str,
    config: &GenerationConfig,
    device: &Device,
    mut on_text: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<String, GenerationError> {
    let n_sequences = config.n_sequences;
    input::check(
        n_sequences == 1,
        "n_sequences",
        n_sequences as f64,
        "1 where one text is asked for",
    )?;
    let on_step = |step: &TextStep<'_>| match step.piece {
        "" => ControlFlow::Continue(()),
        piece => on_text(piece),
    };
    let mut texts = generate_texts(model, tokenizer, &[prompt], config, device, on_step)?;
    Ok(texts.pop().expect("one text for one prompt"))
}

/// The best continuations found of a text, best first, with their texts; `n_best` of them, or fewer if fewer are possible.
///
/// # Errors
/// Those of [`beam_search`], and [`Text`](GenerationError::Text) if the tokenizer does not know a part of the prompt, or
/// a token of the model.
pub fn beam_search_text<M: Incremental + Sync>(
    model: &M,
    tokenizer: &Tokenizer,
    prompt: &str,
    config: &BeamConfig,
    device: &Device,
) -> Result<Vec<(String, Hypothesis)>, GenerationError> {
    let prompt = tokenizer.encode(prompt)?;
    let found = beam_search(model, &[&prompt], config, device)?.remove(0);
    let with_text = |hypothesis: Hypothesis| {
        let mut stream = stream_after(tokenizer, &prompt)?;
        let mut text = String::new();
        for token in &hypothesis.tokens {
            text.extend(stream.push(*token)?);
        }
        text.extend(stream.finish()?);
        Ok((text, hypothesis))
    };
    found.into_iter().map(with_text).collect()
}

/// Decodes what follows a prompt, which goes through the decoder too: only then does a word after it get its blank.
fn stream_after<'a>(
    tokenizer: &'a Tokenizer,
    prompt: &[u32],
) -> Result<DecodeStream<'a>, GenerationError> {
    let mut stream = tokenizer.decode_stream();
    for token in prompt {
        stream.push(*token)?;
    }
    Ok(stream)
}

/// The text of a row, as it comes.
#[derive(Clone)]
struct Row<'a> {
    stream: DecodeStream<'a>,
    stop: StopScan<'a>,
    text: String,
    /// Whether nothing more is wanted.
    is_over: bool,
}

impl<'a> Row<'a> {
    fn new(
        tokenizer: &'a Tokenizer,
        prompt: &[u32],
        stop_strings: &'a [String],
    ) -> Result<Self, GenerationError> {
        let stream = stream_after(tokenizer, prompt)?;
        Ok(Self { stream, stop: StopScan::new(stop_strings), text: String::new(), is_over: false })
    }

    /// The text that can be given with one token more.
    fn push(&mut self, pick: &Pick<'_>) -> Result<String, GenerationError> {
        if pick.is_stop {
            return Ok(String::new());
        }
        let piece = self.stream.push(pick.token)?.unwrap_or_default();
        Ok(self.give(&piece))
    }

    /// What was held back: a beginning of a stop string, and U+FFFD for bytes that no character has.
    fn finish(&mut self) -> Result<String, GenerationError> {
        if self.is_over {
            return Ok(String::new());
        }
        let last = self.stream.clone().finish()?.unwrap_or_default();
        let mut piece = self.give(&last);
        if !self.is_over {
            let held = self.stop.finish();
            self.text.push_str(&held);
            piece.push_str(&held);
        }
        Ok(piece)
    }

    fn give(&mut self, piece: &str) -> String {
        let (given, is_stopped) = self.stop.push(piece);
        self.text.push_str(&given);
        self.is_over = is_stopped;
        given
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_text::{Corpus, VocabularyConfig};

    use super::*;
    use crate::sampling::Sampling;
    use crate::test_model::{Recital, SumModel};

    fn run(
        tokenizer: &Tokenizer,
        vocab_size: usize,
        prompt: &str,
        mut on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<String, GenerationError> {
        // From 1 the sums double: 1, 2, 4, then 8 modulo the size of the vocabulary.
        let model = SumModel::certain(vocab_size, |sum| sum);
        let config = GenerationConfig { max_new_tokens: 4, ..GenerationConfig::default() };
        generate_text(&model, tokenizer, prompt, &config, &test_device(), &mut on_text)
    }

    #[test]
    fn the_pieces_of_a_text_are_the_text_that_is_returned() {
        let tokenizer = Tokenizer::characters(&Corpus::new("letters", "abcdef").unwrap());
        let mut pieces = Vec::new();
        let text = run(&tokenizer, 6, "b", |piece| {
            pieces.push(piece.to_string());
            ControlFlow::Continue(())
        });
        assert_eq!(text.unwrap(), "bcec");
        assert_eq!(pieces, ["b", "c", "e", "c"]);
    }

    #[test]
    fn breaking_ends_the_text() {
        let tokenizer = Tokenizer::characters(&Corpus::new("letters", "abcdef").unwrap());
        assert_eq!(run(&tokenizer, 6, "b", |_| ControlFlow::Break(())).unwrap(), "b");
    }

    #[test]
    fn a_word_after_the_prompt_gets_its_blank() {
        let corpus = Corpus::new("words", "one one one two two three").unwrap();
        let tokenizer = Tokenizer::words(&corpus, &VocabularyConfig::default()).unwrap();
        assert_eq!(tokenizer.encode("one two three").unwrap(), [1, 2, 3]);
        let text = run(&tokenizer, 4, "one", |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(text, " one two <unk> <unk>");
    }

    #[test]
    fn what_the_tokenizer_does_not_know_is_an_error() {
        let tokenizer = Tokenizer::characters(&Corpus::new("letters", "abc").unwrap());
        let on_text = |_: &str| ControlFlow::Continue(());
        let unknown_character = run(&tokenizer, 3, "bx", on_text).unwrap_err();
        assert!(matches!(unknown_character, GenerationError::Text(_)), "{unknown_character:?}");
        let larger_model = run(&tokenizer, 9, "b", on_text).unwrap_err();
        assert!(matches!(larger_model, GenerationError::Text(_)), "{larger_model:?}");
        let empty = run(&tokenizer, 3, "", on_text).unwrap_err();
        assert!(matches!(empty, GenerationError::EmptyPrompt { row: 0 }), "{empty:?}");
    }

    fn letters() -> Tokenizer {
        Tokenizer::characters(&Corpus::new("letters", "abcdef").unwrap())
    }

    fn stopping(stop_strings: &[&str], sampling: Sampling) -> GenerationConfig {
        let stop_strings = stop_strings.iter().map(|stop| stop.to_string()).collect();
        GenerationConfig {
            sampling,
            stop_strings,
            max_new_tokens: 4,
            ..GenerationConfig::default()
        }
    }

    #[test]
    fn a_text_ends_before_a_stop_string_which_is_never_streamed() {
        // Without one the text is "bcec".
        for (stop_strings, expected, n_tokens) in [
            (&["ec"][..], "bc", 4),
            (&["ced"], "bcec", 4),
            (&["cec"], "b", 4),
            (&["c", "ce"], "b", 2),
            (&["ab"], "bcec", 4),
            (&["bcec"], "", 4),
        ] {
            let model = SumModel::certain(6, |sum| sum);
            let config = stopping(stop_strings, Sampling::Greedy);
            let (mut streamed, mut n_picks) = (String::new(), 0);
            let texts =
                generate_texts(&model, &letters(), &["b"], &config, &test_device(), |step| {
                    streamed += step.piece;
                    n_picks += usize::from(step.pick.is_some());
                    ControlFlow::Continue(())
                });
            assert_eq!(texts.unwrap(), [expected], "{stop_strings:?}");
            assert_eq!((&streamed[..], n_picks), (expected, n_tokens), "{stop_strings:?}");
        }
    }

    #[test]
    fn a_stop_string_may_be_of_characters_that_several_tokens_make() {
        // Bytes are tokens: é is two of them, 中 three.
        let tokenizer = Tokenizer::byte_pair(&Corpus::new("none", "x").unwrap(), 256).unwrap();
        let bytes = tokenizer.encode("aé!é中").unwrap();
        let model = Recital::new(&tokenizer.encode("a").unwrap(), &bytes);
        let run = |stop_string: &str, max_new_tokens| {
            let config =
                GenerationConfig { max_new_tokens, ..stopping(&[stop_string], Sampling::Greedy) };
            let mut pieces = Vec::new();
            let text = generate_text(&model, &tokenizer, "a", &config, &test_device(), |piece| {
                pieces.push(piece.to_string());
                ControlFlow::Continue(())
            });
            assert_eq!(pieces.concat(), *text.as_ref().unwrap());
            text.unwrap()
        };
        assert_eq!(run("é中", 9), "aé!");
        assert_eq!(run("!", 9), "aé");
        // The last character is not whole, and the é before it might have begun a stop string.
        assert_eq!(run("é中", 8), "aé!é\u{fffd}");
        assert_eq!(run("é\u{fffd}", 8), "aé!");
        assert_eq!(run("é\u{fffd}", 9), "aé!é中");
    }

    #[test]
    fn several_texts_have_rows_of_their_own_that_end_on_their_own() {
        let model = SumModel::random(2, 11, 6);
        let random = Sampling::Random { temperature: 1.0, top_k: None, top_p: None };
        let with = |n_sequences, stop_strings: &[&str]| {
            let config = GenerationConfig {
                n_sequences,
                max_new_tokens: 9,
                ..stopping(stop_strings, random)
            };
            let mut streamed = vec![String::new(); 2 * n_sequences];
            let texts =
                generate_texts(&model, &letters(), &["b", "fa"], &config, &test_device(), |step| {
                    streamed[step.row] += step.piece;
                    ControlFlow::Continue(())
                });
            assert_eq!(*texts.as_ref().unwrap(), streamed);
            texts.unwrap()
        };
        let (whole, cut) = (with(3, &[]), with(3, &["a", "cd"]));
        for (whole, cut) in whole.iter().zip(&cut) {
            let end = ["a", "cd"].iter().filter_map(|stop| whole.find(stop)).min();
            assert_eq!(*cut, whole[..end.unwrap_or(9)], "{whole}");
        }
        assert!(cut.iter().any(|text| text.len() < 9), "{cut:?}");
        assert_eq!(with(1, &[]), [&whole[0][..], &whole[3]]);
    }

    #[test]
    fn a_search_gives_the_texts_of_its_hypotheses() {
        let corpus = Corpus::new("words", "one one one two two three").unwrap();
        let tokenizer = Tokenizer::words(&corpus, &VocabularyConfig::default()).unwrap();
        let model = SumModel::random(2, 11, 4);
        let config = BeamConfig { n_best: 3, max_new_tokens: 4, ..BeamConfig::default() };
        let found = beam_search_text(&model, &tokenizer, "one", &config, &test_device()).unwrap();
        let expected = beam_search(&model, &[&[1]], &config, &test_device()).unwrap().remove(0);
        assert_eq!(found.len(), 3);
        for ((text, hypothesis), expected) in found.iter().zip(expected) {
            assert_eq!(*text, format!(" {}", tokenizer.decode(&hypothesis.tokens).unwrap()));
            assert_eq!(*hypothesis, expected);
        }
    }

    #[test]
    fn texts_that_cannot_be_are_refused() {
        let model = SumModel::certain(6, |sum| sum);
        let run = |config: &GenerationConfig| {
            let on_text = |_: &str| ControlFlow::Continue(());
            generate_text(&model, &letters(), "b", config, &test_device(), on_text)
                .unwrap_err()
                .to_string()
        };
        let empty = run(&stopping(&["a", ""], Sampling::Greedy));
        assert_eq!(empty, "a stop string is empty: expected at least one character");
        let random = Sampling::Random { temperature: 1.0, top_k: None, top_p: None };
        let several = run(&GenerationConfig { n_sequences: 2, ..stopping(&[], random) });
        assert_eq!(several, "n_sequences is 2: expected 1 where one text is asked for");
    }
}
