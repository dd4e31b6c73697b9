//! Translation with additive attention (Bahdanau, Cho, Bengio: "Neural machine translation by jointly learning to align
//! and translate", 2015).
//!
//! Against [Cho's model](crate::seq2seq::cho) the context is another at each step: the source's vectors, weighted by how
//! well the state before the step fits them. The encoder reads both ways, so that each vector knows its whole
//! sentence.
//!
//! ```text
//! s_0 = tanh(W_s ←h_1)      e_ij = v_a · tanh(W_a s_{i-1} + U_a h_j)      c_i = Σ_j softmax_j(e_i) h_j
//! s_i = GRU(s_{i-1}, [y_{i-1}; c_i])      t_i = maxout(U_o s + V_o y_{i-1} + C_o c_i)      p(y_i) = softmax(W_o t_i)
//! ```
//!
//! The paper prints both s_{i-1} (its appendix) and s_i (its equation 4) for the state of the output; the config says
//! which. A GRU layer has two biases, as in torch, of which one would do here; the maxout units and the head have one.

mod config;

use burn::module::Module;
use burn::tensor::Tensor;
pub use config::{BahdanauConfig, ModelType, OutputState};
use emberline_attention::scores::{Memory, Score};
use emberline_backend::{Dropout, Embedding, Linear};
use emberline_checkpoint::Stored;
use emberline_core::{Cache, EncoderDecoder, HeadWeights, TokenBatch, VocabularyHead};
use emberline_recurrent::{BiGru, Gru, HiddenState, StackState};

use crate::seq2seq::{embedded, maxout};
use crate::stored::stored_translator_name;

/// A bidirectional encoder, attention, and a decoder.
#[derive(Module, Debug)]
pub struct Bahdanau {
    /// `[source_vocab_size, d_embedding]`.
    pub source_embedding: Embedding,
    /// One layer, both directions side by side.
    pub encoder: BiGru,
    /// W_s, `[d_hidden, d_hidden]`.
    pub start: Linear,
    /// W_a, U_a and v_a.
    pub score: Score,
    /// `[target_vocab_size, d_embedding]`.
    pub target_embedding: Embedding,
    /// One layer, of y and c.
    pub decoder: Gru,
    /// U_o, V_o and C_o, `[d_hidden + d_embedding + 2 · d_hidden, 2 · d_maxout]`, with a bias.
    pub output: Linear,
    /// W_o, `[d_maxout, target_vocab_size]`, with a bias.
    pub head: Linear,
    /// Applied to token vectors and to what the head reads.
    pub dropout: Dropout,
    /// The state that the output reads.
    #[module(skip)]
    pub output_state: OutputState,
}

/// What Bahdanau's decoder goes on from.
#[derive(Clone, Debug)]
pub struct BahdanauCache {
    /// The source's vectors.
    pub memory: Memory,
    /// The decoder's, after the last column of the target: a row that ended before it cannot go on.
    pub state: StackState<HiddenState>,
}

impl VocabularyHead for Bahdanau {
    fn head_weights(&self) -> HeadWeights {
        HeadWeights::own(self.head.weight.val(), self.head.bias.as_ref().map(|bias| bias.val()))
    }

    fn head(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head.forward(hidden)
    }
}

impl EncoderDecoder for Bahdanau {
    type Cache = BahdanauCache;

    fn encode(&self, source: &TokenBatch) -> BahdanauCache {
        let vectors = embedded(&self.source_embedding, &self.dropout, source, "source_embedding"); // [batch_size, source_length, d_embedding]
        let lengths = source.right_padded_lengths();
        let (states, finals) = self.encoder.forward(vectors, None, lengths, None); // [batch_size, source_length, 2 · d_hidden]
        // What was read last from the end is the first token.
        let first = finals.0[0].reverse.hidden.clone();
        let hidden = self.start.forward(first).tanh();
        BahdanauCache {
            memory: self.score.memory(states.clone(), states, lengths),
            state: StackState(vec![HiddenState { hidden }]),
        }
    }

    fn decode(&self, target: &TokenBatch, cache: BahdanauCache) -> (Tensor<3>, BahdanauCache) {
        let (hidden, _, cache) = self.steps(target, cache);
        (hidden, cache)
    }

    fn decode_with_attention(
        &self,
        target: &TokenBatch,
        cache: BahdanauCache,
    ) -> (Tensor<3>, Vec<Tensor<4>>, BahdanauCache) {
        let (hidden, attention, cache) = self.steps(target, cache);
        (hidden, vec![Tensor::cat(attention, 1).unsqueeze_dim(1)], cache)
    }
}

impl Bahdanau {
    /// Step by step, as each needs the state before it to choose what it reads; the output is one product for all.
    /// The attention is that of each step, `[batch_size, 1, source_length]`.
    fn steps(
        &self,
        target: &TokenBatch,
        cache: BahdanauCache,
    ) -> (Tensor<3>, Vec<Tensor<3>>, BahdanauCache) {
        let [_, target_length] = target.dims();
        let BahdanauCache { memory, mut state } = cache;
        let vectors = embedded(&self.target_embedding, &self.dropout, target, "target_embedding"); // [batch_size, target_length, d_embedding]
        let decoder = self.decoder.fed(vectors.clone());
        let (mut states, mut contexts, mut attention) = (Vec::new(), Vec::new(), Vec::new());
        for position in 0..target_length {
            let before = self.decoder.last_output(&state); // [batch_size, d_hidden]
            let (context, weights) = self.score.attend(before.clone().unsqueeze_dim(1), &memory); // [batch_size, 1, 2 · d_hidden]
            let fed = context.clone().squeeze_dim(1);
            let after;
            (after, state) = decoder.step(position, fed, state, None);
            states.push(match self.output_state {
                OutputState::Previous => before,
                OutputState::Current => after,
            });
            contexts.push(context);
            attention.push(weights);
        }
        let read = vec![Tensor::stack(states, 1), vectors, Tensor::cat(contexts, 1)];
        let read = Tensor::cat(read, 2); // [batch_size, target_length, d_hidden + d_embedding + 2 · d_hidden]
        let random = target.dropout.map(|random| random.named("head"));
        let hidden = self.dropout.forward(maxout(self.output.forward(read)), random);
        (hidden, attention, BahdanauCache { memory, state })
    }

    /// The name of a parameter in files: that of a torch module with the fields of this one, as `nn.Embedding`,
    /// `nn.GRU` and `nn.Linear`; torch's own GRU resets after the product and keeps by z, and cannot read them.
    pub fn stored_name(path: &str) -> Stored {
        stored_translator_name(path)
    }
}

impl Cache for BahdanauCache {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self { memory: self.memory.select_rows(rows), state: self.state.select_rows(rows) }
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::parameters::parameters;
    use emberline_core::{Stream, laws};
    use emberline_recurrent::{Reading, RecurrentCell};

    use super::config::tests::config;
    use super::*;

    fn model(output_state: OutputState) -> Bahdanau {
        config(output_state).init(Stream::new(1), &test_device())
    }

    fn list<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter().collect()
    }

    #[test]
    fn the_law_holds_with_either_state_in_the_output() {
        for output_state in [OutputState::Previous, OutputState::Current] {
            laws::encoder_decoder(&model(output_state), 11, &test_device());
        }
    }

    #[test]
    fn with_one_context_for_all_steps_it_is_chos_decoder_of_a_whole_target() {
        let device = test_device();
        let model = model(OutputState::Current);
        let cache = model.encode(&TokenBatch::from_rows(&[&[1, 2, 3, 4]], &device));
        // Whatever the weights, equal vectors have themselves as their mean.
        let context = cache.memory.values.clone().narrow(1, 3, 1); // [1, 1, 2 · d_hidden]
        let [_, _, d_context] = context.dims();
        let vectors = context.clone().expand([1, 4, d_context]);
        let memory = model.score.memory(vectors.clone(), vectors, None);
        let start = cache.state.0[0].clone();
        let target = TokenBatch::from_rows(&[&[5, 6, 7]], &device);
        let (found, _) = model.decode(&target, BahdanauCache { memory, ..cache });

        let vectors = model.target_embedding.forward(target.tokens);
        let input = Tensor::cat(vec![vectors, context.expand([1, 3, d_context])], 2);
        let cell = &model.decoder.layers[0];
        let (states, _) = RecurrentCell::sequence(cell, input.clone(), start, Reading::default());
        let expected = maxout(model.output.forward(Tensor::cat(vec![states, input], 2)));
        for (found, expected) in list(found).iter().zip(list(expected)) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }

    #[test]
    fn each_output_depends_on_every_token_of_the_source() {
        let device = test_device().autodiff();
        let model = config(OutputState::Previous).init(Stream::new(1), &device);
        let source = TokenBatch::from_rows(&[&[1, 2, 3, 4]], &device);
        let target = TokenBatch::from_rows(&[&[5, 6, 7]], &device);
        for position in 0..3 {
            let (hidden, attention, _) =
                model.decode_with_attention(&target, model.encode(&source));
            let gradients = hidden.narrow(1, position, 1).sum().backward();
            let slopes = model.source_embedding.weight.val().grad(&gradients).unwrap();
            for token in 1..5 {
                let slope: f32 = slopes.clone().narrow(0, token, 1).abs().sum().into_scalar();
                assert!(slope > 0.0, "position {position} does not depend on token {token}");
            }
            let weights = list(attention[0].clone().narrow(2, position, 1));
            assert!(weights.iter().all(|weight| *weight > 0.0), "{weights:?}");
        }
    }

    #[test]
    fn token_vectors_and_what_the_head_reads_are_dropped_only_with_a_stream() {
        let device = test_device();
        let decoded = |dropout: f64, random: Option<Stream>| {
            let config = BahdanauConfig { dropout, ..config(OutputState::Previous) };
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
        let names: Vec<String> = parameters(&model(OutputState::Previous))
            .iter()
            .map(|parameter| Bahdanau::stored_name(&parameter.path).name)
            .collect();
        let layer = |field: &str, suffix: &str| {
            ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
                .map(|parameter| format!("{field}.{parameter}{suffix}"))
        };
        let mut expected = vec!["source_embedding.weight".to_string()];
        expected.extend(layer("encoder", ""));
        expected.extend(layer("encoder", "_reverse"));
        let between = ["start.weight", "score.query.weight", "score.key.weight", "score.vector"];
        expected.extend(between.map(str::to_string));
        expected.push("target_embedding.weight".to_string());
        expected.extend(layer("decoder", ""));
        let last = ["output.weight", "output.bias", "head.weight", "head.bias"];
        expected.extend(last.map(str::to_string));
        assert_eq!(names, expected);
    }
}
