//! Sequence to sequence through one fixed vector: an encoder reads the source, and all that a decoder learns of it is
//! the encoder's last state.
//!
//! Against the [language model](crate::rnn_language_model) there are two networks and two vocabularies, and the target
//! may have another length than the source: the second kind of many-to-many.

pub mod cho;
pub mod sutskever;

use burn::tensor::Tensor;
pub use cho::{Cho, ChoConfig};
use emberline_backend::{Dropout, Embedding};
use emberline_core::TokenBatch;
use emberline_recurrent::{Direction, Lstm, LstmState, Reading, RecurrentCell, StackState};
pub use sutskever::{Sutskever, SutskeverConfig};

/// The vectors of a batch's tokens, `[batch_size, seq_length, d_embedding]`, dropped by the stream of a name.
pub(crate) fn embedded(
    embedding: &Embedding,
    dropout: &Dropout,
    batch: &TokenBatch,
    name: &str,
) -> Tensor<3> {
    batch.refuse_left_padding();
    let random = batch.dropout.map(|random| random.named(name));
    dropout.forward(embedding.forward(batch.tokens.clone()), random)
}

/// Reads a source with every layer from the same end of each row; the outputs stand where the tokens stand.
///
/// In reverse this is a stack over the tokens turned around inside each row's real length, which needs neither new
/// tokens nor outputs turned back.
pub(crate) fn read(
    layers: &Lstm,
    vectors: Tensor<3>,
    source: &TokenBatch,
    direction: Direction,
) -> (Tensor<3>, StackState<LstmState>) {
    let [batch_size, ..] = vectors.dims();
    let random = source.dropout.map(|random| random.named("encoder"));
    let mut hidden = vectors;
    let mut finals = Vec::with_capacity(layers.layers.len());
    for (index, layer) in layers.layers.iter().enumerate() {
        if index > 0 {
            hidden = layers.dropout.forward(hidden, random.map(|random| random.at(index as u64)));
        }
        let reading = Reading { lengths: source.right_padded_lengths(), direction };
        let start = RecurrentCell::zero_state(layer, batch_size);
        let (outputs, state) = RecurrentCell::sequence(layer, hidden, start, reading);
        finals.push(state);
        hidden = outputs;
    }
    (hidden, StackState(finals))
}

/// The larger of each two neighbours (Goodfellow and others: "Maxout networks", 2013).
///
/// # Shapes
/// - units: `[batch_size, seq_length, 2 · d_maxout]`
/// - output: `[batch_size, seq_length, d_maxout]`
pub(crate) fn maxout(units: Tensor<3>) -> Tensor<3> {
    let [batch_size, seq_length, d] = units.dims();
    let pairs = units.reshape([batch_size, seq_length, d / 2, 2]);
    pairs.max_dim(3).squeeze_dim(3) // [batch_size, seq_length, d_maxout]
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::test_device;

    use super::*;

    #[test]
    fn maxout_takes_the_larger_of_neighbours_and_only_that_one_learns() {
        let device = test_device().autodiff();
        let units = [[[1.0, 2.0, -3.0, -4.0]]];
        let units = Tensor::<3>::from_data(units, &device).require_grad();
        let output = maxout(units.clone());
        assert_eq!(output.to_data(), TensorData::from([[[2.0f32, -3.0]]]));
        let gradient = units.grad(&output.sum().backward()).unwrap();
        assert_eq!(gradient.into_data(), TensorData::from([[[0.0f32, 1.0, 1.0, 0.0]]]));
    }
}
