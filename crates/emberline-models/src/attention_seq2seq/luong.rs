//! Translation with multiplicative attention (Luong, Pham, Manning: "Effective approaches to attention-based neural
//! machine translation", 2015), in its global form.
//!
//! Against [Bahdanau's](crate::attention_seq2seq::bahdanau) the path is shorter: the state after the step asks, the
//! context does not enter the recurrence, and the score is a product. What was attended to reaches the next step as
//! h̃ beside the token's vector (input feeding); without it the layers read a whole target at once.
//!
//! ```text
//! h_t = LSTM(h_{t-1}, [y_{t-1}; h̃_{t-1}])      c_t = Σ_j softmax_j(score(h_t, h̄_j)) h̄_j
//! h̃_t = tanh(W_c [c_t; h_t])      p(y_t) = softmax(W_s h̃_t)      h̃_0 = 0
//! ```
//!
//! A layer has two biases, as in torch, and the head has one.

mod config;

use burn::module::Module;
use burn::tensor::Tensor;
pub use config::{LuongConfig, ModelType, ScoreKind};
use emberline_attention::scores::{Memory, Score};
use emberline_backend::{Dropout, Embedding, Linear};
use emberline_checkpoint::Stored;
use emberline_core::{Cache, EncoderDecoder, HeadWeights, Stream, TokenBatch, VocabularyHead};
use emberline_recurrent::{Direction, Lstm, LstmState, StackState};

use crate::seq2seq::{embedded, read};
use crate::stored::stored_translator_name;

/// An encoder and a decoder of LSTM layers, with attention above them.
#[derive(Module, Debug)]
pub struct Luong {
    /// `[source_vocab_size, d_embedding]`.
    pub source_embedding: Embedding,
    /// Reads the source.
    pub encoder: Lstm,
    /// `[target_vocab_size, d_embedding]`.
    pub target_embedding: Embedding,
    /// Starts from the states in which the encoder ends.
    pub decoder: Lstm,
    /// Of a state and a vector of the source.
    pub score: Score,
    /// W_c, `[d_hidden + d_hidden, d_hidden]`.
    pub attentional: Linear,
    /// W_s, `[d_hidden, target_vocab_size]`, with a bias.
    pub head: Linear,
    /// Applied to token vectors and to what the head reads.
    pub dropout: Dropout,
    /// Whether h̃ is an input of the next step.
    #[module(skip)]
    pub input_feeding: bool,
    /// Whether a source is read from its end.
    #[module(skip)]
    pub reversed_source: bool,
}

/// What Luong's decoder goes on from.
#[derive(Clone, Debug)]
pub struct LuongCache {
    /// The source's vectors.
    pub memory: Memory,
    /// The decoder's. With input feeding it is that after the last column of the target: a row that ended before it
    /// cannot go on.
    pub state: StackState<LstmState>,
    /// h̃ of the step before, `[batch_size, 1, d_hidden]`; `None` without input feeding.
    pub fed: Option<Tensor<3>>,
}

impl VocabularyHead for Luong {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(self.head.weight.val(), self.head.bias.as_ref().map(|bias| bias.val()))
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.forward(hidden)
    }
}

impl EncoderDecoder for Luong {
    type Cache = LuongCache;

    fn encode(&self, source: &TokenBatch) -> LuongCache {
        let [batch_size, _] = source.dims();
        let vectors = embedded(&self.source_embedding, &self.dropout, source, "source_embedding"); // [batch_size, source_length, d_embedding]
        let direction = if self.reversed_source { Direction::Reverse } else { Direction::Forward };
        let (states, state) = read(&self.encoder, vectors, source, direction); // [batch_size, source_length, d_hidden]
        let [_, _, d_hidden] = states.dims();
        let fed = self
            .input_feeding
            .then(|| Tensor::zeros([batch_size, 1, d_hidden], (&states.device(), states.dtype())));
        let lengths = source.right_padded_lengths();
        LuongCache { memory: self.score.memory(states.clone(), states, lengths), state, fed }
    }

    fn decode(&self, target: &TokenBatch, cache: LuongCache) -> (Tensor<3>, LuongCache) {
        let (hidden, _, cache) = self.attended(target, cache);
        (hidden, cache)
    }

    fn decode_with_attention(
        &self,
        target: &TokenBatch,
        cache: LuongCache,
    ) -> (Tensor<3>, Vec<Tensor<4>>, LuongCache) {
        let (hidden, attention, cache) = self.attended(target, cache);
        (hidden, vec![Tensor::cat(attention, 1).unsqueeze_dim(1)], cache)
    }
}

impl Luong {
    /// The attention is in pieces, `[batch_size, _, source_length]`, that together are as long as the target.
    fn attended(
        &self,
        target: &TokenBatch,
        cache: LuongCache,
    ) -> (Tensor<3>, Vec<Tensor<3>>, LuongCache) {
        let random = |place| target.dropout.map(|random| random.named(place));
        let vectors = embedded(&self.target_embedding, &self.dropout, target, "target_embedding"); // [batch_size, target_length, d_embedding]
        let (hidden, attention, cache) = match cache.fed {
            Some(fed) => self.fed(vectors, fed, cache.memory, cache.state, random("decoder")),
            None => {
                let (lengths, random) = (target.right_padded_lengths(), random("decoder"));
                let (states, state) =
                    self.decoder.forward(vectors, Some(cache.state), lengths, random);
                let (hidden, weights) = self.attentional(states, &cache.memory);
                (hidden, vec![weights], LuongCache { state, ..cache })
            }
        };
        (self.dropout.forward(hidden, random("head")), attention, cache)
    }

    /// Step by step, as each reads what the one before it attended to.
    fn fed(
        &self,
        vectors: Tensor<3>,
        mut fed: Tensor<3>,
        memory: Memory,
        mut state: StackState<LstmState>,
        random: Option<Stream>,
    ) -> (Tensor<3>, Vec<Tensor<3>>, LuongCache) {
        let [_, target_length, _] = vectors.dims();
        let decoder = self.decoder.fed(vectors);
        let (mut hidden, mut attention) = (Vec::new(), Vec::new());
        for position in 0..target_length {
            let random = random.map(|random| random.at(position as u64));
            let (output, next) = decoder.step(position, fed.squeeze_dim(1), state, random);
            let (attended, weights) = self.attentional(output.unsqueeze_dim(1), &memory); // [batch_size, 1, d_hidden]
            hidden.push(attended.clone());
            attention.push(weights);
            (fed, state) = (attended, next);
        }
        (Tensor::cat(hidden, 1), attention, LuongCache { memory, state, fed: Some(fed) })
    }

    /// h̃ of states, and the weights that made it.
    fn attentional(&self, states: Tensor<3>, memory: &Memory) -> (Tensor<3>, Tensor<3>) {
        let (context, weights) = self.score.attend(states.clone(), memory);
        (self.attentional.forward(Tensor::cat(vec![context, states], 2)).tanh(), weights)
    }

    /// The name of a parameter in files: that of a torch module with the fields of this one, as `nn.Embedding`,
    /// `nn.LSTM` and `nn.Linear`.
    pub fn stored_name(path: &str) -> Stored {
        stored_translator_name(path)
    }
}

impl Cache for LuongCache {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self {
            memory: self.memory.select_rows(rows),
            state: self.state.select_rows(rows),
            fed: self.fed.map(|fed| fed.select_rows(rows)),
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::parameters;

    use super::config::tests::{SCORES, config};
    use super::*;

    fn list<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn the_law_holds_with_every_score_and_with_and_without_input_feeding() {
        let device = test_device();
        for score in SCORES {
            for input_feeding in [true, false] {
                let model = config(score, input_feeding).init(Stream::new(1), &device);
                laws::encoder_decoder(&model, 11, &device);
            }
        }
        let forward = LuongConfig { reversed_source: false, ..config(ScoreKind::Dot, true) };
        laws::encoder_decoder(&forward.init(Stream::new(1), &device), 11, &device);
    }

    #[test]
    fn a_vector_of_a_reversed_source_stands_where_its_token_stands() {
        let device = test_device();
        let model = config(ScoreKind::Dot, true).init(Stream::new(1), &device);
        let values = |row: &[u32], other: &[u32]| {
            let source = TokenBatch::padded(&[row, other], &device);
            model.encode(&source).memory.values.clone().narrow(0, 0, 1)
        };
        let [before, after] = [values(&[1, 2, 3], &[1; 5]), values(&[1, 4, 3], &[1; 5])];
        let at = |values: &Tensor<3>, position| list(values.clone().narrow(1, position, 1));
        assert_ne!(at(&before, 0), at(&after, 0));
        assert_ne!(at(&before, 1), at(&after, 1));
        assert_eq!(at(&before, 2), at(&after, 2));
        assert!(at(&before, 3).iter().all(|number| *number == 0.0));
    }

    #[test]
    fn input_feeding_that_is_not_listened_to_is_none() {
        let device = test_device();
        let mut model = config(ScoreKind::General, true).init(Stream::new(1), &device);
        let first = &mut model.decoder.layers[0];
        first.weight_input =
            first.weight_input.clone().map(|weight| weight.slice_fill([6..15, 0..36], 0.0));
        let mut unfed = model.clone();
        unfed.input_feeding = false;
        let first = &mut unfed.decoder.layers[0];
        first.weight_input = first.weight_input.clone().map(|weight| weight.narrow(0, 0, 6));
        let source = TokenBatch::padded(&[&[1, 2, 3], &[4]], &device);
        let target = TokenBatch::from_rows(&[&[5, 6, 7], &[8, 9, 10]], &device);
        let [found, expected] =
            [model, unfed].map(|model| list(model.decode(&target, model.encode(&source)).0));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }

    #[test]
    fn what_was_attended_to_reaches_the_next_step() {
        let device = test_device();
        let model = config(ScoreKind::Dot, true).init(Stream::new(1), &device);
        let cache = model.encode(&TokenBatch::from_rows(&[&[1, 2, 3]], &device));
        let target = TokenBatch::from_rows(&[&[5]], &device);
        let fed = cache.fed.clone().map(|fed| fed + 0.5);
        let other = model.decode(&target, LuongCache { fed, ..cache.clone() }).0;
        assert_ne!(list(model.decode(&target, cache).0), list(other));
    }

    #[test]
    fn token_vectors_layers_and_what_the_head_reads_are_dropped_only_with_a_stream() {
        let device = test_device();
        let decoded = |dropout: f64, random: Option<Stream>| {
            let config = LuongConfig { dropout, ..config(ScoreKind::Dot, true) };
            let model = config.init(Stream::new(1), &device);
            let batch =
                TokenBatch { dropout: random, ..TokenBatch::from_rows(&[&[1, 2]], &device) };
            model.decode(&batch, model.encode(&batch)).0.into_data()
        };
        assert_eq!(decoded(0.5, None), decoded(0.0, None));
        assert_ne!(decoded(0.5, Some(Stream::new(2))), decoded(0.0, None));
    }

    #[test]
    fn every_parameter_has_a_name_of_its_own() {
        let config = LuongConfig { n_layers: 1, ..config(ScoreKind::General, true) };
        let model = config.init(Stream::new(1), &test_device());
        let names: Vec<String> = parameters(&model)
            .iter()
            .map(|parameter| Luong::stored_name(&parameter.path).name)
            .collect();
        let layer = |field: &str| {
            ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
                .map(|parameter| format!("{field}.{parameter}"))
        };
        let mut expected = vec!["source_embedding.weight".to_string()];
        expected.extend(layer("encoder"));
        expected.push("target_embedding.weight".to_string());
        expected.extend(layer("decoder"));
        let last = ["score.key.weight", "attentional.weight", "head.weight", "head.bias"];
        expected.extend(last.map(str::to_string));
        assert_eq!(names, expected);
    }
}
