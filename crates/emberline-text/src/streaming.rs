//! Decoding ids one by one, as generation makes them.

use crate::error::TextError;
use crate::tokenizer::Tokenizer;

/// Turns ids into text as they come, never splitting a character: a byte-level token may hold half of
/// one, and then waits for the next.
///
/// The pieces, joined, are the text that decoding all ids at once gives, unless the decoder of a foreign
/// tokenizer rewrites text that was given before.
#[derive(Clone, Debug)]
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The ids whose text was given last, then those that wait. The former are kept because a decoder
    /// may treat the first token of a text in its own way.
    ids: Vec<u32>,
    n_given: usize,
}

impl<'a> DecodeStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), n_given: 0 }
    }

    /// The text that is complete with one more id; `None` if it is not.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`]. The id is then forgotten.
    pub fn push(&mut self, id: u32) -> Result<Option<String>, TextError> {
        self.ids.push(id);
        let waiting = self.waiting().inspect_err(|_| {
            self.ids.pop();
        })?;
        if waiting.is_empty() || waiting.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(None);
        }
        self.ids.drain(..self.n_given);
        self.n_given = self.ids.len();
        Ok(Some(waiting))
    }

    /// What still waits at the end, with U+FFFD for the bytes of an incomplete character; `None` if
    /// nothing does.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn finish(self) -> Result<Option<String>, TextError> {
        let waiting = self.waiting()?;
        Ok((!waiting.is_empty()).then_some(waiting))
    }

    fn waiting(&self) -> Result<String, TextError> {
        let given = self.tokenizer.decode(&self.ids[..self.n_given])?;
        let mut text = self.tokenizer.decode(&self.ids)?;
        // A decoder that rewrites what was given may put a character across its end, or end before.
        Ok(text.split_off(text.floor_char_boundary(given.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Corpus;
    use crate::vocabulary::VocabularyConfig;

    const TEXT: &str = "é 中 👍🏽 a\u{fffd}b\n\nno more ";

    fn corpus() -> Corpus {
        Corpus::new("sample", TEXT).unwrap()
    }

    fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
        let mut stream = tokenizer.decode_stream();
        let mut pieces: Vec<String> =
            ids.iter().filter_map(|id| stream.push(*id).unwrap()).collect();
        pieces.extend(stream.finish().unwrap());
        pieces
    }

    #[test]
    fn the_pieces_of_a_stream_make_up_the_text_of_all_ids() {
        for tokenizer in [
            Tokenizer::characters(&corpus()),
            Tokenizer::byte_pair(&corpus(), 256).unwrap(),
            Tokenizer::byte_pair(&corpus(), 262).unwrap(),
            Tokenizer::words(&corpus(), &VocabularyConfig::default()).unwrap(),
        ] {
            let ids = tokenizer.encode(TEXT).unwrap();
            assert_eq!(pieces(&tokenizer, &ids).concat(), tokenizer.decode(&ids).unwrap());
        }
    }

    #[test]
    fn a_character_of_several_tokens_comes_whole() {
        let tokenizer = Tokenizer::byte_pair(&corpus(), 256).unwrap();
        let ids = tokenizer.encode("a中b").unwrap();
        assert_eq!(ids.len(), 5);
        assert_eq!(pieces(&tokenizer, &ids), ["a", "中", "b"]);
    }

    #[test]
    fn an_incomplete_character_is_replaced_when_something_else_or_nothing_follows() {
        let tokenizer = Tokenizer::byte_pair(&corpus(), 256).unwrap();
        let ids = tokenizer.encode("中a").unwrap();
        assert_eq!(pieces(&tokenizer, &ids[..2]), ["\u{fffd}"]);
        assert_eq!(pieces(&tokenizer, &[ids[0], ids[3]]), ["\u{fffd}a"]);
    }

    #[test]
    fn words_are_joined_by_blanks() {
        let tokenizer = Tokenizer::words(&corpus(), &VocabularyConfig::default()).unwrap();
        let ids = tokenizer.encode("no more no").unwrap();
        assert_eq!(pieces(&tokenizer, &ids), ["no", " more", " no"]);
    }

    #[test]
    fn a_decoder_that_rewrites_what_was_given_does_no_harm() {
        let characters = Tokenizer::characters(&Corpus::new("letters", "abc").unwrap());
        let mut json: serde_json::Value = serde_json::from_slice(&characters.to_json()).unwrap();
        json["decoder"] = serde_json::json!({ "type": "Sequence", "decoders": [
            { "type": "Fuse" },
            { "type": "Replace", "pattern": { "String": "ab" }, "content": "é" },
            { "type": "Replace", "pattern": { "String": "éc" }, "content": "" },
        ] });
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes(), "rewriting").unwrap();
        let ids = characters.encode("abca").unwrap();
        assert_eq!(pieces(&tokenizer, &ids[..2]), ["a", "é"]);
        assert_eq!(pieces(&tokenizer, &ids[1..]), ["b", "c", "a"]);
        let mut stream = tokenizer.decode_stream();
        for id in ids {
            stream.push(id).unwrap();
        }
    }

    #[test]
    fn an_unknown_id_is_an_error_and_the_stream_goes_on() {
        let tokenizer = Tokenizer::byte_pair(&corpus(), 256).unwrap();
        let mut stream = tokenizer.decode_stream();
        let ids = tokenizer.encode("é").unwrap();
        assert_eq!(stream.push(ids[0]).unwrap(), None);
        assert!(matches!(stream.push(999), Err(TextError::UnknownId { id: 999, .. })));
        assert_eq!(stream.push(ids[1]).unwrap(), Some("é".to_string()));
    }
}
