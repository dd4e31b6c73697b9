//! Layers that are fed: a part of the input of each step is made of the step before, by a model that attends in
//! between. The rest, the words, is known before the first step, and its products are made for all steps at once.

#[cfg(feature = "flex")]
mod operation;
#[cfg(feature = "flex")]
mod weights;

use burn::tensor::Tensor;

use super::{
    CellWeights, HiddenState, LstmOptions, LstmState, Reading, ResetGate, UpdateGate, check_clips,
    gru, lstm,
};

/// One step: from its position, what is fed to it, `[batch_size, d_fed]`, and the state before it to the state after it.
pub type FedStep<S> = Box<dyn Fn(usize, Tensor<2>, S) -> S>;

/// The steps of a GRU layer whose input is `[known; fed]`, or `fed` alone.
///
/// # Shapes
/// - known: `[batch_size, n_steps, d_known]`
///
/// # Panics
/// If shapes do not fit, each step as [`gru`].
pub fn fed_gru(
    known: Option<Tensor<3>>,
    n_steps: usize,
    weights: CellWeights,
    reset: ResetGate,
    update: UpdateGate,
) -> FedStep<HiddenState> {
    #[cfg(feature = "flex")]
    if reset == ResetGate::Before && operation::is_faster(&weights, n_steps) {
        return operation::gru(known, n_steps, weights, update);
    }
    Box::new(move |position, fed, state| {
        let input = whole(known.as_ref(), position, fed);
        gru(input, state, weights.clone(), reset, update, Reading::default()).1
    })
}

/// The steps of an LSTM layer whose input is `[known; fed]`, or `fed` alone.
///
/// # Shapes
/// - known: `[batch_size, n_steps, d_known]`
/// - projection: `[d_hidden, d_output]`
///
/// # Panics
/// If shapes do not fit, each step as [`lstm`].
pub fn fed_lstm(
    known: Option<Tensor<3>>,
    n_steps: usize,
    weights: CellWeights,
    projection: Option<Tensor<2>>,
    options: LstmOptions,
) -> FedStep<LstmState> {
    check_clips(options);
    #[cfg(feature = "flex")]
    if projection.is_none() && operation::is_faster(&weights, n_steps) {
        return operation::lstm(known, n_steps, weights, options);
    }
    Box::new(move |position, fed, state| {
        let input = whole(known.as_ref(), position, fed);
        let (weights, projection) = (weights.clone(), projection.clone());
        lstm(input, state, weights, projection, options, Reading::default()).1
    })
}

/// The input of one step, `[batch_size, 1, d_input]`.
pub(super) fn whole(known: Option<&Tensor<3>>, position: usize, fed: Tensor<2>) -> Tensor<3> {
    let fed = fed.unsqueeze_dim(1);
    match known {
        Some(known) => Tensor::cat(vec![known.clone().narrow(1, position, 1), fed], 2),
        None => fed,
    }
}
