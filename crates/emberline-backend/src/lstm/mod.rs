//! The LSTM over a whole sequence, as one operation (Hochreiter and Schmidhuber, 1997; with the forget
//! gate of Gers, Schmidhuber and Cummins, 2000).
//!
//! ```text
//! i = σ(W_i x_t + U_i h_{t-1} + b_i)      f = σ(W_f x_t + U_f h_{t-1} + b_f)
//! g = tanh(W_g x_t + U_g h_{t-1} + b_g)   o = σ(W_o x_t + U_o h_{t-1} + b_o)
//! c_t = f ⊙ c_{t-1} + i ⊙ g               h_t = o ⊙ tanh(c_t)
//! ```
//!
//! `W x_t` does not depend on the steps before and is one product for the whole sequence. What remains
//! in the loop is `U h_{t-1}` and the gates.

#[cfg(feature = "flex")]
mod native;
#[cfg(feature = "flex")]
mod operation;
mod portable;
mod state;

use burn::tensor::Tensor;

/// The weights of one LSTM layer; the columns are the gates in torch's order i, f, g, o.
#[derive(Clone, Debug)]
pub struct LstmWeights {
    /// W, `[d_input, 4 · d_hidden]`.
    pub input: Tensor<2>,
    /// U, `[d_hidden, 4 · d_hidden]`.
    pub hidden: Tensor<2>,
    /// b, `[4 · d_hidden]`.
    pub bias: Tensor<1>,
}

/// What an LSTM keeps from one step to the next.
#[derive(Clone, Debug)]
pub struct LstmState {
    /// h, `[batch_size, d_hidden]`.
    pub hidden: Tensor<2>,
    /// c, `[batch_size, d_hidden]`.
    pub cell: Tensor<2>,
}

/// Runs one layer over a sequence.
///
/// With `lengths`, row r ends after `lengths[r]` steps: its outputs after that are zero, and its final
/// state is that of its last step.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - state: `[batch_size, d_hidden]` each
/// - output: `[batch_size, seq_length, d_hidden]`, and the final state
///
/// # Panics
/// If shapes do not fit, the sequence is empty, or a length is 0 or above `seq_length`.
pub fn lstm(
    input: Tensor<3>,
    state: LstmState,
    weights: LstmWeights,
    lengths: Option<&[usize]>,
) -> (Tensor<3>, LstmState) {
    check(&input, &state, &weights, lengths);
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&input) {
        return operation::lstm(input, state, weights, lengths);
    }
    portable::lstm(input, state, weights, lengths)
}

fn check(input: &Tensor<3>, state: &LstmState, weights: &LstmWeights, lengths: Option<&[usize]>) {
    let [batch_size, seq_length, d_input] = input.dims();
    let [_, d_hidden] = state.hidden.dims();
    assert!(
        batch_size > 0 && seq_length > 0,
        "an LSTM needs rows and steps, not {:?}",
        input.dims()
    );
    assert_eq!(state.hidden.dims(), [batch_size, d_hidden], "hidden state of an LSTM");
    assert_eq!(state.cell.dims(), [batch_size, d_hidden], "cell state of an LSTM");
    assert_eq!(weights.input.dims(), [d_input, 4 * d_hidden], "input weights of an LSTM");
    assert_eq!(weights.hidden.dims(), [d_hidden, 4 * d_hidden], "hidden weights of an LSTM");
    assert_eq!(weights.bias.dims(), [4 * d_hidden], "bias of an LSTM");
    if let Some(lengths) = lengths {
        assert_eq!(lengths.len(), batch_size, "one length for each row");
        for length in lengths {
            assert!(
                (1..=seq_length).contains(length),
                "a row of length {length} in a batch of length {seq_length}"
            );
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
