//! Models small enough to follow on paper, for the tests of this crate.

use std::sync::{Arc, Mutex};

use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_core::{
    Cache, Causal, EncoderDecoder, HeadWeights, Incremental, Stream, TokenBatch, TokenEncoder,
    VocabularyHead,
};

/// Scores the next token by a row of a table: the row of the sum of all tokens so far, modulo the
/// number of rows. So every earlier token counts, and a cache of the wrong row shows.
///
/// As a translator it starts from the sum of the source. Of its two layers the last has two heads: one points to the
/// token of the source at the sum modulo the source's length, the other attends to all alike.
pub struct SumModel {
    /// `[n_sums, vocab_size]`.
    pub table: Vec<Vec<f32>>,
    /// `[batch_size, seq_length]` of every call.
    pub calls: Mutex<Vec<[usize; 2]>>,
    /// The rows of every selection from a cache.
    pub selections: Arc<Mutex<Vec<Vec<usize>>>>,
}

impl SumModel {
    pub fn new(table: Vec<Vec<f32>>) -> Self {
        Self { table, calls: Mutex::default(), selections: Arc::default() }
    }

    /// A model that surely follows a sum with the token `next(sum)`.
    pub fn certain(vocab_size: usize, next: impl Fn(usize) -> usize) -> Self {
        let row = |sum| {
            (0..vocab_size).map(|token| if token == next(sum) { 0.0 } else { -1e9 }).collect()
        };
        Self::new((0..vocab_size).map(row).collect())
    }

    /// A model that leaves much to choose.
    pub fn random(seed: u64, n_sums: u64, vocab_size: usize) -> Self {
        let row = |sum| Stream::new(seed).at(sum).uniforms(vocab_size, -2.0, 2.0);
        Self::new((0..n_sums).map(row).collect())
    }

    /// The scores of the token after some whose sum is known.
    pub fn scores(&self, sum: usize) -> &[f32] {
        &self.table[sum % self.table.len()]
    }

    /// What the last layer attends to on average.
    pub fn attention(sum: usize, source_length: usize) -> Vec<f32> {
        let mut attention = vec![0.5 / source_length as f32; source_length];
        attention[sum % source_length] += 0.5;
        attention
    }

    /// Adds the tokens to the sums; gives the sums at every position.
    fn add(&self, batch: &TokenBatch, sums: &mut Sums) -> Vec<i64> {
        let [batch_size, seq_length] = batch.dims();
        self.calls.lock().unwrap().push([batch_size, seq_length]);
        let tokens = batch.tokens.to_data().convert::<i64>().try_into_vec::<i64>().unwrap();
        let mut all = Vec::with_capacity(tokens.len());
        for (sum, row) in sums.sums.iter_mut().zip(tokens.chunks(seq_length)) {
            for token in row {
                *sum += token;
                all.push(*sum);
            }
        }
        all
    }

    fn vectors(&self, sums: &[i64], batch: &TokenBatch) -> Tensor<3> {
        let [batch_size, seq_length] = batch.dims();
        let vectors: Vec<f32> =
            sums.iter().flat_map(|sum| self.scores(*sum as usize)).copied().collect();
        let shape = [batch_size, seq_length, self.vocab_size()];
        Tensor::from_data(TensorData::new(vectors, shape), &batch.tokens.device())
    }
}

/// The sum of each row.
#[derive(Clone)]
pub struct Sums {
    sums: Vec<i64>,
    /// The length of each source, and of the longest.
    source_lengths: Vec<usize>,
    longest: usize,
    selections: Arc<Mutex<Vec<Vec<usize>>>>,
}

impl Cache for Sums {
    fn select_rows(self, rows: &[usize]) -> Self {
        self.selections.lock().unwrap().push(rows.to_vec());
        Self {
            sums: rows.iter().map(|row| self.sums[*row]).collect(),
            source_lengths: rows.iter().map(|row| self.source_lengths[*row]).collect(),
            ..self
        }
    }
}

impl TokenEncoder for SumModel {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.encode_from(batch, None).0
    }

    fn d_model(&self) -> usize {
        self.vocab_size()
    }
}

impl VocabularyHead for SumModel {
    /// Its vectors are the scores.
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(Tensor::eye(self.table[0].len(), &emberline_backend::test_device()), None)
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden
    }
}

impl Causal for SumModel {}

impl Incremental for SumModel {
    type Cache = Sums;

    /// The padding is of zeros.
    const READS_LEFT_PADDING: bool = true;

    fn encode_from(&self, batch: &TokenBatch, cache: Option<Sums>) -> (Tensor<3>, Sums) {
        let mut sums = cache.unwrap_or_else(|| {
            let n_rows = batch.dims()[0];
            let selections = self.selections.clone();
            Sums { sums: vec![0; n_rows], source_lengths: vec![0; n_rows], longest: 0, selections }
        });
        let all = self.add(batch, &mut sums);
        (self.vectors(&all, batch), sums)
    }
}

impl EncoderDecoder for SumModel {
    type Cache = Sums;

    fn encode(&self, source: &TokenBatch) -> Sums {
        let [batch_size, longest] = source.dims();
        let source_lengths = source.lengths.clone().unwrap_or(vec![longest; batch_size]);
        let tokens = source.tokens.to_data().convert::<i64>().try_into_vec::<i64>().unwrap();
        let rows = tokens.chunks(longest).zip(&source_lengths);
        let sums = rows.map(|(row, length)| row[..*length].iter().sum()).collect();
        Sums { sums, source_lengths, longest, selections: self.selections.clone() }
    }

    fn decode(&self, target: &TokenBatch, mut cache: Sums) -> (Tensor<3>, Sums) {
        let all = self.add(target, &mut cache);
        (self.vectors(&all, target), cache)
    }

    fn decode_with_attention(
        &self,
        target: &TokenBatch,
        mut cache: Sums,
    ) -> (Tensor<3>, Vec<Tensor<4>>, Sums) {
        let all = self.add(target, &mut cache);
        let [batch_size, seq_length] = target.dims();
        // The first layer points to the first token, the last has a head that points and one that does not.
        let layers = [[|_| Some(0), |_| Some(0)], [|sum: i64| Some(sum as usize), |_| None]];
        let layers = layers.map(|heads| {
            let mut weights = Vec::new();
            for (row, sums) in all.chunks(seq_length).enumerate() {
                for point in heads {
                    for sum in sums {
                        let length = cache.source_lengths[row];
                        let weight = |place: usize| match point(*sum) {
                            Some(aim) => f32::from(u8::from(place == aim % length)),
                            None => 1.0 / length as f32,
                        };
                        weights.extend(
                            (0..cache.longest)
                                .map(|place| if place < length { weight(place) } else { 0.0 }),
                        );
                    }
                }
            }
            let shape = [batch_size, 2, seq_length, cache.longest];
            Tensor::from_data(TensorData::new(weights, shape), &target.tokens.device())
        });
        (self.vectors(&all, target), layers.to_vec(), cache)
    }
}

/// A causal model that keeps nothing of what it read but the tokens, and encodes all of them at every step.
pub struct Reencoding<'a>(pub &'a SumModel);

#[derive(Clone)]
pub struct Read(Vec<Vec<u32>>);

impl Cache for Read {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self(rows.iter().map(|row| self.0[*row].clone()).collect())
    }
}

impl TokenEncoder for Reencoding<'_> {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        TokenEncoder::encode(self.0, batch)
    }

    fn d_model(&self) -> usize {
        self.0.d_model()
    }
}

impl VocabularyHead for Reencoding<'_> {
    fn head_weights(&self) -> HeadWeights {
        self.0.head_weights()
    }
}

impl Causal for Reencoding<'_> {}

impl Incremental for Reencoding<'_> {
    type Cache = Read;

    fn encode_from(&self, batch: &TokenBatch, cache: Option<Read>) -> (Tensor<3>, Read) {
        let [batch_size, seq_length] = batch.dims();
        let mut rows = cache.map_or(vec![Vec::new(); batch_size], |cache| cache.0);
        let tokens = batch.tokens.to_data().convert::<i64>().try_into_vec::<i64>().unwrap();
        for (row, new) in rows.iter_mut().zip(tokens.chunks(seq_length)) {
            row.extend(new.iter().map(|token| *token as u32));
        }
        let device: Device = batch.tokens.device();
        let all: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let hidden = self.encode(&TokenBatch::from_rows(&all, &device));
        (hidden.narrow(1, all[0].len() - seq_length, seq_length), Read(rows))
    }
}

/// A causal model that says a text by heart, whatever it reads.
pub struct Recital {
    /// The token at each position.
    text: Vec<u32>,
}

impl Recital {
    /// What follows `prompt` is `text`, and then token 0.
    pub fn new(prompt: &[u32], text: &[u32]) -> Self {
        Self { text: [&prompt[1..], text].concat() }
    }
}

/// The number of tokens before, of every row.
#[derive(Clone)]
pub struct Places(usize);

impl Cache for Places {
    fn select_rows(self, _rows: &[usize]) -> Self {
        self
    }
}

impl TokenEncoder for Recital {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.encode_from(batch, None).0
    }

    fn d_model(&self) -> usize {
        256
    }
}

impl VocabularyHead for Recital {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(Tensor::eye(256, &emberline_backend::test_device()), None)
    }
}

impl Causal for Recital {}

impl Incremental for Recital {
    type Cache = Places;

    fn encode_from(&self, batch: &TokenBatch, cache: Option<Places>) -> (Tensor<3>, Places) {
        let ([batch_size, seq_length], Places(before)) = (batch.dims(), cache.unwrap_or(Places(0)));
        let token = |place: usize| self.text.get(place).map_or(0, |token| *token as i32);
        let tokens: Vec<i32> = (before..before + seq_length).map(token).collect();
        let tokens = Tensor::<1, Int>::from_data(&tokens[..], &batch.tokens.device());
        let vectors = tokens.one_hot::<2>(256).float().reshape([1, seq_length, 256]);
        (vectors.expand([batch_size, seq_length, 256]), Places(before + seq_length))
    }
}

#[test]
fn the_test_models_obey_the_laws() {
    use emberline_core::laws;
    let device = emberline_backend::test_device();
    let model = SumModel::random(1, 7, 5);
    laws::causal(&model, &device);
    laws::incremental(&model, &device);
    laws::rows_are_independent(&model, &device);
    laws::encoder_decoder(&model, 6, &device);
    laws::incremental(&Reencoding(&model), &device);
}
