//! The BERTs of directories: of `transformers`, `sentence-transformers` or Google, with any head.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;
use emberline_checkpoint::{OtherHeads, PublishedNames, Stored, Weights, load_weights_but_heads};
use emberline_core::Stream;
use emberline_models::bert::{AnyBert, Architecture, Bert, BertConfig, BertFor, Head};

use crate::error::Error;

/// The weights of a BERT in a directory, under names of either kind.
pub(crate) struct StoredBert {
    directory: PathBuf,
    weights: Weights,
    names: &'static PublishedNames,
    table: fn(&str) -> Stored,
}

impl StoredBert {
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let (names, table) = Bert::names_of(&Weights::open(directory)?);
        let weights = Weights::open_published(directory, names)?;
        Ok(Self { directory: directory.to_path_buf(), weights, names, table })
    }

    fn has_pooler(&self) -> bool {
        self.weights.shape(&(self.table)("pooler.weight").name).is_some()
    }

    fn load<M: Module>(&self, model: M) -> Result<(M, OtherHeads), Error> {
        Ok(load_weights_but_heads(model, &self.weights, self.names, &self.table)?)
    }

    fn new_head(&self, architecture: Architecture, tensors: Vec<String>) -> Error {
        let directory = self.directory.clone();
        Error::NewHead { directory, architecture: architecture.name(), tensors }
    }

    /// The model without a head, with the pooler that the file has.
    pub(crate) fn without_head(&self, config: &BertConfig, device: &Device) -> Result<Bert, Error> {
        let random = Stream::new(0);
        let model = match self.has_pooler() {
            true => config.init(random, device),
            false => config.init_without_pooler(random, device),
        };
        Ok(self.load(model)?.0)
    }
}

/// The BERT with the head that its config names. A pooler is there if the file has one, whatever the head reads; other
/// heads of the file are left out.
pub(super) fn any_bert(
    config: &BertConfig,
    directory: &Path,
    device: &Device,
) -> Result<AnyBert, Error> {
    let architecture = architecture(config, directory)?;
    let stored = StoredBert::open(directory)?;
    if architecture == Architecture::Model {
        return Ok(AnyBert::Model(stored.without_head(config, device)?));
    }
    let random = Stream::new(0);
    let mut model = config.init_any(architecture, random, device);
    if stored.has_pooler() && model.bert().pooler.is_none() {
        model.bert_mut().pooler = config.init(random, device).pooler;
    }
    match stored.load(model)? {
        (model, OtherHeads { new, .. }) if new.is_empty() => Ok(model),
        (_, OtherHeads { new, .. }) => Err(stored.new_head(architecture, new)),
    }
}

/// The BERT of a directory with a head of this class, and the tensors of it that the directory does not have: they are
/// drawn from `random`, or without it an error.
pub(crate) fn bert_for<H: Head>(
    config: &BertConfig,
    expected: Architecture,
    directory: &Path,
    random: Option<Stream>,
    device: &Device,
) -> Result<(BertFor<H>, Vec<String>), Error> {
    let found = architecture(config, directory)?;
    // The heads of these have one name and perhaps one shape, and do not mean the same.
    let has_classifier = |architecture| {
        use Architecture::{MultipleChoice, SequenceClassification, TokenClassification};
        matches!(architecture, SequenceClassification | TokenClassification | MultipleChoice)
    };
    if found != expected && has_classifier(found) && has_classifier(expected) {
        return Err(Error::OtherHead {
            directory: directory.to_path_buf(),
            found: found.name(),
            expected: expected.name(),
        });
    }
    let stored = StoredBert::open(directory)?;
    let model = config.init_for(random.unwrap_or(Stream::new(0)), device);
    let (model, OtherHeads { new, .. }) = stored.load(model)?;
    match random {
        None if !new.is_empty() => Err(stored.new_head(expected, new)),
        _ => Ok((model, new)),
    }
}

fn architecture(config: &BertConfig, directory: &Path) -> Result<Architecture, Error> {
    let unknown = |source| Error::Architecture { directory: directory.to_path_buf(), source };
    config.architecture().map_err(unknown)
}
