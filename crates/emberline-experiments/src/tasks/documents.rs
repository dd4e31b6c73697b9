//! The texts that language models of tokens read: one, or several documents in a row.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::Device;
use emberline_core::{Causal, Stream};
use emberline_pretraining::{NextToken, NextTokenWindows};
use emberline_text::{Corpus, END_OF_TEXT, SplitFractions, Tokenizer, Windows, packed};
use emberline_training::{Data, Objective};
use serde::{Deserialize, Serialize};

use crate::datasets;

/// Names of texts, each of which is a file, a folder with some, a folder of `datasets/` with one, or a data set that
/// `emberline data` fetched. Each file is a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the name of a text, or a list of names")]
pub enum Texts {
    /// One name.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// Updates of rows that are drawn from a text.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The rows of an update.
    pub batch_size: usize,
    /// The tokens of a row.
    pub seq_length: usize,
    /// In how many parts an update is computed.
    pub micro_batches: usize,
}

/// Documents, of which the first part of each is for training, the next for validation.
pub struct Documents {
    corpora: Vec<Corpus>,
    split: SplitFractions,
}

/// What a language model learns from, and what it learns from it.
pub struct TextData {
    /// The windows of the training and the validation part.
    pub windows: NextTokenWindows,
    /// The characters of a token of the validation part, on average.
    pub characters_per_token: f64,
}

impl Texts {
    fn names(&mut self) -> &mut [String] {
        match self {
            Self::One(name) => std::slice::from_mut(name),
            Self::Several(names) => names,
        }
    }
}

impl From<&str> for Texts {
    fn from(name: &str) -> Self {
        Self::One(name.to_string())
    }
}

impl Documents {
    /// Reads the files of texts, which from now on are named in full, with their checksum.
    ///
    /// # Errors
    /// If there is none, one cannot be read, or they are not those of the checksum.
    pub fn read(
        texts: &mut Texts,
        sha256: &mut Option<String>,
        split: SplitFractions,
    ) -> Result<Self> {
        let mut files = Vec::new();
        for name in texts.names() {
            files.extend(datasets::find_texts(name)?);
        }
        anyhow::ensure!(!files.is_empty(), "no text is named to learn from");
        datasets::check(&files.iter().map(PathBuf::as_path).collect::<Vec<&Path>>(), sha256)?;
        let corpora = files.iter().map(Corpus::from_file).collect::<Result<_, _>>()?;
        Ok(Self { corpora, split })
    }

    /// What messages call them.
    pub fn name(&self) -> String {
        self.corpora.iter().map(Corpus::name).collect::<Vec<_>>().join(", ")
    }

    /// A tokenizer of the characters of the documents, or of so many byte pairs of their training part; with a token
    /// for the end of a document where there are several.
    ///
    /// # Errors
    /// If there can be no such tokenizer.
    pub fn tokenizer(&self, byte_pairs: Option<usize>) -> Result<Tokenizer> {
        let tokenizer = match byte_pairs {
            Some(vocab_size) => {
                let [training, _] = self.parts()?;
                Tokenizer::byte_pair(&Corpus::new(self.name(), training.concat())?, vocab_size)?
            }
            None => {
                let texts: Vec<&str> = self.corpora.iter().map(Corpus::text).collect();
                Tokenizer::characters(&Corpus::new(self.name(), texts.concat())?)
            }
        };
        match self.corpora.len() {
            1 => Ok(tokenizer),
            _ => Ok(tokenizer.with_special_tokens(&[END_OF_TEXT])?),
        }
    }

    /// The documents as windows. A text that spells out `<|endoftext|>` holds several, where the tokenizer has that token.
    ///
    /// # Errors
    /// If a part is too short, there is a token missing, or none for the end of a document among several.
    pub fn windows(
        &self,
        tokenizer: &Tokenizer,
        rows: Rows,
        random: Stream,
        device: &Device,
    ) -> Result<TextData> {
        let of = |part: &str| format!("{}: its {part} part", self.name());
        let [training, validation] = self.parts()?;
        let n_characters: usize = validation.iter().map(|text| text.chars().count()).sum();
        let [training, validation] = [training, validation].map(|texts| encode(&texts, tokenizer));
        let (training, validation) = (training?, validation?);
        let characters_per_token = n_characters as f64 / validation.len().max(1) as f64;

        let training = Windows::new(training, rows.batch_size, rows.seq_length)
            .and_then(|windows| windows.drawn(random).in_micro_batches(rows.micro_batches))
            .with_context(|| of("training"))?;
        let windows = NextTokenWindows::new(training, &validation, device);
        Ok(TextData { windows: windows.with_context(|| of("validation"))?, characters_per_token })
    }

    /// What is for training and what for validation.
    fn parts(&self) -> Result<[Vec<&str>; 2]> {
        let mut parts = [Vec::new(), Vec::new()];
        for corpus in &self.corpora {
            let splits = corpus.split(self.split)?;
            parts[0].push(splits.train);
            parts[1].push(splits.validation);
        }
        Ok(parts)
    }
}

impl TextData {
    /// The mean loss of a token of the validation part. The model is one on the plain device.
    pub fn mean_loss<M: Causal>(&self, model: &M) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for batch in self.windows.validation() {
            let (loss, ()) = NextToken.loss(model, &batch, None, None);
            sum += loss.terms[0].sum.clone().into_scalar::<f64>();
            count += Objective::<M>::counts(&NextToken, &batch)[0].count;
        }
        sum / count
    }
}

fn encode(texts: &[&str], tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let mut documents =
        texts.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
    if let [document] = &mut documents[..] {
        return Ok(std::mem::take(document));
    }
    let separator = tokenizer.id(END_OF_TEXT);
    let separator = separator.with_context(|| {
        format!(
            "several documents need a token {END_OF_TEXT} between them, and the tokenizer has none"
        )
    })?;
    Ok(packed(&documents, separator))
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    fn documents(folder: &Path, texts: &[(&str, &str)]) -> (Texts, Documents) {
        for (name, text) in texts {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let mut texts = Texts::One(folder.display().to_string());
        let split = SplitFractions { train: 0.5, validation: 0.5 };
        let documents = Documents::read(&mut texts, &mut None, split).unwrap();
        (texts, documents)
    }

    #[test]
    fn documents_of_a_folder_are_cut_by_themselves_and_packed() {
        let folder = tempfile::tempdir().unwrap();
        let (_, documents) = documents(folder.path(), &[("b.txt", "dcba"), ("a.txt", "abab")]);
        let tokenizer = documents.tokenizer(None).unwrap();
        assert_eq!((tokenizer.vocab_size(), tokenizer.id(END_OF_TEXT)), (5, Some(4)));
        let rows = Rows { batch_size: 1, seq_length: 4, micro_batches: 1 };
        let data = documents.windows(&tokenizer, rows, Stream::new(1), &test_device()).unwrap();
        // `ab`, the separator, `dc` to learn from, and `ab`, the separator, `ba` to validate on.
        let batch = data.windows.update(0).remove(0);
        assert_eq!(batch.tokens.tokens.to_data().iter::<i64>().collect::<Vec<_>>(), [0, 1, 4, 3]);
        let batch = data.windows.validation().next().unwrap();
        assert_eq!(batch.targets.to_data().iter::<i64>().collect::<Vec<_>>(), [1, 4, 1, 0]);
        assert_eq!(data.characters_per_token, 4.0 / 5.0);
    }

    #[test]
    fn one_document_needs_no_separator() {
        let folder = tempfile::tempdir().unwrap();
        let (texts, documents) = documents(folder.path(), &[("a.txt", "abab")]);
        assert_eq!(documents.tokenizer(None).unwrap().vocab_size(), 2);
        let written = toml::Value::try_from(&texts).unwrap();
        assert_eq!(written.clone().try_into::<Texts>().unwrap(), texts);
        let list: Texts = toml::Value::from(vec!["a", "b"]).try_into().unwrap();
        assert_eq!(list, Texts::Several(vec!["a".into(), "b".into()]));
        let error = toml::Value::from(3).try_into::<Texts>().unwrap_err().to_string();
        assert!(error.contains("expected the name of a text"), "{error}");
    }
}
