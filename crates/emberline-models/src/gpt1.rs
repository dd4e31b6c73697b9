//! GPT (Radford, Narasimhan, Salimans, Sutskever: "Improving language understanding by generative pre-training", 2018).
//!
//! Against the Transformer it is the decoder alone: there is no source, and so no attention to one. It is trained to
//! predict the next token of any text, and then a little more for a task. Positions are learned and not computed, the
//! feed-forward layers have GELU, in its form by the hyperbolic tangent, and weights of attention are dropped too. As
//! before, the norm follows the sum of each sub-layer, and there is none after the last layer.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
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

/// The sizes of a GPT, as its config.json holds them under the names of `transformers`. What a file leaves out is as in
/// the published model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpt1Config {
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
    /// What stands between the two layers of a feed-forward layer, which is four times as wide as the model.
    #[serde(rename = "afn")]
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
    /// The standard deviation of initial weights.
    #[serde(rename = "initializer_range")]
    pub deviation: f64,
    /// Whether the head is the embedding table.
    pub tie_word_embeddings: Fixed<true>,
    /// What else a file has.
    #[serde(flatten)]
    pub other: OtherFields,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelType {
    /// `openai-gpt`.
    #[default]
    #[serde(rename = "openai-gpt")]
    OpenAiGpt,
}

/// The activations of published configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivationName {
    /// GELU by the hyperbolic tangent: in configs of other models the name means the exact form.
    Gelu,
    /// `max(0, x)`.
    Relu,
}

/// A decoder without a source.
#[derive(Module, Debug)]
pub struct Gpt1 {
    /// `[vocab_size, d_model]`; also the head.
    pub embedding: Embedding,
    /// A vector for each position.
    pub positions: Positions,
    /// The layers, the one nearest to the input first.
    pub blocks: Vec<Block>,
    /// Of the inputs of the first layer.
    pub dropout: Dropout,
}

/// Self-attention and a feed-forward layer, each with a norm of its sum with its input.
#[derive(Module, Debug)]
pub struct Block {
    /// To the tokens so far.
    pub attention: CausalSelfAttention,
    /// After the attention.
    pub attention_norm: LayerNorm,
    /// At every position by itself.
    pub feed_forward: FeedForward,
    /// After the feed-forward layer.
    pub feed_forward_norm: LayerNorm,
    /// Of the output of both.
    pub dropout: Dropout,
}

impl Default for Gpt1Config {
    /// The published model.
    fn default() -> Self {
        Self {
            model_type: ModelType::OpenAiGpt,
            vocab_size: 40_478,
            n_positions: 512,
            d_model: 768,
            n_layers: 12,
            n_heads: 12,
            activation: ActivationName::Gelu,
            residual_dropout: 0.1,
            embedding_dropout: 0.1,
            attention_dropout: 0.1,
            epsilon: 1e-5,
            deviation: 0.02,
            tie_word_embeddings: Fixed,
            other: OtherFields::of_class("OpenAIGPTLMHeadModel"),
        }
    }
}

impl Gpt1Config {
    /// The published model, by its name.
    pub fn presets() -> [(&'static str, Self); 1] {
        [("openai-gpt", Self::default())]
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

    /// Weights of the normal distribution, embeddings and positions too; biases zero.
    ///
    /// # Panics
    /// If the heads cannot share the width.
    pub fn init(&self, random: Stream, device: &Device) -> Gpt1 {
        let Self { vocab_size, n_positions, d_model, deviation, .. } = *self;
        let positions = PositionKind::Learned { max_positions: n_positions };
        let embedding = random.named("embedding");
        Gpt1 {
            embedding: Embedding::init(vocab_size, d_model, deviation, embedding, device),
            positions: positions.init(d_model, deviation, random.named("positions"), device),
            blocks: (0..self.n_layers)
                .map(|layer| self.block(random.named("blocks").at(layer as u64), device))
                .collect(),
            dropout: Dropout::new(self.embedding_dropout),
        }
    }

    fn block(&self, random: Stream, device: &Device) -> Block {
        let deviations = [self.deviation; 2];
        let norm = || LayerNorm::init(self.d_model, self.epsilon, device);
        let feed_forward = random.named("feed_forward");
        Block {
            attention: self.attention().init(deviations, random.named("attention"), device),
            attention_norm: norm(),
            feed_forward: self.feed_forward().init_normal(deviations, feed_forward, device),
            feed_forward_norm: norm(),
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
        tables.saturating_add(block.saturating_mul(n_layers))
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
            ActivationName::Gelu => Activation::Gelu(Gelu::Tanh),
            ActivationName::Relu => Activation::Relu,
        };
        FeedForwardConfig { d_model, d_ff: d_model.saturating_mul(4), activation }
    }
}

impl TokenEncoder for Gpt1 {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.run(batch, &mut Alone(batch), |_| {})
    }

    fn d_model(&self) -> usize {
        self.embedding.weight.lazy_shape()[1]
    }
}

impl Incremental for Gpt1 {
    type Cache = GptCache;

    const READS_LEFT_PADDING: bool = true;

    fn encode_from(&self, batch: &TokenBatch, cache: Option<GptCache>) -> (Tensor<3>, GptCache) {
        let mut cache = GptCache::before(batch, cache, self.blocks.len());
        let hidden = self.run(batch, &mut cache, |_| {});
        (hidden, cache)
    }
}

impl Causal for Gpt1 {}

impl HiddenStates for Gpt1 {
    fn hidden_states(&self, batch: &TokenBatch) -> Vec<Tensor<3>> {
        let mut states = Vec::new();
        let last = self.run(batch, &mut Alone(batch), |hidden| states.push(hidden.clone()));
        states.push(last);
        states
    }
}

impl VocabularyHead for Gpt1 {
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

impl Gpt1 {
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
        hidden
    }

    /// The name of a parameter in files: that of `transformers`.
    pub fn stored_name(path: &str) -> Stored {
        stored_gpt_name(path, ["tokens_embed", "positions_embed"])
    }

    /// The arrays that OpenAI published, which have an order and no names, as tensors with their names in files.
    pub fn named_openai_arrays(arrays: Vec<TensorData>) -> Vec<(String, TensorData)> {
        const OF_A_LAYER: [&str; 12] = [
            "attn.c_attn.weight",
            "attn.c_attn.bias",
            "attn.c_proj.weight",
            "attn.c_proj.bias",
            "ln_1.weight",
            "ln_1.bias",
            "mlp.c_fc.weight",
            "mlp.c_fc.bias",
            "mlp.c_proj.weight",
            "mlp.c_proj.bias",
            "ln_2.weight",
            "ln_2.bias",
        ];
        let tables = ["positions_embed.weight", "tokens_embed.weight"].map(str::to_string);
        let layers =
            (0..).flat_map(|layer| OF_A_LAYER.map(|parameter| format!("h.{layer}.{parameter}")));
        let names = tables.into_iter().chain(layers);
        let named = |(name, array): (String, TensorData)| {
            // The matrices are those of a convolution over one word.
            let (numbers, shape, dtype) = array.into_parts();
            let array = match *shape.as_slice() {
                [1, d_input, d_output] => {
                    TensorData::from_bytes(numbers, [d_input, d_output], dtype)
                }
                _ => TensorData::from_bytes(numbers, shape, dtype),
            };
            (format!("transformer.{name}"), array)
        };
        names.zip(arrays).map(named).collect()
    }

    /// In which ways published files differ.
    pub const PUBLISHED_NAMES: PublishedNames = PublishedNames {
        prefix: "transformer.",
        buffers: &["attn.bias", "position_ids"],
        renamed: &[],
        heads: &[],
        tied: &[Tied { name: "lm_head.weight", same_as: "transformer.tokens_embed.weight" }],
    };
}

impl Block {
    fn into_int8(self) -> Self {
        let (attention, feed_forward) = (self.attention.into_int8(), self.feed_forward.into_int8());
        Self { attention, feed_forward, ..self }
    }

    /// `Norm(x + Attention(x))`, and `Norm(x + FeedForward(x))` of that.
    fn forward(
        &self,
        hidden: Tensor<3>,
        layer: usize,
        past: &mut impl Past,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let place = |name: &str| random.map(|random| random.named(name));
        let attended =
            past.attend(layer, &self.attention, hidden.clone(), place("attention_weights"));
        let attended = self.dropout.forward(attended, place("attention"));
        let hidden = self.attention_norm.forward(hidden + attended);
        let fed = self.feed_forward.forward(hidden.clone());
        self.feed_forward_norm.forward(hidden + self.dropout.forward(fed, place("feed_forward")))
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::{Parameter, parameter_count, parameters};

    use super::*;

    fn config() -> Gpt1Config {
        Gpt1Config {
            vocab_size: 11,
            n_positions: 10,
            d_model: 6,
            n_layers: 2,
            n_heads: 3,
            deviation: 0.3,
            ..Gpt1Config::default()
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
    fn the_published_model_has_its_parameters() {
        assert_eq!(Gpt1Config::default().parameter_count(), 116_534_784);
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        let model = config().init(Stream::new(1), &test_device());
        assert_eq!(parameter_count(&model) as u64, config().parameter_count());
        let huge = Gpt1Config { n_layers: usize::MAX, ..config() };
        assert_eq!(huge.parameter_count(), u64::MAX);
    }

    #[test]
    fn initial_weights_have_the_deviation_of_the_config() {
        let config = Gpt1Config { vocab_size: 300, d_model: 60, deviation: 0.02, ..config() };
        let model = config.init(Stream::new(1), &test_device());
        let block = &model.blocks[1];
        for weight in [
            &model.embedding.weight,
            &block.attention.input.weight,
            &block.attention.output.weight,
            &block.feed_forward.outer.weight,
        ] {
            let found = weight.val().square().mean().sqrt().into_scalar::<f32>();
            assert!((found - 0.02).abs() < 0.001, "{found}");
        }
    }

    #[test]
    fn the_arrays_of_openai_are_those_of_the_model() {
        let model = config().init(Stream::new(1), &test_device());
        let array = |(number, shape): (usize, &[usize])| {
            TensorData::new(vec![number as f32; shape.iter().product()], shape.to_vec())
        };
        let layer: [&[usize]; 12] = [
            &[1, 6, 18],
            &[18],
            &[1, 6, 6],
            &[6],
            &[6],
            &[6],
            &[1, 6, 24],
            &[24],
            &[1, 24, 6],
            &[6],
            &[6],
            &[6],
        ];
        let shapes = [&[&[10, 6][..], &[11, 6]][..], &layer, &layer].concat();
        let named = Gpt1::named_openai_arrays(shapes.into_iter().enumerate().map(array).collect());
        let mut found: Vec<_> =
            named.iter().map(|(name, data)| (name.clone(), data.shape().to_vec())).collect();
        let parameter = |p: Parameter| (Gpt1::stored_name(&p.path).name, p.shape);
        let mut expected: Vec<_> = parameters(&model).into_iter().map(parameter).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        let of = |name: &str| {
            let (_, data) = named.iter().find(|(known, _)| known == name).expect("a name");
            data.iter::<f32>().next()
        };
        assert_eq!(of("transformer.h.1.ln_2.bias"), Some(25.0));
        assert_eq!(of("transformer.h.0.mlp.c_fc.weight"), Some(8.0));
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
    fn a_config_is_read_under_either_name_and_written_under_its_own() {
        let text = r#"{"model_type": "openai-gpt", "hidden_size": 6, "num_hidden_layers": 2,
            "num_attention_heads": 3, "max_position_embeddings": 10, "vocab_size": 11,
            "initializer_range": 0.3, "n_special": 0, "architectures": ["OpenAIGPTLMHeadModel"]}"#;
        let read: Gpt1Config = serde_json::from_str(text).unwrap();
        assert_eq!(Gpt1Config { other: config().other, ..read.clone() }, config());
        let written = serde_json::to_value(&read).unwrap();
        for (field, value) in [("n_embd", 6), ("n_layer", 2), ("n_head", 3), ("n_special", 0)] {
            assert_eq!(written[field], value, "{field}");
        }
        assert_eq!(serde_json::from_value::<Gpt1Config>(written).unwrap(), read);
    }

    #[test]
    fn what_a_config_leaves_out_is_that_of_the_published_model() {
        let read: Gpt1Config = serde_json::from_str("{}").unwrap();
        assert_eq!(
            Gpt1Config { other: Gpt1Config::default().other, ..read },
            Gpt1Config::default()
        );
    }

    #[test]
    fn a_config_that_is_not_ours_is_refused_by_name() {
        for (text, complaint) in [
            (r#"{"model_type": "bert"}"#, "unknown variant `bert`, expected `openai-gpt`"),
            (r#"{"afn": "swish"}"#, "unknown variant `swish`, expected `gelu` or `relu`"),
            (r#"{"n_layer": "many"}"#, "invalid type: string \"many\", expected usize"),
            (r#"{"tie_word_embeddings": false}"#, "false is not supported here, only true"),
        ] {
            let error = serde_json::from_str::<Gpt1Config>(text).unwrap_err().to_string();
            assert!(error.starts_with(complaint), "{error}");
        }
    }

    #[test]
    fn a_config_that_gives_no_model_is_refused_by_name() {
        assert_eq!(Gpt1Config::default().validate(), Ok(()));
        for (config, complaint) in [
            (Gpt1Config { n_heads: 0, ..config() }, "n_head must be at least 1, but is 0"),
            (
                Gpt1Config { n_heads: 4, ..config() },
                "n_embd must be a multiple of the 4 heads, but is 6",
            ),
            (
                Gpt1Config { attention_dropout: 1.0, ..config() },
                "attn_pdrop must be at least 0 and below 1, but is 1",
            ),
            (
                Gpt1Config { epsilon: f64::NAN, ..config() },
                "layer_norm_epsilon must be above 0, but is NaN",
            ),
        ] {
            assert_eq!(config.validate().unwrap_err().to_string(), complaint);
        }
    }
}
