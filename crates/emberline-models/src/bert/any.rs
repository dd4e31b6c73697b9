//! A BERT with the head that its config names, so that a directory can be opened without knowing which.

use burn::module::Module;
use burn::tensor::Device;
use emberline_core::Stream;

use super::{
    Bert, BertConfig, BertForMaskedLm, BertForMultipleChoice, BertForNextSentence,
    BertForPreTraining, BertForQuestionAnswering, BertForSequenceClassification,
    BertForTokenClassification,
};

/// The classes of `transformers` that BERT was published as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// [`Bert`], without a head.
    Model,
    /// [`BertForPreTraining`].
    PreTraining,
    /// [`BertForMaskedLm`].
    MaskedLm,
    /// [`BertForNextSentence`].
    NextSentence,
    /// [`BertForSequenceClassification`].
    SequenceClassification,
    /// [`BertForTokenClassification`].
    TokenClassification,
    /// [`BertForQuestionAnswering`].
    QuestionAnswering,
    /// [`BertForMultipleChoice`].
    MultipleChoice,
}

/// One of the models.
#[derive(Module, Debug)]
pub enum AnyBert {
    /// Without a head.
    Model(Bert),
    /// With both heads of pretraining.
    PreTraining(BertForPreTraining),
    /// With a head over the vocabulary.
    MaskedLm(BertForMaskedLm),
    /// With a head over pairs.
    NextSentence(BertForNextSentence),
    /// With a head over the classes of a text.
    SequenceClassification(BertForSequenceClassification),
    /// With a head over the classes of each token.
    TokenClassification(BertForTokenClassification),
    /// With a head that marks an answer.
    QuestionAnswering(BertForQuestionAnswering),
    /// With a head that scores a choice.
    MultipleChoice(BertForMultipleChoice),
}

/// A config names a class that there is none of here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`architectures` names {found}: expected one of {}", Architecture::NAMES.map(|(name, _)| name).join(", "))]
pub struct UnknownArchitecture {
    /// What it names.
    pub found: String,
}

impl Architecture {
    /// All of them, by the names of their classes.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("BertModel", Self::Model),
        ("BertForPreTraining", Self::PreTraining),
        ("BertForMaskedLM", Self::MaskedLm),
        ("BertForNextSentencePrediction", Self::NextSentence),
        ("BertForSequenceClassification", Self::SequenceClassification),
        ("BertForTokenClassification", Self::TokenClassification),
        ("BertForQuestionAnswering", Self::QuestionAnswering),
        ("BertForMultipleChoice", Self::MultipleChoice),
    ];

    /// The name of its class.
    pub fn name(self) -> &'static str {
        let (name, _) = Self::NAMES[self as usize];
        name
    }
}

impl BertConfig {
    /// The class that a config names; one that names none is of a model without a head.
    ///
    /// # Errors
    /// [`UnknownArchitecture`].
    pub fn architecture(&self) -> Result<Architecture, UnknownArchitecture> {
        let names = self.architectures.as_deref().unwrap_or_default();
        let Some(name) = names.first() else { return Ok(Architecture::Model) };
        let known = Architecture::NAMES.iter().find(|(known, _)| known == name);
        let (_, architecture) =
            known.ok_or_else(|| UnknownArchitecture { found: name.to_string() })?;
        Ok(*architecture)
    }

    /// The same of another class, for weights that are saved with it.
    pub fn with_architecture(self, architecture: Architecture) -> Self {
        Self { architectures: Some(vec![architecture.name().to_string()]), ..self }
    }

    /// A model of the class.
    ///
    /// # Panics
    /// As [`init`](Self::init).
    pub fn init_any(&self, architecture: Architecture, random: Stream, device: &Device) -> AnyBert {
        match architecture {
            Architecture::Model => AnyBert::Model(self.init(random, device)),
            Architecture::PreTraining => AnyBert::PreTraining(self.init_for(random, device)),
            Architecture::MaskedLm => AnyBert::MaskedLm(self.init_for(random, device)),
            Architecture::NextSentence => AnyBert::NextSentence(self.init_for(random, device)),
            Architecture::SequenceClassification => {
                AnyBert::SequenceClassification(self.init_for(random, device))
            }
            Architecture::TokenClassification => {
                AnyBert::TokenClassification(self.init_for(random, device))
            }
            Architecture::QuestionAnswering => {
                AnyBert::QuestionAnswering(self.init_for(random, device))
            }
            Architecture::MultipleChoice => AnyBert::MultipleChoice(self.init_for(random, device)),
        }
    }
}

impl AnyBert {
    /// What is below the head.
    pub fn bert(&self) -> &Bert {
        match self {
            Self::Model(model) => model,
            Self::PreTraining(model) => &model.bert,
            Self::MaskedLm(model) => &model.bert,
            Self::NextSentence(model) => &model.bert,
            Self::SequenceClassification(model) => &model.bert,
            Self::TokenClassification(model) => &model.bert,
            Self::QuestionAnswering(model) => &model.bert,
            Self::MultipleChoice(model) => &model.bert,
        }
    }

    /// The same, to be changed.
    pub fn bert_mut(&mut self) -> &mut Bert {
        match self {
            Self::Model(model) => model,
            Self::PreTraining(model) => &mut model.bert,
            Self::MaskedLm(model) => &mut model.bert,
            Self::NextSentence(model) => &mut model.bert,
            Self::SequenceClassification(model) => &mut model.bert,
            Self::TokenClassification(model) => &mut model.bert,
            Self::QuestionAnswering(model) => &mut model.bert,
            Self::MultipleChoice(model) => &mut model.bert,
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::parameters::parameters;

    use super::*;

    #[test]
    fn a_config_says_its_class() {
        let config = BertConfig::default();
        assert_eq!(config.architecture(), Ok(Architecture::Model));
        for (name, architecture) in Architecture::NAMES {
            assert_eq!(architecture.name(), name);
            let config = config.clone().with_architecture(architecture);
            assert_eq!(config.architecture(), Ok(architecture));
        }
        let other = BertConfig { architectures: Some(vec!["BertLMHeadModel".into()]), ..config };
        let error = other.architecture().unwrap_err().to_string();
        assert!(error.starts_with("`architectures` names BertLMHeadModel: expected one of BertModel, BertForPreTraining"), "{error}");
    }

    #[test]
    fn names_do_not_tell_whether_the_class_was_known() {
        let config = BertConfig { n_layers: 1, ..BertConfig::default() };
        let device = test_device();
        let names = |architecture| {
            let model = config.init_any(architecture, Stream::new(1), &device);
            parameters(&model).iter().map(|p| Bert::stored_name(&p.path)).collect::<Vec<_>>()
        };
        let known: BertForPreTraining = config.init_for(Stream::new(1), &device);
        let known: Vec<_> = parameters(&known).iter().map(|p| Bert::stored_name(&p.path)).collect();
        assert_eq!(names(Architecture::PreTraining), known);
        let bare: Vec<_> = parameters(&config.init(Stream::new(1), &device))
            .iter()
            .map(|p| Bert::stored_name(&p.path))
            .collect();
        assert_eq!(names(Architecture::Model), bare);
        assert!(known.starts_with(&bare));
    }
}
