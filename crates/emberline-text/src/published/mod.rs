//! The tokenizers of published models: read from the folder of a model, and written into one.
//!
//! Both GPTs cut words into byte pairs. GPT-2 writes each byte as a letter and marks the blank before a word, so that
//! nothing is unknown and nothing is lost; GPT-1 has letters, marks the end of a word with `</w>`, and reads its text in
//! lower case ([`Gpt1Text`]). BERT cuts words into pieces of a list, the longest first.

mod gpt1;
pub(crate) mod word_pieces;

use std::path::Path;

use serde_json::json;
use tokenizers::decoders::bpe::BPEDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model, ModelWrapper, NormalizerWrapper};

pub use self::gpt1::Gpt1Text;
use crate::byte_pairs::BytePairs;
use crate::error::TextError;
use crate::tokenizer::{Tokenizer, pipeline_error};

/// What ends a document of GPT-2.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// What stands for the letters that GPT-1 does not know.
const UNKNOWN: &str = "<unk>";
const END_OF_WORD: &str = "</w>";

const PIPELINE: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
/// The names of a vocabulary and its merges: those of `transformers`, and those of OpenAI's GPT-2 and GPT-1.
const BYTE_PAIRS: [[&str; 2]; 3] = [
    ["vocab.json", "merges.txt"],
    ["encoder.json", "vocab.bpe"],
    ["encoder_bpe_40000.json", "vocab_40000.bpe"],
];

impl Tokenizer {
    /// The tokenizer in the folder of a model: `tokenizer.json`, or else the byte pairs of GPT-2 or GPT-1, in
    /// `vocab.json` and `merges.txt` or under the names that OpenAI gave them, or else the word pieces of BERT in
    /// `vocab.txt`.
    ///
    /// Byte pairs are read as `transformers` reads them: a text that spells out `<|endoftext|>` gets its id, unless
    /// [`reading_specials_as_text`](Self::reading_specials_as_text) says otherwise, and GPT-1 reads its text as
    /// [`Gpt1Text::Hf`], unless it comes from [`gpt1`](Self::gpt1). Word pieces are read as a `tokenizer_config.json`
    /// beside them says; without one, a vocabulary without capitals makes those of a text small.
    ///
    /// # Errors
    /// [`TextError::NoTokenizer`], which names the files that would do, [`TextError::Read`],
    /// [`TextError::TokenizerFormat`].
    pub fn from_directory(directory: impl AsRef<Path>) -> Result<Self, TextError> {
        let directory = directory.as_ref();
        let whole = directory.join(PIPELINE);
        if whole.exists() {
            return Self::from_file(whole);
        }
        let pairs = BYTE_PAIRS.map(|names| names.map(|name| directory.join(name)));
        match pairs.into_iter().find(|files| files.iter().all(|file| file.exists())) {
            Some([vocabulary, merges]) => Self::of_byte_pairs(&vocabulary, &merges),
            None if directory.join(word_pieces::VOCABULARY).exists() => {
                word_pieces::from_directory(directory)
            }
            None => Err(TextError::NoTokenizer { directory: directory.to_path_buf() }),
        }
    }

    /// The tokenizer of GPT-1 in the folder of a model, as [`from_directory`](Self::from_directory) finds it, with a
    /// choice of how it reads its text.
    ///
    /// # Errors
    /// Those of [`from_directory`](Self::from_directory), and [`TextError::NotGpt1`].
    pub fn gpt1(directory: impl AsRef<Path>, text: Gpt1Text) -> Result<Self, TextError> {
        let directory = directory.as_ref();
        let mut pipeline = Self::from_directory(directory)?.into_pipeline();
        let marks_words = match pipeline.get_model() {
            ModelWrapper::BPE(model) => model.end_of_word_suffix.as_deref() == Some(END_OF_WORD),
            _ => false,
        };
        if !marks_words {
            return Err(TextError::NotGpt1 { directory: directory.to_path_buf() });
        }
        text.read_with(&mut pipeline)?;
        Ok(Self::from_pipeline(pipeline))
    }

    /// The tokenizer with more special tokens, whose ids follow its own: `<|endoftext|>` for documents in a row, or
    /// those that GPT-1 is fine-tuned with. One that is there already keeps its id.
    ///
    /// # Errors
    /// [`TextError::Pipeline`].
    pub fn with_special_tokens(self, tokens: &[&str]) -> Result<Self, TextError> {
        let mut pipeline = self.into_pipeline();
        let tokens = tokens.iter().map(|token| AddedToken::from(*token, true));
        pipeline.add_special_tokens(tokens).map_err(pipeline_error("take the special tokens"))?;
        Ok(Self::from_pipeline(pipeline))
    }

    /// Writes the files that Python reads into the folder of a model: `tokenizer.json`, `tokenizer_config.json`, and
    /// for byte pairs `vocab.json` and `merges.txt`, for word pieces `vocab.txt`, which older readers want. Files of
    /// these names are replaced.
    ///
    /// # Errors
    /// [`TextError::Write`].
    pub fn save(&self, directory: impl AsRef<Path>) -> Result<(), TextError> {
        let directory = directory.as_ref();
        let write = |name: &str, bytes: Vec<u8>| {
            let path = directory.join(name);
            std::fs::write(&path, bytes)
                .map_err(|source| TextError::Write { path, source: source.into() })
        };
        write(PIPELINE, self.to_json())?;
        write(CONFIG, self.config())?;
        if let ModelWrapper::BPE(model) = self.pipeline().get_model() {
            let path = directory.to_path_buf();
            model.save(directory, None).map_err(|source| TextError::Write { path, source })?;
        }
        if let Some(lines) = word_pieces::lines(self.pipeline().get_model()) {
            write(word_pieces::VOCABULARY, lines.into_bytes())?;
        }
        Ok(())
    }

    fn of_byte_pairs(vocabulary: &Path, merges: &Path) -> Result<Self, TextError> {
        let name = vocabulary.display().to_string();
        let BytePairs { vocabulary, merges } = BytePairs::from_files(vocabulary, merges)?;
        let format = |source| TextError::TokenizerFormat { name: name.clone(), source };
        let has = |token: &str| vocabulary.contains_key(token);
        let has_every_byte = ByteLevel::alphabet().iter().all(|letter| has(&letter.to_string()));
        // A byte-level vocabulary may have learned the four letters of the mark from a text.
        let ends_words =
            vocabulary.keys().any(|token| token.ends_with(END_OF_WORD)) && !has_every_byte;
        let special = [UNKNOWN, END_OF_TEXT].into_iter().filter(|token| has(token));
        let special: Vec<AddedToken> = special.map(|token| AddedToken::from(token, true)).collect();

        let vocabulary: Vocab = vocabulary.into_iter().collect();
        let model = BPE::builder().vocab_and_merges(vocabulary, merges);
        let mut pipeline = if ends_words {
            let model = model.unk_token(UNKNOWN.into()).end_of_word_suffix(END_OF_WORD.into());
            let mut pipeline = tokenizers::Tokenizer::new(model.build().map_err(format)?);
            pipeline.with_decoder(Some(BPEDecoder::new(END_OF_WORD.into())));
            Gpt1Text::Hf.read_with(&mut pipeline)?;
            pipeline
        } else {
            let mut pipeline = tokenizers::Tokenizer::new(model.build().map_err(format)?);
            with_byte_level(&mut pipeline);
            pipeline
        };
        pipeline.add_special_tokens(special).map_err(format)?;
        Ok(Self::from_pipeline(pipeline))
    }

    /// What Python cannot know from the pipeline: to take it as it is, and what its special tokens are for.
    fn config(&self) -> Vec<u8> {
        let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
        if let Some(NormalizerWrapper::BertNormalizer(normalizer)) =
            self.pipeline().get_normalizer()
            && matches!(self.pipeline().get_model(), ModelWrapper::WordPiece(_))
        {
            config = json!({
                "tokenizer_class": "BertTokenizer",
                "do_lower_case": normalizer.lowercase,
                "strip_accents": normalizer.strip_accents,
                "tokenize_chinese_chars": normalizer.handle_chinese_chars,
            });
        }
        for (field, token) in word_pieces::SPECIAL_TOKENS {
            if self.id(token).is_some() {
                config[field] = token.into();
            }
        }
        if self.id(END_OF_TEXT).is_some() {
            config["bos_token"] = END_OF_TEXT.into();
            config["eos_token"] = END_OF_TEXT.into();
        }
        if self.id(UNKNOWN).is_some() {
            config["unk_token"] = UNKNOWN.into();
        }
        let mut bytes = serde_json::to_vec_pretty(&config).expect("strings have a JSON form");
        bytes.push(b'\n');
        bytes
    }
}

/// Byte pairs on the letters of bytes, nothing else.
pub(crate) fn with_byte_level(pipeline: &mut tokenizers::Tokenizer) {
    pipeline
        .with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)))
        .with_decoder(Some(ByteLevel::default()));
}
