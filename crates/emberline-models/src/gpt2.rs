//! GPT-2 (Radford, Wu, Child, Luan, Amodei, Sutskever: "Language models are unsupervised multitask learners", 2019).
//!
//! Against GPT the norm has moved to the input of each sub-layer (pre-norm), so that nothing stands on the path from the
//! first layer to the last, and there is one more after that. What the sub-layers add to this path is scaled down at
//! initialisation by the root of their number. Four sizes, twice the context, bytes instead of words as the alphabet
//! of the tokenizer; and no task any more: it is told what to do by the text.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_attention::{
    Activation, CausalSelfAttention, CausalSelfAttentionConfig, FeedForward, FeedForwardConfig,
    LayerNorm, PositionKind, Positions,
};
use emberline_backend::{Dropout, Embedding, Gelu};
use emberline_checkpoint::{PublishedNames, Stored, Tied};
use emberline_core::{
    Causal, HeadWeights, HiddenStates, Incremental, Stream, TokenBatch, TokenEncoder,
    VocabularyHead,
};
use serde::{Deserialize, Serialize};

pub use crate::gpt_cache::GptCache;
use crate::gpt_cache::{Alone, Past};
use crate::published::{
    Fixed, InvalidConfig, OtherFields, require, require_dropouts, require_sizes,
};
use crate::stored::stored_gpt_name;

/// The sizes of a GPT-2, as its config.json holds them under the names of `transformers`. What a file leaves out is as
/// in the smallest published model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpt2Config {
    /// Always the same; tells model directories apart.
    pub model_type: ModelType,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The longest text.
    #[serde(alias = "max_position_embeddings")]
    pub n_positions: usize,
    /// The width of every vector between the layers.
    #[serde(rename = "n_embd", alias = "hidden_size")]
    pub d_model: usize,
    /// The number of layers.
    #[serde(rename = "n_layer", alias = "num_hidden_layers")]
    pub n_layers: usize,
    /// The heads of every attention, which share the width.
    #[serde(rename = "n_head", alias = "num_attention_heads")]
    pub n_heads: usize,
    /// The width inside the feed-forward layers; `None` is four times that of the model.
    #[serde(rename = "n_inner")]
    pub d_ff: Option<usize>,
    /// What stands between the two layers of a feed-forward layer.
    #[serde(rename = "activation_function")]
    pub activation: ActivationName,
    /// The probability with which the outputs of every sub-layer are dropped in training.
    #[serde(rename = "resid_pdrop")]
    pub residual_dropout: f64,
    /// The probability with which the inputs of the first layer are dropped in training.
    #[serde(rename = "embd_pdrop")]
    pub embedding_dropout: f64,
    /// The probability with which weights of attention are dropped in training.
    #[serde(rename = "attn_pdrop")]
    pub attention_dropout: f64,
    /// The ε of every norm.
    #[serde(rename = "layer_norm_epsilon")]
    pub epsilon: f64,
    /// The standard deviation of initial weights, before that of what is added to the path.
    #[serde(rename = "initializer_range")]
    pub deviation: f64,
    /// Whether the head is the embedding table.
    pub tie_word_embeddings: Fixed<true>,
    /// Whether scores are divided by the root of a head's width.
    pub scale_attn_weights: Fixed<true>,
    /// Whether scores are divided by the number of their layer, too.
    pub scale_attn_by_inverse_layer_idx: Fixed<false>,
    /// Whether there is a source.
    pub add_cross_attention: Fixed<false>,
    /// What else a file has.
    #[serde(flatten)]
    pub other: OtherFields,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `gpt2`.
    #[default]
    Gpt2,
}

/// The activations of published configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationName {
    /// GELU by the hyperbolic tangent, as in the published models.
    GeluNew,
    /// The same.
    GeluPytorchTanh,
    /// The same.
    GeluFast,
    /// GELU by the error function.
    Gelu,
    /// GELU by the logistic function.
    QuickGelu,
    /// `max(0, x)`.
    Relu,
}

/// Causal attention with the norm before it.
#[derive(Module, Debug)]
pub struct Gpt2 {
    /// `[vocab_size, d_model]`; also the head.
    pub embedding: Embedding,
    /// A vector for each position.
    pub positions: Positions,
    /// The layers, the one nearest to the input first.
    pub blocks: Vec<Block>,
    /// After the last layer.
    pub norm: LayerNorm,
    /// Of the inputs of the first layer.
    pub dropout: Dropout,
}

/// Self-attention and a feed-forward layer, each with a norm of its input.
#[derive(Module, Debug)]
pub struct Block {
    /// Before the attention.
    pub attention_norm: LayerNorm,
    /// To the tokens so far.
    pub attention: CausalSelfAttention,
    /// Before the feed-forward layer.
    pub feed_forward_norm: LayerNorm,
    /// At every position by itself.
    pub feed_forward: FeedForward,
    /// Of the output of both.
    pub dropout: Dropout,
}

impl Default for Gpt2Config {
    /// The smallest published model.
    fn default() -> Self {
        Self {
            model_type: ModelType::Gpt2,
            vocab_size: 50_257,
            n_positions: 1024,
            d_model: 768,
            n_layers: 12,
            n_heads: 12,
            d_ff: None,
            activation: ActivationName::GeluNew,
            residual_dropout: 0.1,
            embedding_dropout: 0.1,
            attention_dropout: 0.1,
            epsilon: 1e-5,
            deviation: 0.02,
            tie_word_embeddings: Fixed,
            scale_attn_weights: Fixed,
            scale_attn_by_inverse_layer_idx: Fixed,
            add_cross_attention: Fixed,
            other: OtherFields::of_class("GPT2LMHeadModel"),
        }
    }
}

impl Gpt2Config {
    /// The published models, by their names.
    pub fn presets() -> [(&'static str, Self); 4] {
        let sizes = [
            ("gpt2", 12, 768, 12),
            ("gpt2-medium", 24, 1024, 16),
            ("gpt2-large", 36, 1280, 20),
            ("gpt2-xl", 48, 1600, 25),
        ];
        sizes.map(|(name, n_layers, d_model, n_heads)| {
            (name, Self { n_layers, d_model, n_heads, ..Self::default() })
        })
    }

    /// Whether a model can be made of it; the error names the first field that cannot be.
    ///
    /// # Errors
    /// [`InvalidConfig`].
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        require_sizes(&[
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.d_model),
            ("n_layer", self.n_layers),
            ("n_head", self.n_heads),
            ("n_inner", self.feed_forward().d_ff),
        ])?;
        let Self { d_model, n_heads, epsilon, deviation, .. } = *self;
        let is_shared = d_model.is_multiple_of(n_heads);
        require(is_shared, "n_embd", format!("a multiple of the {n_heads} heads"), d_model)?;
        require_dropouts(&[
            ("resid_pdrop", self.residual_dropout),
            ("embd_pdrop", self.embedding_dropout),
            ("attn_pdrop", self.attention_dropout),
        ])?;
        require(epsilon > 0.0, "layer_norm_epsilon", "above 0", epsilon)?;
        require(deviation >= 0.0, "initializer_range", "at least 0", deviation)
    }

    /// Weights of the normal distribution, biases zero. Those that end a sub-layer are `√(2 n_layers)` times
    /// smaller. Positions are drawn as all others are, as in `transformers`; OpenAI's code draws them half as wide.
    ///
    /// # Panics
    /// If the heads cannot share the width.
    pub fn init(&self, random: Stream, device: &Device) -> Gpt2 {
        let Self { vocab_size, n_positions, d_model, deviation, .. } = *self;
        let positions = PositionKind::Learned { max_positions: n_positions };
        let embedding = random.named("embedding");
        Gpt2 {
            embedding: Embedding::init(vocab_size, d_model, deviation, embedding, device),
            positions: positions.init(d_model, deviation, random.named("positions"), device),
            blocks: (0..self.n_layers).map(|layer| self.block(layer, random, device)).collect(),
            norm: LayerNorm::init(d_model, self.epsilon, device),
            dropout: Dropout::new(self.embedding_dropout),
        }
    }

    fn block(&self, layer: usize, random: Stream, device: &Device) -> Block {
        let random = random.named("blocks").at(layer as u64);
        let residual = self.deviation / (2.0 * self.n_layers as f64).sqrt();
        let deviations = [self.deviation, residual];
        let norm = || LayerNorm::init(self.d_model, self.epsilon, device);
        let feed_forward = random.named("feed_forward");
        Block {
            attention_norm: norm(),
            attention: self.attention().init(deviations, random.named("attention"), device),
            feed_forward_norm: norm(),
            feed_forward: self.feed_forward().init_normal(deviations, feed_forward, device),
            dropout: Dropout::new(self.residual_dropout),
        }
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    ///
    /// # Panics
    /// If the heads cannot share the width.
    pub fn parameter_count(&self) -> u64 {
        let [vocab_size, n_positions, d_model, n_layers] =
            [self.vocab_size, self.n_positions, self.d_model, self.n_layers]
                .map(|size| size as u64);
        let norm = d_model.saturating_mul(2);
        let block = self
            .attention()
            .parameter_count()
            .saturating_add(self.feed_forward().parameter_count())
            .saturating_add(norm.saturating_mul(2));
        let tables = vocab_size.saturating_add(n_positions).saturating_mul(d_model);
        tables.saturating_add(block.saturating_mul(n_layers)).saturating_add(norm)
    }

    fn attention(&self) -> CausalSelfAttentionConfig {
        let Self { d_model, n_heads, attention_dropout, .. } = *self;
        let is_shared = n_heads > 0 && d_model.is_multiple_of(n_heads);
        assert!(is_shared, "{n_heads} heads do not share a width of {d_model}");
        CausalSelfAttentionConfig {
            d_model,
            n_heads,
            d_head: d_model / n_heads,
            band: None,
            dropout: attention_dropout,
        }
    }

    fn feed_forward(&self) -> FeedForwardConfig {
        let d_model = self.d_model;
        let activation = match self.activation {
            ActivationName::GeluNew
            | ActivationName::GeluPytorchTanh
            | ActivationName::GeluFast => Activation::Gelu(Gelu::Tanh),
            ActivationName::Gelu => Activation::Gelu(Gelu::Exact),
            ActivationName::QuickGelu => Activation::Gelu(Gelu::Quick),
            ActivationName::Relu => Activation::Relu,
        };
        let d_ff = self.d_ff.unwrap_or(d_model.saturating_mul(4));
        FeedForwardConfig { d_model, d_ff, activation }
    }
}

impl TokenEncoder for Gpt2 {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.run(batch, &mut Alone(batch), |_| {})
    }

    fn d_model(&self) -> usize {
        self.embedding.weight.lazy_shape()[1]
    }
}

impl Incremental for Gpt2 {
    type Cache = GptCache;

    const READS_LEFT_PADDING: bool = true;

    fn encode_from(&self, batch: &TokenBatch, cache: Option<GptCache>) -> (Tensor<3>, GptCache) {
        let mut cache = GptCache::before(batch, cache, self.blocks.len());
        let hidden = self.run(batch, &mut cache, |_| {});
        (hidden, cache)
    }
}

impl Causal for Gpt2 {}

impl HiddenStates for Gpt2 {
    fn hidden_states(&self, batch: &TokenBatch) -> Vec<Tensor<3>> {
        let mut states = Vec::new();
        let last = self.run(batch, &mut Alone(batch), |hidden| states.push(hidden.clone()));
        states.push(last);
        states
    }
}

impl VocabularyHead for Gpt2 {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::tied(self.embedding.weight.val(), None)
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.embedding.scores(hidden)
    }

    fn vocab_size(&self) -> usize {
        self.embedding.weight.lazy_shape()[0]
    }
}

impl Gpt2 {
    /// The same with int8 for every matrix but the positions, for inference on the CPU, as
    /// [`Linear::into_int8`](emberline_backend::Linear::into_int8).
    #[must_use]
    pub fn into_int8(self) -> Self {
        let blocks = self.blocks.into_iter().map(Block::into_int8);
        Self { embedding: self.embedding.into_int8(), blocks: blocks.collect(), ..self }
    }

    /// Runs the layers, and shows what goes into each.
    fn run(
        &self,
        batch: &TokenBatch,
        past: &mut impl Past,
        mut show: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let random = batch.dropout.map(|random| random.at(past.length() as u64));
        let place = |name: &str| random.map(|random| random.named(name));
        let vectors = past.place(self.embedding.forward(batch.tokens.clone()), &self.positions);
        let mut hidden = self.dropout.forward(vectors, place("embedding"));
        for (layer, block) in self.blocks.iter().enumerate() {
            show(&hidden);
            let random = place("blocks").map(|random| random.at(layer as u64));
            hidden = block.forward(hidden, layer, past, random);
        }
        self.norm.forward(hidden)
    }

    /// The name of a parameter in files: that of `transformers`.
    pub fn stored_name(path: &str) -> Stored {
        stored_gpt_name(path, ["wte", "wpe"])
    }

    /// In which ways published files differ.
    pub const PUBLISHED_NAMES: PublishedNames = PublishedNames {
        prefix: "transformer.",
        buffers: &["attn.bias", "attn.masked_bias"],
        renamed: &[],
        heads: &[],
        tied: &[Tied { name: "lm_head.weight", same_as: "transformer.wte.weight" }],
    };
}

impl Block {
    fn into_int8(self) -> Self {
        let (attention, feed_forward) = (self.attention.into_int8(), self.feed_forward.into_int8());
        Self { attention, feed_forward, ..self }
    }

    /// `x + Attention(Norm(x))`, and `x + FeedForward(Norm(x))` of that.
    fn forward(
        &self,
        hidden: Tensor<3>,
        layer: usize,
        past: &mut impl Past,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let place = |name: &str| random.map(|random| random.named(name));
        let normal = self.attention_norm.forward(hidden.clone());
        let attended = past.attend(layer, &self.attention, normal, place("attention_weights"));
        let hidden = hidden + self.dropout.forward(attended, place("attention"));
        let fed = self.feed_forward.forward(self.feed_forward_norm.forward(hidden.clone()));
        hidden + self.dropout.forward(fed, place("feed_forward"))
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::{parameter_count, parameters};

    use super::*;

    fn config() -> Gpt2Config {
        Gpt2Config {
            vocab_size: 11,
            n_positions: 10,
            d_model: 6,
            n_layers: 2,
            n_heads: 3,
            deviation: 0.3,
            ..Gpt2Config::default()
        }
    }

    #[test]
    fn the_laws_of_its_traits_hold() {
        let device = test_device();
        let model = config().init(Stream::new(1), &device);
        laws::causal(&model, &device);
        laws::incremental(&model, &device);
        laws::rows_are_independent(&model, &device);
        laws::left_padding_changes_nothing(&model, &device);
        laws::hidden_states_end_in_the_encoding(&model, 11, &device);
    }

    #[test]
    fn the_laws_hold_for_int8_of_which_it_is_near_and_has_the_parameters() {
        let device = test_device();
        let plain = config().init(Stream::new(1), &device);
        let model = plain.clone().into_int8();
        laws::incremental(&model, &device);
        laws::rows_are_independent(&model, &device);
        let batch = TokenBatch::from_rows(&[&[1, 10, 3], &[0, 4, 4]], &device);
        let difference = (model.encode(&batch) - plain.encode(&batch)).abs().max();
        let difference = difference.into_scalar::<f32>();
        assert!(difference > 0.0 && difference < 0.05, "{difference}");
        assert_eq!(model.vocab_size(), 11);
        assert_eq!(parameter_count(&model), parameter_count(&plain));
        let changed = model.embedding.weight.val() - plain.embedding.weight.val();
        assert!(changed.abs().max().into_scalar::<f32>() < 1.2 / 254.0);
    }

    #[test]
    fn the_published_models_have_their_parameters() {
        let counts = Gpt2Config::presets().map(|(name, config)| (name, config.parameter_count()));
        let expected = [
            ("gpt2", 124_439_808),
            ("gpt2-medium", 354_823_168),
            ("gpt2-large", 774_030_080),
            ("gpt2-xl", 1_557_611_200),
        ];
        assert_eq!(counts, expected);
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        for d_ff in [None, Some(7)] {
            let config = Gpt2Config { d_ff, ..config() };
            let model = config.init(Stream::new(1), &test_device());
            assert_eq!(parameter_count(&model) as u64, config.parameter_count());
        }
        let huge = Gpt2Config { d_ff: Some(usize::MAX), ..config() };
        assert_eq!(huge.parameter_count(), u64::MAX);
    }

    #[test]
    fn nothing_is_made_before_it_is_used() {
        let [.., (_, config)] = Gpt2Config::presets();
        let model = config.init(Stream::new(1), &test_device());
        assert_eq!(parameter_count(&model) as u64, config.parameter_count());
        assert!(!model.embedding.weight.is_initialized());
        assert!(model.blocks.iter().all(|block| !block.feed_forward.inner.weight.is_initialized()));
    }

    #[test]
    fn what_ends_a_sub_layer_starts_smaller() {
        let config =
            Gpt2Config { vocab_size: 300, d_model: 60, n_layers: 8, deviation: 0.02, ..config() };
        let model = config.init(Stream::new(1), &test_device());
        let block = &model.blocks[1];
        for (weight, expected) in [
            (&model.embedding.weight, 0.02),
            (&block.attention.input.weight, 0.02),
            (&block.attention.output.weight, 0.005),
            (&block.feed_forward.inner.weight, 0.02),
            (&block.feed_forward.outer.weight, 0.005),
        ] {
            let found = weight.val().square().mean().sqrt().into_scalar::<f32>();
            assert!((found / expected - 1.0).abs() < 0.05, "{found} is not {expected}");
        }
    }

    #[test]
    fn dropout_acts_only_with_a_stream() {
        let device = test_device();
        let model = config().init(Stream::new(1), &device);
        let hidden = |dropout: Option<Stream>| {
            let batch = TokenBatch { dropout, ..TokenBatch::from_rows(&[&[1, 2, 3]], &device) };
            model.encode(&batch).into_data()
        };
        let stream = Some(Stream::new(1));
        assert_eq!(hidden(None), hidden(None));
        assert_eq!(hidden(stream), hidden(stream));
        assert_ne!(hidden(stream), hidden(None));
        assert_ne!(hidden(stream), hidden(Some(Stream::new(2))));
    }

    #[test]
    fn every_parameter_has_a_name_of_transformers() {
        let config = Gpt2Config { n_layers: 1, ..config() };
        let model = config.init(Stream::new(1), &test_device());
        let names = parameters(&model).into_iter().map(|p| Gpt2::stored_name(&p.path).name);
        let expected = [
            "wte.weight",
            "wpe.weight",
            "h.0.ln_1.weight",
            "h.0.ln_1.bias",
            "h.0.attn.c_attn.weight",
            "h.0.attn.c_attn.bias",
            "h.0.attn.c_proj.weight",
            "h.0.attn.c_proj.bias",
            "h.0.ln_2.weight",
            "h.0.ln_2.bias",
            "h.0.mlp.c_fc.weight",
            "h.0.mlp.c_fc.bias",
            "h.0.mlp.c_proj.weight",
            "h.0.mlp.c_proj.bias",
            "ln_f.weight",
            "ln_f.bias",
        ];
        let expected = expected.map(|name| format!("transformer.{name}"));
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_config_is_read_under_either_name_and_written_under_its_own() {
        let text = r#"{"model_type": "gpt2", "hidden_size": 6, "num_hidden_layers": 2,
            "num_attention_heads": 3, "max_position_embeddings": 10, "vocab_size": 11, "n_inner": null,
            "initializer_range": 0.3, "n_ctx": 9, "architectures": ["GPT2LMHeadModel"]}"#;
        let read: Gpt2Config = serde_json::from_str(text).unwrap();
        assert_eq!(Gpt2Config { other: config().other, ..read.clone() }, config());
        let written = serde_json::to_value(&read).unwrap();
        for (field, value) in [("n_embd", 6), ("n_layer", 2), ("n_head", 3), ("n_ctx", 9)] {
            assert_eq!(written[field], value, "{field}");
        }
        assert_eq!(serde_json::from_value::<Gpt2Config>(written).unwrap(), read);
    }

    #[test]
    fn what_a_config_leaves_out_is_that_of_the_smallest_model() {
        let read: Gpt2Config = serde_json::from_str("{}").unwrap();
        assert_eq!(
            Gpt2Config { other: Gpt2Config::default().other, ..read },
            Gpt2Config::default()
        );
    }

    #[test]
    fn a_config_that_is_not_ours_is_refused_by_name() {
        for (text, complaint) in [
            (r#"{"model_type": "bert"}"#, "unknown variant `bert`, expected `gpt2`"),
            (
                r#"{"activation_function": "silu"}"#,
                "unknown variant `silu`, expected one of `gelu_new`",
            ),
            (r#"{"n_layer": "many"}"#, "invalid type: string \"many\", expected usize"),
            (r#"{"scale_attn_weights": false}"#, "false is not supported here, only true"),
            (
                r#"{"scale_attn_by_inverse_layer_idx": true}"#,
                "true is not supported here, only false",
            ),
        ] {
            let error = serde_json::from_str::<Gpt2Config>(text).unwrap_err().to_string();
            assert!(error.starts_with(complaint), "{error}");
        }
    }

    #[test]
    fn a_config_that_gives_no_model_is_refused_by_name() {
        assert_eq!(Gpt2Config::default().validate(), Ok(()));
        for (config, complaint) in [
            (
                Gpt2Config { n_heads: 4, ..config() },
                "n_embd must be a multiple of the 4 heads, but is 6",
            ),
            (Gpt2Config { d_ff: Some(0), ..config() }, "n_inner must be at least 1, but is 0"),
            (
                Gpt2Config { residual_dropout: -0.1, ..config() },
                "resid_pdrop must be at least 0 and below 1, but is -0.1",
            ),
        ] {
            assert_eq!(config.validate().unwrap_err().to_string(), complaint);
        }
    }
}
