//! What holds of layers that are fed.

use burn::tensor::{Device, Tensor};

use super::super::*;
use super::{FULL, NO_CLIP};
use crate::testing::{agree, finite_differences};

const ROWS: usize = 3;
const STEPS: usize = 5;
const KNOWN: usize = 4;
const FED: usize = 2;
const HIDDEN: usize = 9;

const GRU: [(ResetGate, UpdateGate); 2] =
    [(ResetGate::Before, UpdateGate::Admits), (ResetGate::Before, UpdateGate::Keeps)];

/// What is known, both weights and both biases of so many gates, and two states.
fn shapes(n_gates: usize, d_known: usize) -> [Vec<usize>; 7] {
    let columns = n_gates * HIDDEN;
    [
        vec![ROWS, STEPS, KNOWN],
        vec![d_known + FED, columns],
        vec![HIDDEN, columns],
        vec![columns],
        vec![columns],
        vec![ROWS, HIDDEN],
        vec![ROWS, HIDDEN],
    ]
}

fn weights(t: &[Tensor<1>], shapes: &[Vec<usize>]) -> CellWeights {
    let matrix = |index: usize| t[index].clone().reshape([shapes[index][0], shapes[index][1]]);
    let (bias_input, bias_hidden) = (t[3].clone(), t[4].clone());
    CellWeights { input: matrix(1), hidden: matrix(2), bias_input, bias_hidden }
}

fn known(t: &[Tensor<1>], d_known: usize) -> Option<Tensor<3>> {
    (d_known > 0).then(|| t[0].clone().reshape([ROWS, STEPS, KNOWN]))
}

fn state(t: &Tensor<1>) -> Tensor<2> {
    t.clone().reshape([ROWS, HIDDEN])
}

/// Goes through the steps, feeding a part of each state, and gives all hidden states and the last state.
fn states<S: Clone>(
    step: impl Fn(usize, Tensor<2>, S) -> S,
    mut state: S,
    parts: impl Fn(&S) -> Vec<Tensor<2>>,
) -> Tensor<1> {
    let mut found = Vec::new();
    for position in 0..STEPS {
        let fed = parts(&state)[0].clone().narrow(1, 3, FED);
        state = step(position, fed, state);
        found.push(parts(&state)[0].clone());
    }
    found.extend(parts(&state));
    Tensor::cat(found, 0).flatten(0, 1)
}

fn gru_states(t: &[Tensor<1>], d_known: usize, update: UpdateGate, is_native: bool) -> Tensor<1> {
    let (weights, known) = (weights(t, &shapes(3, d_known)), known(t, d_known));
    let parts = |state: &HiddenState| vec![state.hidden.clone()];
    let start = HiddenState { hidden: state(&t[5]) };
    if is_native {
        let step = fed_gru(known, STEPS, weights, ResetGate::Before, update);
        return states(step, start, parts);
    }
    let step = |position, fed, state| {
        let input = fed::whole(known.as_ref(), position, fed);
        portable::gru(input, state, weights.clone(), ResetGate::Before, update, FULL).1
    };
    states(step, start, parts)
}

fn lstm_states(
    t: &[Tensor<1>],
    d_known: usize,
    options: LstmOptions,
    is_native: bool,
) -> Tensor<1> {
    let (weights, known) = (weights(t, &shapes(4, d_known)), known(t, d_known));
    let parts = |state: &LstmState| vec![state.hidden.clone(), state.cell.clone()];
    let start = LstmState { hidden: state(&t[5]), cell: state(&t[6]) };
    if is_native {
        return states(fed_lstm(known, STEPS, weights, None, options), start, parts);
    }
    let step = |position, fed, state| {
        let input = fed::whole(known.as_ref(), position, fed);
        portable::lstm(input, state, weights.clone(), None, options, FULL).1
    };
    states(step, start, parts)
}

/// The output, with all arguments in it, so that those that it does not use have a gradient too.
fn with_all(output: Tensor<1>, t: &[Tensor<1>]) -> Tensor<1> {
    t.iter().fold(output, |output, t| output + t.clone().sum() * 0.0)
}

#[test]
fn steps_that_are_fed_are_the_portable_steps_in_values_and_gradients() {
    for d_known in [KNOWN, 0] {
        for (_, update) in GRU {
            agree(&shapes(3, d_known), |t| {
                let of = |is_native| with_all(gru_states(t, d_known, update, is_native), t);
                (of(true), of(false))
            });
        }
        let clipped = LstmOptions { cell_clip: Some(0.4), projection_clip: None };
        for options in [NO_CLIP, clipped] {
            agree(&shapes(4, d_known), |t| {
                let of = |is_native| with_all(lstm_states(t, d_known, options, is_native), t);
                (of(true), of(false))
            });
        }
    }
}

#[test]
fn gradients_of_steps_that_are_fed_are_the_finite_differences() {
    finite_differences(&shapes(3, KNOWN), |t| {
        with_all(gru_states(t, KNOWN, UpdateGate::Admits, true), t)
    });
}

#[test]
fn steps_that_are_fed_and_not_asked_for_gradients_have_the_same_bits() {
    let run = |device: &Device| {
        let shapes = shapes(4, KNOWN);
        let t: Vec<_> = (shapes.iter().enumerate())
            .map(|(index, shape)| crate::testing::random(&index.to_string(), shape, device))
            .collect();
        lstm_states(&t, KNOWN, NO_CLIP, true).into_data()
    };
    let device = crate::test_device();
    assert_eq!(run(&device), run(&device.clone().autodiff()));
}

#[test]
fn a_step_may_be_taken_twice_and_left_out() {
    // Two ways through the second step; the third is never taken.
    let step_twice = |t: &[Tensor<1>], is_native: bool| {
        let (weights, known) = (weights(t, &shapes(3, KNOWN)), known(t, KNOWN).unwrap());
        let update = UpdateGate::Keeps;
        let portable = |position, fed, state| {
            let input = fed::whole(Some(&known), position, fed);
            portable::gru(input, state, weights.clone(), ResetGate::Before, update, FULL).1
        };
        let native =
            fed_gru(Some(known.clone()), STEPS, weights.clone(), ResetGate::Before, update);
        let step = |position, fed, hidden: Tensor<2>| match is_native {
            true => native(position, fed, HiddenState { hidden }).hidden,
            false => portable(position, fed, HiddenState { hidden }).hidden,
        };
        let [start, other] = [&t[5], &t[6]].map(state);
        let fed = start.clone().narrow(1, 0, FED);
        let first = step(0, fed.clone(), start);
        let ways = [first, other].map(|state| step(1, fed.clone(), state));
        let [one, two] = ways.map(|state| step(3, fed.clone(), state));
        with_all((one + two).flatten(0, 1), t)
    };
    agree(&shapes(3, KNOWN), |t| (step_twice(t, true), step_twice(t, false)));
}

#[test]
#[should_panic(expected = "the width of what is fed to a layer")]
fn an_input_of_another_width_than_what_is_fed_is_refused() {
    let device = crate::test_device();
    let t: Vec<_> = shapes(3, KNOWN)
        .iter()
        .map(|shape| Tensor::<1>::zeros([shape.iter().product::<usize>()], &device))
        .collect();
    let (weights, known) = (weights(&t, &shapes(3, KNOWN)), known(&t, KNOWN));
    let step = fed_gru(known, STEPS, weights, ResetGate::Before, UpdateGate::Keeps);
    step(0, Tensor::zeros([ROWS, FED + 1], &device), HiddenState { hidden: state(&t[5]) });
}
