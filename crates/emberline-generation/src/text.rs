//! Generating text: a tokenizer before the engine, and its decoder behind.

use std::ops::ControlFlow;

use burn::tensor::Device;
use emberline_core::Incremental;
use emberline_text::Tokenizer;

use crate::engine::{GenerationConfig, generate};
use crate::error::GenerationError;

/// Continues a text; `on_text` sees each piece of the continuation as soon as its characters are whole,
/// and may end it with `Break`. The pieces joined are what is returned.
///
/// # Errors
/// Those of [`generate`](crate::generate), and [`Text`](GenerationError::Text) if the tokenizer does not
/// know a part of the prompt, or a token of the model.
pub fn generate_text<M: Incremental>(
    model: &M,
    tokenizer: &Tokenizer,
    prompt: &str,
    config: &GenerationConfig,
    device: &Device,
    mut on_text: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<String, GenerationError> {
    let prompt = tokenizer.encode(prompt)?;
    let mut stream = tokenizer.decode_stream();
    // The prompt goes through the decoder too: only then does a word after it get its blank.
    for token in &prompt {
        stream.push(*token)?;
    }
    let mut text = String::new();
    let mut give = |piece: Option<String>| {
        piece.map_or(ControlFlow::Continue(()), |piece| {
            text.push_str(&piece);
            on_text(&piece)
        })
    };
    let mut outcome = Ok(ControlFlow::Continue(()));
    generate(model, &[&prompt], config, device, |_, token| {
        outcome = stream.push(token).map(&mut give);
        if let Ok(flow) = outcome { flow } else { ControlFlow::Break(()) }
    })?;
    if outcome?.is_continue() {
        // What waits for the rest of a character, of which there is none.
        let _ = give(stream.finish()?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_text::{Corpus, VocabularyConfig};

    use super::*;
    use crate::test_model::SumModel;

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
}
