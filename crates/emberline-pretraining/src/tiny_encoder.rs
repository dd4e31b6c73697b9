//! An encoder of pairs that is small enough for tests.

use burn::module::{Module, Param};
use burn::tensor::module::embedding;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_core::{HeadWeights, SentencePair, Stream, TokenBatch, TokenEncoder, VocabularyHead};
use emberline_text::BertTokenizer;

use crate::masking::{Masking, MaskingConfig};
use crate::sentence_pairs::PairRow;

pub const VOCAB_SIZE: usize = 30;
const D_MODEL: usize = 3;

/// A token's vector is `E[x] + S[s]`, added to the mean of its row; the head of the vocabulary has a layer `tanh(h W)`
/// before its weights, and the pair is scored by its first token.
#[derive(Module, Debug)]
pub struct TinyEncoder {
    tokens: Param<Tensor<2>>,
    segments: Param<Tensor<2>>,
    layer: Param<Tensor<2>>,
    head: Param<Tensor<2>>,
    pair: Param<Tensor<2>>,
}

impl TinyEncoder {
    /// `head_deviation` is that of the weights of both heads.
    pub fn new(head_deviation: f64, device: &Device) -> Self {
        let matrix = |name, rows, columns, deviation| {
            let numbers = Stream::new(1).named(name).normals(rows * columns, deviation);
            Param::from_data(TensorData::new(numbers, [rows, columns]), device)
        };
        Self {
            tokens: matrix("tokens", VOCAB_SIZE, D_MODEL, 1.0),
            segments: matrix("segments", 2, D_MODEL, 1.0),
            layer: matrix("layer", D_MODEL, D_MODEL, 1.0),
            head: matrix("head", D_MODEL, VOCAB_SIZE, head_deviation),
            pair: matrix("pair", D_MODEL, 2, head_deviation),
        }
    }

    /// Scores over the vocabulary, without the traits.
    pub fn head_input_by_hand(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.layer.val()).tanh().matmul(self.head.val())
    }
}

impl TokenEncoder for TinyEncoder {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        let [batch_size, seq_length] = batch.dims();
        let segments = batch.segments.clone().expect("a batch of pairs has segments");
        let vectors = embedding(self.tokens.val(), batch.tokens.clone())
            + embedding(self.segments.val(), segments);
        let lengths = batch.lengths.clone().unwrap_or_else(|| vec![seq_length; batch_size]);
        let means = lengths.iter().enumerate().map(|(row, length)| {
            vectors.clone().slice([row..row + 1, 0..*length, 0..D_MODEL]).mean_dim(1)
        });
        let means: Vec<Tensor<3>> = means.collect();
        vectors + Tensor::cat(means, 0)
    }

    fn d_model(&self) -> usize {
        D_MODEL
    }
}

impl VocabularyHead for TinyEncoder {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(self.head.val(), None)
    }

    fn head_input(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.layer.val()).tanh()
    }
}

impl SentencePair for TinyEncoder {
    fn pair_logits(&self, hidden: Tensor<3>) -> Tensor<2> {
        let [batch_size, _, d_model] = hidden.dims();
        let first = hidden.narrow(1, 0, 1).reshape([batch_size, d_model]);
        first.matmul(self.pair.val())
    }
}

/// Four pairs of letters, of different lengths.
pub fn pairs() -> Vec<PairRow> {
    let pair = |first: &[u32], second: &[u32], is_random| {
        let tokens = [&[2], first, &[3], second, &[3]].concat();
        let segments = [vec![0; first.len() + 2], vec![1; second.len() + 1]].concat();
        PairRow { tokens, segments, is_random }
    };
    vec![
        pair(&[5, 6, 7, 8, 9, 10], &[11, 12, 13], false),
        pair(&[5, 5], &[20], true),
        pair(&[9, 8, 7], &[6, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], false),
        pair(&[17], &[18], true),
    ]
}

/// The masking of BERT over letters, `[PAD] [UNK] [CLS] [SEP] [MASK]` before them.
pub fn masking() -> Masking {
    let tokenizer = BertTokenizer::learn(["abcdefghijklm nopqrstuvwxyz"], VOCAB_SIZE, true);
    let tokenizer = tokenizer.expect("letters can be learned");
    let special = tokenizer.special_tokens();
    assert_eq!((special.class, special.separator, tokenizer.vocab_size()), (2, 3, VOCAB_SIZE));
    Masking::new(MaskingConfig::default(), &tokenizer)
}
