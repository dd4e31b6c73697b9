//! Gated convolutions (Dauphin, Fan, Auli, Grangier: "Language modeling with gated convolutional networks", 2017), a
//! model that no crate of Emberline knows. It has neither attention nor a recurrent state.
//!
//! ```text
//! x_t + (X_t W + b) ⊙ σ(X_t V + c)        X_t = [x_{t-WIDTH+1}, …, x_t]
//! ```
//!
//! A layer sees the last few vectors, and a gate decides what of them goes on. The paper normalises weights; here each
//! vector is normalised before a layer.

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use emberline_attention::LayerNorm;
use emberline_backend::{Embedding, Linear, LinearConfig};
use emberline_core::{
    Cache, Causal, HeadWeights, Incremental, LayerGroup, LayerGroups, Stream, TokenBatch,
    TokenEncoder, VocabularyHead,
};

const D_MODEL: usize = 64;
const N_LAYERS: usize = 2;
/// How many vectors a layer sees at once.
const WIDTH: usize = 4;

/// Token vectors, layers, and a score for each token of the vocabulary.
#[derive(Module, Debug)]
pub struct GatedConvolutions {
    pub embedding: Embedding,
    pub layers: Vec<Layer>,
    pub head: Linear,
}

/// What is seen, and how much of it goes on: linear layers of `[WIDTH · D_MODEL, d_model]`.
#[derive(Module, Debug)]
pub struct Layer {
    norm: LayerNorm,
    values: Linear,
    gates: Linear,
}

/// The vectors that each layer still sees of the tokens before, `[batch_size, WIDTH - 1, D_MODEL]`.
#[derive(Clone)]
pub struct Seen(Vec<Tensor<3>>);

impl GatedConvolutions {
    pub fn init(vocab_size: usize, random: Stream, device: &Device) -> Self {
        let layer = |index: usize| {
            let random = random.named("layers").at(index as u64);
            let linear = LinearConfig::new(WIDTH * D_MODEL, D_MODEL);
            Layer {
                norm: LayerNorm::init(D_MODEL, 1e-5, device),
                values: linear.init(random.named("values"), device),
                gates: linear.init(random.named("gates"), device),
            }
        };
        Self {
            embedding: Embedding::init(vocab_size, D_MODEL, 1.0, random.named("embedding"), device),
            layers: (0..N_LAYERS).map(layer).collect(),
            head: LinearConfig::new(D_MODEL, vocab_size).init(random.named("head"), device),
        }
    }
}

/// What everything that reads the model asks for.
impl TokenEncoder for GatedConvolutions {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.encode_from(batch, None).0
    }

    fn d_model(&self) -> usize {
        D_MODEL
    }
}

/// What pretraining asks for, and perplexity.
impl VocabularyHead for GatedConvolutions {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(self.head.weight.val(), self.head.bias.as_ref().map(|bias| bias.val()))
    }
}

/// A promise, which a law of `emberline_core::laws` holds to.
impl Causal for GatedConvolutions {}

/// What generation asks for, and prompts that begin alike.
impl Incremental for GatedConvolutions {
    type Cache = Seen;

    fn encode_from(&self, batch: &TokenBatch, cache: Option<Seen>) -> (Tensor<3>, Seen) {
        batch.refuse_left_padding();
        let mut hidden = self.embedding.forward(batch.tokens.clone()); // [batch_size, seq_length, D_MODEL]
        let [batch_size, ..] = hidden.dims();
        let nothing = Tensor::zeros([batch_size, WIDTH - 1, D_MODEL], &hidden.device());
        let Seen(mut seen) = cache.unwrap_or_else(|| Seen(vec![nothing; N_LAYERS]));
        for (layer, seen) in self.layers.iter().zip(&mut seen) {
            (hidden, *seen) = layer.forward(hidden, seen.clone());
        }
        (hidden, Seen(seen))
    }
}

impl Cache for Seen {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self(self.0.into_iter().map(|vectors| vectors.select_rows(rows)).collect())
    }
}

/// What plans ask for.
impl LayerGroups for GatedConvolutions {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        let embedding = [LayerGroup::body("embedding", &["embedding"])].into_iter();
        let layers = LayerGroup::layers("layers", N_LAYERS);
        embedding.chain(layers).chain([LayerGroup::head(&["head"])]).collect()
    }
}

impl Layer {
    /// The output, and what the next call is to see.
    fn forward(&self, hidden: Tensor<3>, seen: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let [_, seq_length, _] = hidden.dims();
        let input = Tensor::cat(vec![seen, self.norm.forward(hidden.clone())], 1);
        let shifted = (0..WIDTH).map(|shift| input.clone().narrow(1, shift, seq_length));
        let windows = Tensor::cat(shifted.collect(), 2); // [batch_size, seq_length, WIDTH · D_MODEL]
        let gates = sigmoid(self.gates.forward(windows.clone()));
        let output = hidden + self.values.forward(windows) * gates;
        (output, input.narrow(1, seq_length, WIDTH - 1))
    }
}
