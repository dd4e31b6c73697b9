//! The sizes of a BERT, and the config.json that holds them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::published::{
    Fixed, InvalidConfig, OtherFields, require, require_dropouts, require_sizes,
};

/// The sizes of a BERT, as its config.json holds them under the names of `transformers`. What a file leaves out is as in
/// the published base model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// Always the same; tells model directories apart.
    pub model_type: ModelType,
    /// The classes of `transformers` that the weights are of; there is one.
    pub architectures: Option<Vec<String>>,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The width of every vector between the layers.
    #[serde(rename = "hidden_size")]
    pub d_model: usize,
    /// The number of layers.
    #[serde(rename = "num_hidden_layers")]
    pub n_layers: usize,
    /// The heads of every attention, which share the width.
    #[serde(rename = "num_attention_heads")]
    pub n_heads: usize,
    /// The width inside the feed-forward layers.
    #[serde(rename = "intermediate_size")]
    pub d_ff: usize,
    /// What stands between the two layers of a feed-forward layer, and in the head over the vocabulary.
    #[serde(rename = "hidden_act")]
    pub activation: ActivationName,
    /// The probability with which the inputs of the first layer and the outputs of every sub-layer are dropped in
    /// training.
    #[serde(rename = "hidden_dropout_prob")]
    pub dropout: f64,
    /// The probability with which weights of attention are dropped in training.
    #[serde(rename = "attention_probs_dropout_prob")]
    pub attention_dropout: f64,
    /// The probability with which what a classifier reads is dropped in training; `None` is that of the other layers.
    pub classifier_dropout: Option<f64>,
    /// The longest text.
    #[serde(rename = "max_position_embeddings")]
    pub n_positions: usize,
    /// The kinds of segments: the first sentence, and the second.
    #[serde(rename = "type_vocab_size")]
    pub n_segments: usize,
    /// The standard deviation of initial weights.
    #[serde(rename = "initializer_range")]
    pub deviation: f64,
    /// The ε of every norm.
    #[serde(rename = "layer_norm_eps")]
    pub epsilon: f64,
    /// How positions are told.
    #[serde(rename = "position_embedding_type")]
    pub positions: PositionName,
    /// Whether the head over the vocabulary is the embedding table.
    pub tie_word_embeddings: Fixed<true>,
    /// Whether a token sees nothing after itself.
    pub is_decoder: Fixed<false>,
    /// Whether there is a source.
    pub add_cross_attention: Fixed<false>,
    /// The names of the classes of a head, by their numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id2label: Option<BTreeMap<usize, String>>,
    /// The numbers of the classes of a head, by their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label2id: Option<BTreeMap<String, usize>>,
    /// The number of classes of a head, where they have no names.
    #[serde(rename = "num_labels", skip_serializing_if = "Option::is_none")]
    pub n_labels: Option<usize>,
    /// What the scores of a classifier of texts are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem_type: Option<ProblemType>,
    /// What else a file has.
    #[serde(flatten)]
    pub other: OtherFields,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `bert`.
    #[default]
    Bert,
}

/// The activations of published configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationName {
    /// GELU by the error function, as in the published models.
    Gelu,
    /// The same.
    GeluPython,
    /// GELU by the hyperbolic tangent, as Google's code has it since February 2019.
    GeluNew,
    /// The same.
    GeluPytorchTanh,
    /// The same.
    GeluFast,
    /// GELU by the logistic function.
    QuickGelu,
    /// `max(0, x)`.
    Relu,
}

/// How a model knows of positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionName {
    /// By a vector for each that is trained.
    #[default]
    Absolute,
}

/// What the scores of a classifier of texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemType {
    /// Of classes of which a text has one.
    SingleLabelClassification,
    /// Of classes of which a text has any number.
    MultiLabelClassification,
    /// Numbers.
    Regression,
}

impl Default for BertConfig {
    /// The published base model.
    fn default() -> Self {
        Self {
            model_type: ModelType::Bert,
            architectures: None,
            vocab_size: 30_522,
            d_model: 768,
            n_layers: 12,
            n_heads: 12,
            d_ff: 3072,
            activation: ActivationName::Gelu,
            dropout: 0.1,
            attention_dropout: 0.1,
            classifier_dropout: None,
            n_positions: 512,
            n_segments: 2,
            deviation: 0.02,
            epsilon: 1e-12,
            positions: PositionName::Absolute,
            tie_word_embeddings: Fixed,
            is_decoder: Fixed,
            add_cross_attention: Fixed,
            id2label: None,
            label2id: None,
            n_labels: None,
            problem_type: None,
            other: OtherFields::default(),
        }
    }
}

impl BertConfig {
    /// The published models, by their names.
    pub fn presets() -> [(&'static str, Self); 11] {
        let base = Self::default();
        let of = |n_layers, d_model: usize| Self {
            n_layers,
            d_model,
            n_heads: d_model / 64,
            d_ff: 4 * d_model,
            ..base.clone()
        };
        let with = |vocab_size, config: Self| Self { vocab_size, ..config };
        [
            ("bert-tiny", of(2, 128)),
            ("bert-mini", of(4, 256)),
            ("bert-small", of(4, 512)),
            ("bert-medium", of(8, 512)),
            ("bert-base-uncased", base.clone()),
            ("bert-large-uncased", of(24, 1024)),
            ("bert-base-cased", with(28_996, base.clone())),
            ("bert-large-cased", with(28_996, of(24, 1024))),
            ("bert-base-chinese", with(21_128, base.clone())),
            ("bert-base-multilingual-cased", with(119_547, base.clone())),
            ("bert-base-multilingual-uncased", with(105_879, base.clone())),
        ]
    }

    /// The same with these classes.
    pub fn with_labels<L: Into<String>>(self, labels: impl IntoIterator<Item = L>) -> Self {
        let labels: BTreeMap<usize, String> =
            labels.into_iter().map(Into::into).enumerate().collect();
        let numbers = labels.iter().map(|(id, label)| (label.clone(), *id)).collect();
        Self { id2label: Some(labels), label2id: Some(numbers), n_labels: None, ..self }
    }

    /// The number of classes of a head: of those with names, or as the file says, or the two of `transformers`.
    pub fn n_classes(&self) -> usize {
        let named = self.id2label.as_ref().map(BTreeMap::len);
        named.or(self.n_labels).unwrap_or(2)
    }

    /// The names of the classes of a head, for those without one the names of `transformers`.
    pub fn labels(&self) -> Vec<String> {
        let named = |class| self.id2label.as_ref().and_then(|labels| labels.get(&class)).cloned();
        let name = |class| named(class).unwrap_or_else(|| format!("LABEL_{class}"));
        (0..self.n_classes()).map(name).collect()
    }

    /// Whether a model can be made of it; the error names the first field that cannot be.
    ///
    /// # Errors
    /// [`InvalidConfig`].
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        require_sizes(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.d_model),
            ("num_hidden_layers", self.n_layers),
            ("num_attention_heads", self.n_heads),
            ("intermediate_size", self.d_ff),
            ("max_position_embeddings", self.n_positions),
            ("type_vocab_size", self.n_segments),
            ("num_labels", self.n_classes()),
        ])?;
        let Self { d_model, n_heads, epsilon, deviation, .. } = *self;
        let is_shared = d_model.is_multiple_of(n_heads);
        require(is_shared, "hidden_size", format!("a multiple of the {n_heads} heads"), d_model)?;
        require_dropouts(&[
            ("hidden_dropout_prob", self.dropout),
            ("attention_probs_dropout_prob", self.attention_dropout),
            ("classifier_dropout", self.classifier_dropout()),
        ])?;
        require(epsilon > 0.0, "layer_norm_eps", "above 0", epsilon)?;
        require(deviation >= 0.0, "initializer_range", "at least 0", deviation)?;
        self.validate_labels()
    }

    pub(super) fn classifier_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.dropout)
    }

    fn validate_labels(&self) -> Result<(), InvalidConfig> {
        let Some(labels) = &self.id2label else { return Ok(()) };
        let is_counted = labels.keys().copied().eq(0..labels.len());
        let found = || format!("{:?}", labels.keys());
        require(is_counted, "id2label", "of the numbers from 0 on", found())?;
        let n = self.n_labels.unwrap_or(labels.len());
        require(n == labels.len(), "num_labels", format!("the {} of id2label", labels.len()), n)?;
        let of = |(label, id): (&String, &usize)| labels.get(id) == Some(label);
        let fits = self.label2id.as_ref().is_none_or(|ids| ids.iter().all(of));
        require(fits, "label2id", "the inverse of id2label", format!("{:?}", self.label2id))
    }
}

#[cfg(test)]
impl BertConfig {
    /// A small model for tests, of 11 tokens and 10 positions.
    pub(super) fn small() -> Self {
        Self {
            vocab_size: 11,
            n_positions: 10,
            d_model: 6,
            n_layers: 2,
            n_heads: 3,
            d_ff: 9,
            deviation: 0.3,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_config_is_written_as_it_was_read() {
        let written = json!({
            "model_type": "bert", "architectures": ["BertForTokenClassification"], "vocab_size": 11,
            "hidden_size": 6, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 9,
            "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2,
            "classifier_dropout": null, "max_position_embeddings": 10, "type_vocab_size": 2,
            "initializer_range": 0.3, "layer_norm_eps": 1e-12, "position_embedding_type": "absolute",
            "tie_word_embeddings": true, "is_decoder": false, "add_cross_attention": false,
            "id2label": {"0": "O", "1": "B"}, "label2id": {"O": 0, "B": 1}, "use_cache": true
        });
        let read: BertConfig = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(read.validate(), Ok(()));
        assert_eq!((read.d_ff, read.n_classes()), (9, 2));
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
    }

    #[test]
    fn what_a_config_leaves_out_is_that_of_the_base_model() {
        assert_eq!(serde_json::from_str::<BertConfig>("{}").unwrap(), BertConfig::default());
    }

    #[test]
    fn classes_are_those_with_names_or_as_many_as_are_told_or_two() {
        let config = BertConfig::default();
        assert_eq!(config.n_classes(), 2);
        let told = BertConfig { n_labels: Some(5), ..config.clone() };
        assert_eq!(told.n_classes(), 5);
        assert_eq!(told.labels()[4], "LABEL_4");
        let named = told.with_labels(["good", "bad", "neither"]);
        assert_eq!((named.n_classes(), named.validate()), (3, Ok(())));
        assert_eq!(named.labels(), ["good", "bad", "neither"]);
        assert_eq!(named.label2id.unwrap()["neither"], 2);
    }

    #[test]
    fn a_config_that_is_not_ours_is_refused_by_name() {
        for (text, complaint) in [
            (r#"{"model_type": "gpt2"}"#, "unknown variant `gpt2`, expected `bert`"),
            (r#"{"hidden_act": "silu"}"#, "unknown variant `silu`, expected one of `gelu`"),
            (r#"{"hidden_size": "wide"}"#, "invalid type: string \"wide\", expected usize"),
            (r#"{"is_decoder": true}"#, "true is not supported here, only false"),
            (r#"{"tie_word_embeddings": false}"#, "false is not supported here, only true"),
            (
                r#"{"position_embedding_type": "relative_key"}"#,
                "unknown variant `relative_key`, expected `absolute`",
            ),
        ] {
            let error = serde_json::from_str::<BertConfig>(text).unwrap_err().to_string();
            assert!(error.starts_with(complaint), "{error}");
        }
    }

    #[test]
    fn a_config_that_gives_no_model_is_refused_by_name() {
        let config = BertConfig::default;
        assert_eq!(config().validate(), Ok(()));
        let gap = BTreeMap::from([(0, "a".to_string()), (2, "b".to_string())]);
        for (config, complaint) in [
            (
                BertConfig { n_heads: 5, ..config() },
                "hidden_size must be a multiple of the 5 heads, but is 768",
            ),
            (
                BertConfig { n_segments: 0, ..config() },
                "type_vocab_size must be at least 1, but is 0",
            ),
            (
                BertConfig { classifier_dropout: Some(1.0), ..config() },
                "classifier_dropout must be at least 0 and below 1, but is 1",
            ),
            (
                BertConfig { id2label: Some(gap), ..config() },
                "id2label must be of the numbers from 0 on, but is [0, 2]",
            ),
            (
                BertConfig { n_labels: Some(3), ..config().with_labels(["a", "b"]) },
                "num_labels must be the 2 of id2label, but is 3",
            ),
        ] {
            assert_eq!(config.validate().unwrap_err().to_string(), complaint);
        }
    }
}
