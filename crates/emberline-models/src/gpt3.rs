//! GPT-3 (Brown and others: "Language models are few-shot learners", 2020).
//!
//! Against GPT-2 every other layer sees a band of the last few tokens only, as in the Sparse Transformer (Child, Gray,
//! Radford, Sutskever, 2019), and the context is twice as long. The rest is size: eight of them, up to a hundred times
//! the largest GPT-2, of which no weights were published.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use emberline_attention::{
    Activation, CausalSelfAttention, CausalSelfAttentionConfig, FeedForward, FeedForwardConfig,
    LayerNorm, PositionKind, Positions,
};
use emberline_backend::{Dropout, Embedding, Gelu};
use emberline_checkpoint::Stored;
use emberline_core::{
    Causal, HeadWeights, HiddenStates, Incremental, Stream, TokenBatch, TokenEncoder,
    VocabularyHead,
};
use serde::{Deserialize, Serialize};

pub use crate::gpt_cache::GptCache;
use crate::gpt_cache::{Alone, Past};
use crate::published::{InvalidConfig, require, require_dropouts, require_sizes};
use crate::stored::stored_gpt_name;

/// The ε of every norm: that of GPT-2, as the paper names none.
const EPSILON: f64 = 1e-5;
/// The standard deviation of initial weights: that of GPT-2.
const DEVIATION: f64 = 0.02;

/// The sizes of a GPT-3, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt3Config {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// The number of tokens.
    pub vocab_size: usize,
    /// The longest text.
    pub n_positions: usize,
    /// The width of every vector between the layers. The feed-forward layers are four times as wide.
    pub d_model: usize,
    /// The number of layers.
    pub n_layers: usize,
    /// The heads of every attention.
    pub n_heads: usize,
    /// The width of a head; the heads need not share the width of the model.
    pub d_head: usize,
    /// The last tokens that a token sees in every second layer, itself among them; without it all layers are dense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<usize>,
    /// The probability with which the inputs of the first layer, weights of attention and the outputs of every
    /// sub-layer are dropped in training.
    pub dropout: f64,
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `gpt3`.
    #[default]
    Gpt3,
}

/// Causal attention, dense and in a band in turn.
#[derive(Module, Debug)]
pub struct Gpt3 {
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
    /// To the tokens so far, or to the last of them.
    pub attention: CausalSelfAttention,
    /// Before the feed-forward layer.
    pub feed_forward_norm: LayerNorm,
    /// At every position by itself.
    pub feed_forward: FeedForward,
    /// Of the output of both.
    pub dropout: Dropout,
}

impl Gpt3Config {
    /// The models of the paper's table 2.1, by their names.
    ///
    /// Two rows of the table do not add up; here they are as the numbers of parameters in its table D.1 have them, and
    /// [`as_printed`](Self::as_printed) has the others. Which layers have a band and how wide it is was not published,
    /// nor was dropout: the first layer is dense, the second has a band of 256 as in GPT-Neo, and nothing is dropped.
    pub fn presets() -> [(&'static str, Self); 8] {
        [
            Self::of_paper("gpt3-small", 12, 768, 12, 64),
            Self::of_paper("gpt3-medium", 24, 1024, 16, 64),
            Self::of_paper("gpt3-large", 24, 1536, 16, 96),
            Self::of_paper("gpt3-xl", 24, 2048, 16, 128),
            Self::of_paper("gpt3-2.7b", 32, 2560, 32, 80),
            Self::of_paper("gpt3-6.7b", 32, 4096, 32, 128),
            Self::of_paper("gpt3-13b", 40, 5120, 40, 128),
            Self::of_paper("gpt3-175b", 96, 12288, 96, 128),
        ]
    }

    /// The rows of the paper's table 2.1 whose heads do not share the width of the model, as they are printed.
    pub fn as_printed() -> [(&'static str, Self); 2] {
        [
            Self::of_paper("gpt3-xl-as-printed", 24, 2048, 24, 128),
            Self::of_paper("gpt3-13b-as-printed", 40, 5140, 40, 128),
        ]
    }

    fn of_paper(
        name: &'static str,
        n_layers: usize,
        d_model: usize,
        n_heads: usize,
        d_head: usize,
    ) -> (&'static str, Self) {
        let config = Self {
            model_type: ModelType::Gpt3,
            vocab_size: 50_257,
            n_positions: 2048,
            d_model,
            n_layers,
            n_heads,
            d_head,
            band: Some(256),
            dropout: 0.0,
        };
        (name, config)
    }

    /// Whether a model can be made of it; the error names the first field that cannot be.
    ///
    /// # Errors
    /// [`InvalidConfig`].
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        require_sizes(&[
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("d_model", self.d_model),
            ("n_layers", self.n_layers),
            ("n_heads", self.n_heads),
            ("d_head", self.d_head),
        ])?;
        require(self.band != Some(0), "band", "at least 1", 0)?;
        require_dropouts(&[("dropout", self.dropout)])
    }

    /// Weights of the normal distribution, biases zero. Those that end a sub-layer are `√(2 n_layers)` times
    /// smaller.
    pub fn init(&self, random: Stream, device: &Device) -> Gpt3 {
        let Self { vocab_size, n_positions, d_model, .. } = *self;
        let positions = PositionKind::Learned { max_positions: n_positions };
        let embedding = random.named("embedding");
        Gpt3 {
            embedding: Embedding::init(vocab_size, d_model, DEVIATION, embedding, device),
            positions: positions.init(d_model, DEVIATION, random.named("positions"), device),
            blocks: (0..self.n_layers).map(|layer| self.block(layer, random, device)).collect(),
            norm: LayerNorm::init(d_model, EPSILON, device),
            dropout: Dropout::new(self.dropout),
        }
    }

    fn block(&self, layer: usize, random: Stream, device: &Device) -> Block {
        let random = random.named("blocks").at(layer as u64);
        let residual = DEVIATION / (2.0 * self.n_layers as f64).sqrt();
        let deviations = [DEVIATION, residual];
        let norm = || LayerNorm::init(self.d_model, EPSILON, device);
        let feed_forward = random.named("feed_forward");
        Block {
            attention_norm: norm(),
            attention: self.attention(layer).init(deviations, random.named("attention"), device),
            feed_forward_norm: norm(),
            feed_forward: self.feed_forward().init_normal(deviations, feed_forward, device),
            dropout: Dropout::new(self.dropout),
        }
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    pub fn parameter_count(&self) -> u64 {
        let [vocab_size, n_positions, d_model, n_layers] =
            [self.vocab_size, self.n_positions, self.d_model, self.n_layers]
                .map(|size| size as u64);
        let norm = d_model.saturating_mul(2);
        let block = self
            .attention(0)
            .parameter_count()
            .saturating_add(self.feed_forward().parameter_count())
            .saturating_add(norm.saturating_mul(2));
        let tables = vocab_size.saturating_add(n_positions).saturating_mul(d_model);
        tables.saturating_add(block.saturating_mul(n_layers)).saturating_add(norm)
    }

    fn attention(&self, layer: usize) -> CausalSelfAttentionConfig {
        let Self { d_model, n_heads, d_head, dropout, .. } = *self;
        let band = self.band.filter(|_| !layer.is_multiple_of(2));
        CausalSelfAttentionConfig { d_model, n_heads, d_head, band, dropout }
    }

    fn feed_forward(&self) -> FeedForwardConfig {
        let d_model = self.d_model;
        let activation = Activation::Gelu(Gelu::Tanh);
        FeedForwardConfig { d_model, d_ff: d_model.saturating_mul(4), activation }
    }
}

impl TokenEncoder for Gpt3 {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.run(batch, &mut Alone(batch), |_| {})
    }

    fn d_model(&self) -> usize {
        self.embedding.weight.lazy_shape()[1]
    }
}

impl Incremental for Gpt3 {
    type Cache = GptCache;

    const READS_LEFT_PADDING: bool = true;

    fn encode_from(&self, batch: &TokenBatch, cache: Option<GptCache>) -> (Tensor<3>, GptCache) {
        let mut cache = GptCache::before(batch, cache, self.blocks.len());
        let hidden = self.run(batch, &mut cache, |_| {});
        (hidden, cache)
    }
}

impl Causal for Gpt3 {}

impl HiddenStates for Gpt3 {
    fn hidden_states(&self, batch: &TokenBatch) -> Vec<Tensor<3>> {
        let mut states = Vec::new();
        let last = self.run(batch, &mut Alone(batch), |hidden| states.push(hidden.clone()));
        states.push(last);
        states
    }
}

impl VocabularyHead for Gpt3 {
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

impl Gpt3 {
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

    /// The name of a parameter in files: that of GPT-2 in `transformers`, as no others were published.
    pub fn stored_name(path: &str) -> Stored {
        stored_gpt_name(path, ["wte", "wpe"])
    }
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
    use emberline_core::parameters::parameter_count;

    use super::*;
    use crate::gpt2::Gpt2Config;

    fn config() -> Gpt3Config {
        Gpt3Config {
            model_type: ModelType::Gpt3,
            vocab_size: 11,
            n_positions: 10,
            d_model: 8,
            n_layers: 4,
            n_heads: 3,
            d_head: 5,
            band: Some(3),
            dropout: 0.0,
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
    fn the_models_of_the_paper_have_their_parameters() {
        let counts = Gpt3Config::presets().map(|(name, config)| (name, config.parameter_count()));
        let expected = [
            ("gpt3-small", 125_226_240),
            ("gpt3-medium", 355_871_744),
            ("gpt3-large", 760_300_032),
            ("gpt3-xl", 1_315_723_264),
            ("gpt3-2.7b", 2_651_553_280),
            ("gpt3-6.7b", 6_658_404_352),
            ("gpt3-13b", 12_853_386_240),
            ("gpt3-175b", 174_604_259_328),
        ];
        assert_eq!(counts, expected);
    }

    #[test]
    fn rows_that_do_not_add_up_can_be_built_as_printed() {
        let [(_, xl), (_, b13)] = Gpt3Config::as_printed();
        assert_eq!(xl.parameter_count(), 1_517_123_584);
        assert_eq!((b13.d_model, b13.n_heads * b13.d_head), (5140, 5120));
        assert_eq!(b13.parameter_count(), 12_936_488_380);
        assert_eq!((xl.validate(), b13.validate()), (Ok(()), Ok(())));
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        let model = config().init(Stream::new(1), &test_device());
        assert_eq!(parameter_count(&model) as u64, config().parameter_count());
        let huge = Gpt3Config { d_head: usize::MAX, ..config() };
        assert_eq!(huge.parameter_count(), u64::MAX);
    }

    #[test]
    fn the_largest_is_described_without_memory_for_its_weights() {
        let [.., (_, config)] = Gpt3Config::presets();
        let model = config.init(Stream::new(1), &test_device());
        assert_eq!(parameter_count(&model) as u64, config.parameter_count());
    }

    #[test]
    fn dense_and_banded_layers_alternate() {
        let bands = |band| {
            let model = Gpt3Config { band, ..config() }.init(Stream::new(1), &test_device());
            model.blocks.iter().map(|block| block.attention.band).collect::<Vec<_>>()
        };
        assert_eq!(bands(Some(3)), [None, Some(3), None, Some(3)]);
        assert_eq!(bands(None), [None; 4]);
    }

    #[test]
    fn without_a_band_it_is_gpt_2() {
        let device = test_device();
        let dense = Gpt3Config { band: None, d_head: 4, n_heads: 2, ..config() };
        let gpt2 = Gpt2Config {
            vocab_size: 11,
            n_positions: 10,
            d_model: 8,
            n_layers: 4,
            n_heads: 2,
            ..Gpt2Config::default()
        };
        let batch = TokenBatch::from_rows(&[&[1, 2, 3, 4, 5, 6]], &device);
        let expected = gpt2.init(Stream::new(1), &device).encode(&batch).into_data();
        let hidden = |band| {
            let config = Gpt3Config { band, ..dense.clone() };
            config.init(Stream::new(1), &device).encode(&batch).into_data()
        };
        hidden(None).assert_eq(&expected, true);
        hidden(Some(6)).assert_eq(&expected, true);
        assert_ne!(hidden(Some(5)), expected);
    }

    #[test]
    fn dropout_acts_only_with_a_stream() {
        let device = test_device();
        let model = Gpt3Config { dropout: 0.5, ..config() }.init(Stream::new(1), &device);
        let hidden = |dropout: Option<Stream>| {
            let batch = TokenBatch { dropout, ..TokenBatch::from_rows(&[&[1, 2, 3]], &device) };
            model.encode(&batch).into_data()
        };
        let stream = Some(Stream::new(1));
        assert_eq!(hidden(None), hidden(None));
        assert_eq!(hidden(stream), hidden(stream));
        assert_ne!(hidden(stream), hidden(None));
    }

    #[test]
    fn the_config_names_the_model_and_refuses_unknown_keys() {
        for band in [None, Some(3)] {
            let config = Gpt3Config { band, ..config() };
            let json = serde_json::to_value(&config).unwrap();
            assert_eq!(json["model_type"], "gpt3");
            assert_eq!(serde_json::from_value::<Gpt3Config>(json.clone()).unwrap(), config);
            let mut unknown = json;
            unknown["n_embd"] = 3.into();
            assert!(serde_json::from_value::<Gpt3Config>(unknown).is_err());
        }
    }

    #[test]
    fn a_config_that_gives_no_model_is_refused_by_name() {
        for (config, complaint) in [
            (Gpt3Config { d_head: 0, ..config() }, "d_head must be at least 1, but is 0"),
            (Gpt3Config { band: Some(0), ..config() }, "band must be at least 1, but is 0"),
        ] {
            assert_eq!(config.validate().unwrap_err().to_string(), complaint);
        }
    }
}
