//! Recurrent layers over a whole sequence, each as one operation.
//!
//! Plain recurrent network (Elman, 1990):
//!
//! ```text
//! h_t = tanh(W x_t + b + U h_{t-1} + b')                       or ReLU instead of tanh
//! ```
//!
//! GRU (Cho and others, 2014), the reset gate after the product with `U_n` as in torch, or before it as in
//! the paper:
//!
//! ```text
//! r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r)      z = σ(W_z x_t + b_z + U_z h_{t-1} + b'_z)
//! n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t-1} + b'_n))           after
//! n = tanh(W_n x_t + b_n + U_n (r ⊙ h_{t-1}) + b'_n)           before
//! h_t = z ⊙ h_{t-1} + (1 - z) ⊙ n                              or z and 1 - z the other way round
//! ```
//!
//! LSTM (Hochreiter and Schmidhuber, 1997; forget gate: Gers, Schmidhuber and Cummins, 2000; projection: Sak,
//! Senior and Beaufays, 2014):
//!
//! ```text
//! i = σ(W_i x_t + b_i + U_i h_{t-1} + b'_i)      f = σ(W_f x_t + b_f + U_f h_{t-1} + b'_f)
//! g = tanh(W_g x_t + b_g + U_g h_{t-1} + b'_g)   o = σ(W_o x_t + b_o + U_o h_{t-1} + b'_o)
//! c_t = f ⊙ c_{t-1} + i ⊙ g                      h_t = o ⊙ tanh(c_t), times the projection if there is one
//! ```
//!
//! `W x_t` does not depend on the steps before and is one product for the whole sequence. What remains
//! in the loop is `U h_{t-1}` and the gates.

mod fed;
#[cfg(feature = "flex")]
mod native;
#[cfg(feature = "flex")]
mod operation;
mod portable;
mod state;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use fed::{FedStep, fed_gru, fed_lstm};
pub use state::{HiddenState, LstmState};

/// From which end the rows are read. Outputs stay where their inputs are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the first step to a row's last.
    #[default]
    Forward,
    /// From a row's own last step to its first.
    Reverse,
}

/// How the rows of a batch are read; by default all steps, from the first to the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading<'a> {
    /// Row r has `lengths[r]` steps: what follows is padding that is never read, and outputs there are zero.
    pub lengths: Option<&'a [usize]>,
    /// From which end.
    pub direction: Direction,
}

/// The function of a plain recurrent network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// The hyperbolic tangent.
    #[default]
    Tanh,
    /// `max(0, x)`.
    Relu,
}

/// Where the reset gate of a GRU acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetGate {
    /// On the product of the state with its matrix, bias included (torch, cuDNN).
    #[default]
    After,
    /// On the state, before the product (Cho and others, 2014).
    Before,
}

/// What the update gate z of a GRU means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateGate {
    /// `h' = z h + (1 - z) n` (Cho and others, 2014; torch).
    #[default]
    Keeps,
    /// `h' = (1 - z) h + z n` (Bahdanau and others, 2015).
    Admits,
}

/// What an LSTM does besides its equations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LstmOptions {
    /// Cells are kept within ± this number.
    pub cell_clip: Option<f64>,
    /// Outputs are kept within ± this number, after the projection.
    pub projection_clip: Option<f64>,
}

/// The weights of one layer. Its columns are the gates in torch's order, each `d_hidden` wide: r, z, n of a
/// GRU; i, f, g, o of an LSTM.
#[derive(Clone, Debug)]
pub struct CellWeights {
    /// W, `[d_input, gates · d_hidden]`.
    pub input: Tensor<2>,
    /// U, `[d_output, gates · d_hidden]`; `d_output` is `d_hidden` but in a projected LSTM.
    pub hidden: Tensor<2>,
    /// b, `[gates · d_hidden]`.
    pub bias_input: Tensor<1>,
    /// b', `[gates · d_hidden]`.
    pub bias_hidden: Tensor<1>,
}

/// Runs a plain recurrent layer over a sequence.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - state: `[batch_size, d_hidden]`
/// - output: `[batch_size, seq_length, d_hidden]`, and the state after each row's last step of reading
///
/// # Panics
/// If shapes do not fit, the sequence is empty, or a length is 0 or above `seq_length`.
pub fn rnn(
    input: Tensor<3>,
    state: HiddenState,
    weights: CellWeights,
    activation: Activation,
    reading: Reading,
) -> (Tensor<3>, HiddenState) {
    let d_hidden = weights.hidden.dims()[0];
    check("a recurrent layer", &input, &weights, 1, d_hidden, reading);
    check_state("state of a recurrent layer", &state.hidden, &input, d_hidden);
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&input) {
        let cell = native::Cell::Rnn(activation);
        return operation::hidden(cell, input, state, weights, reading);
    }
    portable::rnn(input, state, weights, activation, reading)
}

/// Runs a GRU layer over a sequence.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - state: `[batch_size, d_hidden]`
/// - output: `[batch_size, seq_length, d_hidden]`, and the state after each row's last step of reading
///
/// # Panics
/// If shapes do not fit, the sequence is empty, or a length is 0 or above `seq_length`.
pub fn gru(
    input: Tensor<3>,
    state: HiddenState,
    weights: CellWeights,
    reset: ResetGate,
    update: UpdateGate,
    reading: Reading,
) -> (Tensor<3>, HiddenState) {
    let d_hidden = weights.hidden.dims()[0];
    check("a GRU", &input, &weights, 3, d_hidden, reading);
    check_state("state of a GRU", &state.hidden, &input, d_hidden);
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&input) {
        let cell = native::Cell::Gru(reset, update);
        return operation::hidden(cell, input, state, weights, reading);
    }
    portable::gru(input, state, weights, reset, update, reading)
}

/// Runs an LSTM layer over a sequence.
///
/// # Shapes
/// - input: `[batch_size, seq_length, d_input]`
/// - state: hidden `[batch_size, d_output]`, cell `[batch_size, d_hidden]`
/// - projection: `[d_hidden, d_output]`; without it both are equal
/// - output: `[batch_size, seq_length, d_output]`, and the state after each row's last step of reading
///
/// # Panics
/// If shapes do not fit, the sequence is empty, a length is 0 or above `seq_length`, or a clip is not positive.
pub fn lstm(
    input: Tensor<3>,
    state: LstmState,
    weights: CellWeights,
    projection: Option<Tensor<2>>,
    options: LstmOptions,
    reading: Reading,
) -> (Tensor<3>, LstmState) {
    let d_output = weights.hidden.dims()[0];
    let d_hidden = projection.as_ref().map_or(d_output, |projection| projection.dims()[0]);
    check("an LSTM", &input, &weights, 4, d_hidden, reading);
    check_state("state of an LSTM", &state.hidden, &input, d_output);
    check_state("memory of an LSTM", &state.cell, &input, d_hidden);
    check_clips(options);
    if let Some(projection) = &projection {
        assert_eq!(projection.dims(), [d_hidden, d_output], "projection of an LSTM");
    }
    #[cfg(feature = "flex")]
    if crate::flex::runs_natively(&input) {
        return operation::lstm(input, state, weights, projection, options, reading);
    }
    portable::lstm(input, state, weights, projection, options, reading)
}

/// Panics where shapes do not fit; `layer` is named in the message.
fn check(
    layer: &str,
    input: &Tensor<3>,
    weights: &CellWeights,
    n_gates: usize,
    d_hidden: usize,
    reading: Reading,
) {
    let [batch_size, seq_length, d_input] = input.dims();
    let (d_output, columns) = (weights.hidden.dims()[0], n_gates * d_hidden);
    assert!(
        batch_size > 0 && seq_length > 0 && d_input > 0,
        "{layer} needs rows, steps and numbers, not {:?}",
        input.dims()
    );
    assert!(d_output > 0 && d_hidden > 0, "{layer} needs units, not {d_output} and {d_hidden}");
    assert_eq!(weights.input.dims(), [d_input, columns], "input weights of {layer}");
    assert_eq!(weights.hidden.dims()[1], columns, "columns of the hidden weights of {layer}");
    assert_eq!(weights.bias_input.dims(), [columns], "input bias of {layer}");
    assert_eq!(weights.bias_hidden.dims(), [columns], "hidden bias of {layer}");
    if let Some(lengths) = reading.lengths {
        assert_eq!(lengths.len(), batch_size, "one length for each row");
        for length in lengths {
            assert!(
                (1..=seq_length).contains(length),
                "a row of length {length} in a batch of length {seq_length}"
            );
        }
    }
}

fn check_clips(options: LstmOptions) {
    for limit in [options.cell_clip, options.projection_clip].into_iter().flatten() {
        assert!(limit > 0.0, "an LSTM cannot keep numbers within ±{limit}");
    }
}

fn check_state(name: &str, state: &Tensor<2>, input: &Tensor<3>, width: usize) {
    assert_eq!(state.dims(), [input.dims()[0], width], "{name}");
}

#[cfg(all(test, feature = "flex"))]
mod tests;
