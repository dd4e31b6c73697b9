//! The Transformer (Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin: "Attention is all you need",
//! NeurIPS 2017).
//!
//! Against the recurrent models with attention there is no state that is carried from word to word: a layer of the
//! encoder looks at every word of the source, a layer of the decoder at every word of the target so far and at the
//! encoder's last layer. Any two words are one step apart, and a whole target is trained at once.
//!
//! As in the paper the norm follows the sum of each sub-layer (post-norm), there is none after the last layer
//! (`torch.nn.Transformer` has one), and one table serves the source, the target and the head.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
pub use emberline_attention::PositionKind;
use emberline_attention::{
    Activation, FeedForward, FeedForwardConfig, KeyValueCache, LayerNorm, MultiHeadAttention,
    MultiHeadAttentionConfig, Positions, SourceMemory, Visibility,
};
use emberline_backend::{Dropout, Embedding, head_scores};
use emberline_checkpoint::Stored;
use emberline_core::{Cache, EncoderDecoder, HeadWeights, Stream, TokenBatch, VocabularyHead};
use serde::{Deserialize, Serialize};

/// The ε of every norm: torch's, as the paper names none.
const EPSILON: f64 = 1e-5;

/// The sizes of a Transformer, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerConfig {
    /// Always the same; tells model directories apart.
    #[serde(default)]
    pub model_type: ModelType,
    /// The tokens of both languages.
    pub vocabulary: Vocabulary,
    /// The width of every vector between the layers.
    pub d_model: usize,
    /// The width inside the feed-forward layers.
    pub d_ff: usize,
    /// The heads of every attention, which share the width.
    pub n_heads: usize,
    /// The layers of the encoder.
    pub n_encoder_layers: usize,
    /// The layers of the decoder.
    pub n_decoder_layers: usize,
    /// The probability with which the inputs of the first layers and the outputs of every sub-layer are dropped in
    /// training.
    pub dropout: f64,
    /// How the model knows of positions.
    pub positions: PositionKind,
}

/// The tokens of the two languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Vocabulary {
    /// One list of so many for both.
    Shared(usize),
    /// Two lists.
    Separate {
        /// The number of tokens of the source.
        source: usize,
        /// The number of tokens of the target.
        target: usize,
    },
}

/// The `model_type` of a config.json of this model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelType {
    /// `transformer`.
    #[default]
    Transformer,
}

/// An encoder and a decoder of attention.
#[derive(Module, Debug)]
pub struct Transformer {
    /// Of the target, and the head; of the source too, unless that has a vocabulary of its own.
    pub embedding: Embedding,
    /// Of the source, where it has a vocabulary of its own.
    pub source_embedding: Option<Embedding>,
    /// Of source and target.
    pub positions: Positions,
    /// The layers of the encoder, the one nearest to the source first.
    pub encoder: Vec<EncoderLayer>,
    /// The layers of the decoder, the one nearest to the target first.
    pub decoder: Vec<DecoderLayer>,
    /// Of the inputs of the first layers.
    pub dropout: Dropout,
}

/// Self-attention and a feed-forward layer.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    /// To every token of the source.
    pub self_attention: MultiHeadAttention,
    /// After the self-attention.
    pub self_attention_norm: LayerNorm,
    /// At every position by itself.
    pub feed_forward: FeedForward,
    /// After the feed-forward layer.
    pub feed_forward_norm: LayerNorm,
    /// Of the output of every sub-layer.
    pub dropout: Dropout,
}

/// Causal self-attention, attention to the source, and a feed-forward layer.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// To the tokens of the target so far.
    pub self_attention: MultiHeadAttention,
    /// After the self-attention.
    pub self_attention_norm: LayerNorm,
    /// To the source as the last layer of the encoder has it.
    pub cross_attention: MultiHeadAttention,
    /// After the attention to the source.
    pub cross_attention_norm: LayerNorm,
    /// At every position by itself.
    pub feed_forward: FeedForward,
    /// After the feed-forward layer.
    pub feed_forward_norm: LayerNorm,
    /// Of the output of every sub-layer.
    pub dropout: Dropout,
}

/// What the decoder keeps, a part for each of its layers.
#[derive(Clone, Debug)]
pub struct TransformerCache(Vec<LayerCache>);

#[derive(Clone, Debug)]
struct LayerCache {
    past: KeyValueCache,
    source: SourceMemory,
}

impl TransformerConfig {
    /// The base model of the paper.
    pub fn base(vocabulary: Vocabulary) -> Self {
        Self {
            model_type: ModelType::Transformer,
            vocabulary,
            d_model: 512,
            d_ff: 2048,
            n_heads: 8,
            n_encoder_layers: 6,
            n_decoder_layers: 6,
            dropout: 0.1,
            positions: PositionKind::Sinusoidal,
        }
    }

    /// The big model of the paper, with the dropout that it had for English to German; for English to French it was
    /// 0.1.
    pub fn big(vocabulary: Vocabulary) -> Self {
        Self { d_model: 1024, d_ff: 4096, n_heads: 16, dropout: 0.3, ..Self::base(vocabulary) }
    }

    /// Embeddings of the normal distribution with variance `1 / d_model`, as in tensor2tensor; matrices as
    /// `torch.nn.Transformer` draws them.
    ///
    /// # Panics
    /// If the heads cannot share the width, or sines and cosines cannot.
    pub fn init(&self, random: Stream, device: &Device) -> Transformer {
        let d_model = self.d_model;
        let deviation = (d_model as f64).powf(-0.5);
        let embedding = |vocab_size: usize, name: &str| {
            Embedding::init(vocab_size, d_model, deviation, random.named(name), device)
        };
        let source_embedding = match self.vocabulary {
            Vocabulary::Shared(_) => None,
            Vocabulary::Separate { source, .. } => Some(embedding(source, "source_embedding")),
        };
        let place = |name: &str, layer: usize| random.named(name).at(layer as u64);
        Transformer {
            embedding: embedding(self.target_vocab_size(), "embedding"),
            source_embedding,
            positions: self.positions.init(d_model, deviation, random.named("positions"), device),
            encoder: (0..self.n_encoder_layers)
                .map(|layer| self.encoder_layer(place("encoder", layer), device))
                .collect(),
            decoder: (0..self.n_decoder_layers)
                .map(|layer| self.decoder_layer(place("decoder", layer), device))
                .collect(),
            dropout: Dropout::new(self.dropout),
        }
    }

    fn encoder_layer(&self, random: Stream, device: &Device) -> EncoderLayer {
        let norm = || LayerNorm::init(self.d_model, EPSILON, device);
        EncoderLayer {
            self_attention: self.attention().init(random.named("self_attention"), device),
            self_attention_norm: norm(),
            feed_forward: self.feed_forward().init(random.named("feed_forward"), device),
            feed_forward_norm: norm(),
            dropout: Dropout::new(self.dropout),
        }
    }

    fn decoder_layer(&self, random: Stream, device: &Device) -> DecoderLayer {
        let norm = || LayerNorm::init(self.d_model, EPSILON, device);
        DecoderLayer {
            self_attention: self.attention().init(random.named("self_attention"), device),
            self_attention_norm: norm(),
            cross_attention: self.attention().init(random.named("cross_attention"), device),
            cross_attention_norm: norm(),
            feed_forward: self.feed_forward().init(random.named("feed_forward"), device),
            feed_forward_norm: norm(),
            dropout: Dropout::new(self.dropout),
        }
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    ///
    /// # Panics
    /// If the heads cannot share the width.
    pub fn parameter_count(&self) -> u64 {
        let [d_model, encoders, decoders] =
            [self.d_model, self.n_encoder_layers, self.n_decoder_layers].map(|size| size as u64);
        let norm = d_model.saturating_mul(2);
        let attention = self.attention().parameter_count().saturating_add(norm);
        let feed_forward = self.feed_forward().parameter_count().saturating_add(norm);
        let encoder = attention.saturating_add(feed_forward).saturating_mul(encoders);
        let decoder =
            attention.saturating_mul(2).saturating_add(feed_forward).saturating_mul(decoders);
        let n_tokens = match self.vocabulary {
            Vocabulary::Shared(size) => size as u64,
            Vocabulary::Separate { source, target } => {
                (source as u64).saturating_add(target as u64)
            }
        };
        n_tokens
            .saturating_mul(d_model)
            .saturating_add(self.positions.parameter_count(self.d_model))
            .saturating_add(encoder)
            .saturating_add(decoder)
    }

    /// The longest source or target; `None` where there is no limit.
    pub fn max_length(&self) -> Option<usize> {
        self.positions.max_length(self.d_model)
    }

    fn target_vocab_size(&self) -> usize {
        match self.vocabulary {
            Vocabulary::Shared(size) => size,
            Vocabulary::Separate { target, .. } => target,
        }
    }

    // Attention drops no weights, and has biases; the paper has neither in its equations, and torch has both.
    fn attention(&self) -> MultiHeadAttentionConfig {
        MultiHeadAttentionConfig::new(self.d_model, self.n_heads)
    }

    fn feed_forward(&self) -> FeedForwardConfig {
        let Self { d_model, d_ff, .. } = *self;
        FeedForwardConfig { d_model, d_ff, activation: Activation::Relu }
    }
}

impl EncoderDecoder for Transformer {
    type Cache = TransformerCache;

    fn encode(&self, source: &TokenBatch) -> TransformerCache {
        let random = source.dropout.map(|random| random.named("encoder"));
        let embedding = self.source_embedding.as_ref().unwrap_or(&self.embedding);
        let mut hidden = self.embed(embedding, &source.tokens, 0, random);
        let lengths = source.right_padded_lengths();
        let visibility = lengths.map(Visibility::lengths).unwrap_or_default();
        for (index, layer) in self.encoder.iter().enumerate() {
            let random = random.map(|random| random.at(index as u64));
            hidden = layer.forward(hidden, visibility.clone(), random);
        }
        let cache = |layer: &DecoderLayer| LayerCache {
            past: KeyValueCache::default(),
            source: layer.cross_attention.memory(hidden.clone(), lengths),
        };
        TransformerCache(self.decoder.iter().map(cache).collect())
    }

    fn decode(
        &self,
        target: &TokenBatch,
        cache: TransformerCache,
    ) -> (Tensor<3>, TransformerCache) {
        let cross = |attention: &MultiHeadAttention, query, source: &SourceMemory, random| {
            (attention.cross(query, source, random), ())
        };
        let (hidden, _, cache) = self.decode_by(cross, target, cache);
        (hidden, cache)
    }

    fn decode_with_attention(
        &self,
        target: &TokenBatch,
        cache: TransformerCache,
    ) -> (Tensor<3>, Vec<Tensor<4>>, TransformerCache) {
        self.decode_by(MultiHeadAttention::cross_with_weights, target, cache)
    }
}

impl VocabularyHead for Transformer {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::tied(self.embedding.weight.val(), None)
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        head_scores(self.head_weights(), hidden)
    }
}

impl Transformer {
    /// Decodes with a way of attending to the source, and what that gives besides.
    fn decode_by<W>(
        &self,
        cross: impl Fn(&MultiHeadAttention, Tensor<3>, &SourceMemory, Option<Stream>) -> (Tensor<3>, W),
        target: &TokenBatch,
        TransformerCache(cache): TransformerCache,
    ) -> (Tensor<3>, Vec<W>, TransformerCache) {
        target.refuse_left_padding();
        assert_eq!(cache.len(), self.decoder.len(), "a cache for each layer");
        let start = cache.first().map_or(0, |layer| layer.past.length());
        let random = target.dropout.map(|random| random.named("decoder").at(start as u64));
        let mut hidden = self.embed(&self.embedding, &target.tokens, start, random);
        let (mut found, mut next) = (Vec::new(), Vec::new());
        for (index, (layer, cache)) in self.decoder.iter().zip(cache).enumerate() {
            let random = random.map(|random| random.at(index as u64));
            let (output, besides, cache) = layer.forward(hidden, cache, &cross, random);
            hidden = output;
            found.push(besides);
            next.push(cache);
        }
        (hidden, found, TransformerCache(next))
    }

    /// `Dropout(E[id] · √d_model + PE)`.
    fn embed(
        &self,
        embedding: &Embedding,
        tokens: &Tensor<2, Int>,
        start: usize,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let vectors = embedding.forward(tokens.clone());
        let [.., d_model] = vectors.dims();
        let vectors = self.positions.forward(vectors * (d_model as f64).sqrt(), start);
        self.dropout.forward(vectors, random.map(|random| random.named("embedding")))
    }

    /// The name of a parameter in files: that of a torch module with the fields `embedding` and `source_embedding`
    /// (`nn.Embedding`), `positions`, and `encoder.layers` and `decoder.layers` of `nn.TransformerEncoderLayer` and
    /// `nn.TransformerDecoderLayer`, except that queries, keys and values have matrices of their own, `q_proj`,
    /// `k_proj` and `v_proj`.
    pub fn stored_name(path: &str) -> Stored {
        // The side, the index of the layer, the sub-layer, its linear layer where it has some, the parameter.
        let parts: Vec<&str> = path.split('.').collect();
        let [side @ ("encoder" | "decoder"), layer, sublayer, linear @ .., parameter] =
            parts.as_slice()
        else {
            return Stored::same(path);
        };
        let last_norm = if *side == "encoder" { "norm2" } else { "norm3" };
        let mut modules = vec![*side, "layers", layer];
        modules.extend(match *sublayer {
            "self_attention" => Some("self_attn"),
            "cross_attention" => Some("multihead_attn"),
            "self_attention_norm" => Some("norm1"),
            "cross_attention_norm" => Some("norm2"),
            "feed_forward_norm" => Some(last_norm),
            // torch has the linear layers beside the others.
            _ => None,
        });
        modules.extend(linear.iter().map(|linear| match *linear {
            "query" => "q_proj",
            "key" => "k_proj",
            "value" => "v_proj",
            "output" => "out_proj",
            "inner" => "linear1",
            "outer" => "linear2",
            other => other,
        }));
        let name = |tensor: &str| format!("{}.{tensor}", modules.join("."));
        match *parameter {
            "weight" => Stored::transposed(&name("weight")),
            "gamma" => Stored::same(&name("weight")),
            "beta" => Stored::same(&name("bias")),
            other => Stored::same(&name(other)),
        }
    }
}

impl EncoderLayer {
    /// Attends to all that is visible of the source.
    ///
    /// # Shapes
    /// - hidden, output: `[batch_size, source_length, d_model]`
    pub fn forward(
        &self,
        hidden: Tensor<3>,
        visibility: Visibility,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let place = |name: &str| random.map(|random| random.named(name));
        let attended = self.self_attention.forward(
            hidden.clone(),
            visibility,
            place("self_attention_weights"),
        );
        let attended = self.dropout.forward(attended, place("self_attention"));
        let hidden = self.self_attention_norm.forward(hidden + attended);
        let fed =
            self.dropout.forward(self.feed_forward.forward(hidden.clone()), place("feed_forward"));
        self.feed_forward_norm.forward(hidden + fed)
    }
}

impl DecoderLayer {
    fn forward<W>(
        &self,
        hidden: Tensor<3>,
        LayerCache { past, source }: LayerCache,
        cross: impl Fn(&MultiHeadAttention, Tensor<3>, &SourceMemory, Option<Stream>) -> (Tensor<3>, W),
        random: Option<Stream>,
    ) -> (Tensor<3>, W, LayerCache) {
        let place = |name: &str| random.map(|random| random.named(name));
        let (attended, past) =
            self.self_attention.forward_from(hidden.clone(), past, place("self_attention_weights"));
        let attended = self.dropout.forward(attended, place("self_attention"));
        let hidden = self.self_attention_norm.forward(hidden + attended);
        let (attended, besides) =
            cross(&self.cross_attention, hidden.clone(), &source, place("cross_attention_weights"));
        let attended = self.dropout.forward(attended, place("cross_attention"));
        let hidden = self.cross_attention_norm.forward(hidden + attended);
        let fed =
            self.dropout.forward(self.feed_forward.forward(hidden.clone()), place("feed_forward"));
        (self.feed_forward_norm.forward(hidden + fed), besides, LayerCache { past, source })
    }
}

impl Cache for TransformerCache {
    fn select_rows(self, rows: &[usize]) -> Self {
        let layer = |LayerCache { past, source }: LayerCache| LayerCache {
            past: past.select_rows(rows),
            source: source.select_rows(rows),
        };
        Self(self.0.into_iter().map(layer).collect())
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::{parameter_count, parameters};

    use super::*;

    const SEPARATE: Vocabulary = Vocabulary::Separate { source: 9, target: 11 };

    fn config(vocabulary: Vocabulary) -> TransformerConfig {
        TransformerConfig {
            d_model: 8,
            d_ff: 12,
            n_heads: 2,
            n_encoder_layers: 2,
            n_decoder_layers: 2,
            ..TransformerConfig::base(vocabulary)
        }
    }

    #[test]
    fn the_law_of_its_trait_holds_for_every_kind_of_position() {
        let device = test_device();
        for positions in [
            PositionKind::None,
            PositionKind::Sinusoidal,
            PositionKind::Learned { max_positions: 7 },
            PositionKind::OneHot,
        ] {
            let config = TransformerConfig { positions, ..config(SEPARATE) };
            laws::encoder_decoder(&config.init(Stream::new(1), &device), 9, &device);
        }
        let shared = config(Vocabulary::Shared(11)).init(Stream::new(1), &device);
        laws::encoder_decoder(&shared, 11, &device);
    }

    #[test]
    fn the_models_of_the_paper_have_their_parameters() {
        let count = |config: TransformerConfig| config.parameter_count();
        let core = Vocabulary::Shared(0);
        assert_eq!(count(TransformerConfig::base(core)), 44_138_496);
        assert_eq!(count(TransformerConfig::big(core)), 176_357_376);
        let words = Vocabulary::Shared(37_000);
        assert_eq!(count(TransformerConfig::base(words)), 63_082_496);
        assert_eq!(count(TransformerConfig::big(words)), 214_245_376);
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        for vocabulary in [Vocabulary::Shared(11), SEPARATE] {
            for positions in [PositionKind::Sinusoidal, PositionKind::Learned { max_positions: 5 }]
            {
                let config = TransformerConfig { positions, ..config(vocabulary) };
                let model = config.init(Stream::new(1), &test_device());
                assert_eq!(parameter_count(&model) as u64, config.parameter_count());
            }
        }
        let huge = TransformerConfig { d_ff: usize::MAX, ..config(SEPARATE) };
        assert_eq!(huge.parameter_count(), u64::MAX);
    }

    #[test]
    fn dropout_acts_only_with_a_stream() {
        let device = test_device();
        let config = TransformerConfig { dropout: 0.5, ..config(Vocabulary::Shared(11)) };
        let model = config.init(Stream::new(1), &device);
        let hidden = |dropout: Option<Stream>| {
            let source = TokenBatch { dropout, ..TokenBatch::from_rows(&[&[1, 2, 3]], &device) };
            let target = TokenBatch { dropout, ..TokenBatch::from_rows(&[&[4, 4]], &device) };
            model.decode(&target, model.encode(&source)).0.into_data()
        };
        let stream = Some(Stream::new(1));
        assert_eq!(hidden(None), hidden(None));
        assert_eq!(hidden(stream), hidden(stream));
        assert_ne!(hidden(stream), hidden(None));
        assert_ne!(hidden(stream), hidden(Some(Stream::new(2))));
    }

    #[test]
    fn a_batch_that_is_all_padding_gives_numbers() {
        let device = test_device();
        let model = config(SEPARATE).init(Stream::new(1), &device);
        let target = TokenBatch::from_rows(&[&[1, 2], &[3, 4]], &device);
        let source = TokenBatch { lengths: Some(vec![0, 0]), ..target.clone() };
        let (hidden, attention, _) = model.decode_with_attention(&target, model.encode(&source));
        assert!(hidden.into_data().iter::<f32>().all(f32::is_finite));
        for weights in attention {
            assert!(weights.into_data().iter::<f32>().all(|weight| weight == 0.0));
        }
    }

    #[test]
    fn every_parameter_has_a_name_of_torch() {
        let small =
            TransformerConfig { n_encoder_layers: 1, n_decoder_layers: 1, ..config(SEPARATE) };
        let model = small.init(Stream::new(1), &test_device());
        let names: Vec<String> = parameters(&model)
            .iter()
            .map(|parameter| Transformer::stored_name(&parameter.path).name)
            .collect();
        let both = |module: &str| ["weight", "bias"].map(|tensor| format!("{module}.{tensor}"));
        let attention = |module: &str| {
            ["q_proj", "k_proj", "v_proj", "out_proj"]
                .map(|linear| both(&format!("{module}.{linear}")))
                .concat()
        };
        let encoder = "encoder.layers.0";
        let decoder = "decoder.layers.0";
        let expected = [
            vec!["embedding.weight".to_string(), "source_embedding.weight".to_string()],
            attention(&format!("{encoder}.self_attn")),
            both(&format!("{encoder}.norm1")).to_vec(),
            both(&format!("{encoder}.linear1")).to_vec(),
            both(&format!("{encoder}.linear2")).to_vec(),
            both(&format!("{encoder}.norm2")).to_vec(),
            attention(&format!("{decoder}.self_attn")),
            both(&format!("{decoder}.norm1")).to_vec(),
            attention(&format!("{decoder}.multihead_attn")),
            both(&format!("{decoder}.norm2")).to_vec(),
            both(&format!("{decoder}.linear1")).to_vec(),
            both(&format!("{decoder}.linear2")).to_vec(),
            both(&format!("{decoder}.norm3")).to_vec(),
        ];
        assert_eq!(names, expected.concat());
    }

    #[test]
    fn the_config_names_the_model_and_refuses_unknown_keys() {
        let learned = PositionKind::Learned { max_positions: 5 };
        for config in [
            config(SEPARATE),
            TransformerConfig { positions: learned, ..config(Vocabulary::Shared(3)) },
        ] {
            let json = serde_json::to_value(&config).unwrap();
            assert_eq!(json["model_type"], "transformer");
            assert_eq!(serde_json::from_value::<TransformerConfig>(json.clone()).unwrap(), config);
            let mut unknown = json;
            unknown["n_layers"] = 3.into();
            assert!(serde_json::from_value::<TransformerConfig>(unknown).is_err());
        }
    }
}
