//! The native body: weights that all steps share, and one fused operation a step.

use std::sync::Arc;

use burn::backend::DispatchTensor;
use burn::tensor::module::linear;
use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

use super::FedStep;
use super::weights::{Left, Weights, no_gradient};
use crate::flex::fused::{self, FusedOperation};
use crate::flex::{Real, runs_natively, slice, tensor, tensor_like};
use crate::recurrent::native::{self, Cell, Results, Saved, fed};
use crate::recurrent::{CellWeights, HiddenState, LstmOptions, LstmState, ResetGate, UpdateGate};

/// Whether there are enough steps to pack the weights for them.
pub(super) fn is_faster(weights: &CellWeights, n_steps: usize) -> bool {
    n_steps >= native::STEPS_WORTH_PACKING && runs_natively(&weights.input)
}

pub(super) fn gru(
    known: Option<Tensor<3>>,
    n_steps: usize,
    weights: CellWeights,
    update: UpdateGate,
) -> FedStep<HiddenState> {
    let step = steps(Cell::Gru(ResetGate::Before, update), known, n_steps, weights);
    Box::new(move |position, fed, HiddenState { hidden }| {
        assert_eq!(hidden.dims()[0], fed.dims()[0], "rows of a fed GRU's state");
        HiddenState { hidden: step(position, fed, hidden) }
    })
}

pub(super) fn lstm(
    known: Option<Tensor<3>>,
    n_steps: usize,
    weights: CellWeights,
    options: LstmOptions,
) -> FedStep<LstmState> {
    let step = steps(Cell::Lstm(options), known, n_steps, weights);
    Box::new(move |position, fed, LstmState { hidden, cell }| {
        let rows = [hidden.dims()[0], cell.dims()[0]];
        assert_eq!(rows, [fed.dims()[0]; 2], "rows of a fed LSTM's state");
        let states = step(position, fed, Tensor::cat(vec![hidden, cell], 0));
        let [hidden, cell] = states.chunk(2, 0).try_into().expect("two states");
        LstmState { hidden, cell }
    })
}

/// Steps from states below each other to states below each other, each `[batch_size, d_hidden]`.
fn steps(
    cell: Cell,
    known: Option<Tensor<3>>,
    n_steps: usize,
    weights: CellWeights,
) -> impl Fn(usize, Tensor<2>, Tensor<2>) -> Tensor<2> {
    let CellWeights { input, hidden, bias_input, bias_hidden } = weights;
    let bias = bias_input + bias_hidden;
    let ([d_input, d_gates], d_hidden) = (input.dims(), hidden.dims()[0]);
    assert_eq!(d_gates, cell.n_gates() * d_hidden, "columns of the input weights of a fed layer");
    assert_eq!(hidden.dims()[1], d_gates, "columns of the hidden weights of a fed layer");
    assert_eq!(bias.dims(), [d_gates], "biases of a fed layer");
    let known_rows = known.as_ref().map(|known| {
        assert_eq!(known.dims()[1], n_steps, "steps of what is known");
        known.dims()[0]
    });
    let (known, weight_fed) = match known {
        Some(known) => {
            let d_known = known.dims()[2];
            assert!(d_known < d_input, "{d_known} known of {d_input} numbers of an input");
            let weight_known = input.clone().narrow(0, 0, d_known);
            let weight_fed = input.narrow(0, d_known, d_input - d_known);
            (linear(known, weight_known, Some(bias)), weight_fed)
        }
        None => (bias.unsqueeze(), input),
    };
    let d_fed = weight_fed.dims()[0];
    let is_double = known.dtype() == DType::F64;
    let arguments = [known.into_dispatch(), weight_fed.into_dispatch(), hidden.into_dispatch()];
    let step: Box<dyn Fn(usize, Tensor<2>, Tensor<2>) -> Tensor<2>> = match is_double {
        true => Box::new(shared::<f64>(cell, arguments)),
        false => Box::new(shared::<f32>(cell, arguments)),
    };
    move |position, fed, states| {
        assert!(position < n_steps, "position {position} of {n_steps}");
        assert_eq!(fed.dims()[1], d_fed, "the width of what is fed to a layer");
        assert_eq!(fed.dims()[0], known_rows.unwrap_or(fed.dims()[0]), "rows of what is fed");
        assert_eq!(states.dims()[1], d_hidden, "the width of a fed layer's state");
        step(position, fed, states)
    }
}

fn shared<T: Real>(
    cell: Cell,
    arguments: [DispatchTensor; 3],
) -> impl Fn(usize, Tensor<2>, Tensor<2>) -> Tensor<2> {
    let (weights, token) = Weights::<T>::share(cell, arguments);
    move |position, fed, states| {
        let step = Step { weights: weights.clone(), position };
        let arguments =
            vec![token.clone().into_dispatch(), fed.into_dispatch(), states.into_dispatch()];
        fused::run(step, arguments)
    }
}

/// One step. Its arguments are the token of the weights, what is fed, and the states below each other; its output is the
/// states after it.
#[derive(Debug)]
struct Step<T> {
    weights: Arc<Weights<T>>,
    position: usize,
}

impl<T: Real> FusedOperation for Step<T> {
    fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
        self.weights.forward(arguments, self.position, None)
    }

    fn forward_saving(&self, arguments: &[FlexTensor]) -> Vec<FlexTensor> {
        let mut saved = Saved::default();
        let states = self.weights.forward(arguments, self.position, Some(&mut saved));
        let flat = |values: Vec<T>| {
            let length = values.len();
            tensor(values, [length])
        };
        vec![states, flat(saved.gates), flat(saved.extra)]
    }

    fn backward(
        &self,
        arguments: &[FlexTensor],
        results: Vec<FlexTensor>,
        gradient: FlexTensor,
        _is_tracked: &[bool],
    ) -> Vec<FlexTensor> {
        let Weights { cell, backward, left, .. } = &*self.weights;
        let [states, mut gates, mut extra] =
            results.try_into().expect("states, gates and what else a cell needs");
        let inputs = self.weights.of_step(arguments);
        // The output is the hidden state, and all of the gradient is the state's.
        let n_outputs = inputs.hidden.len();
        let with_output = |states: &[T], outputs: &[T]| [outputs, states].concat();
        let states = slice::<T>(&states);
        let flat = with_output(states, &states[..n_outputs]);
        let gradient = with_output(slice(&gradient), &vec![T::ZERO; n_outputs]);
        let mut results = Results {
            flat: &flat,
            gates: gates.storage_mut(),
            extra: extra.storage_mut(),
            gradient: &gradient,
        };
        let backward = backward.get_or_init(|| fed::Backward::new(*cell, &inputs));
        let [fed, hidden, memory] = backward.step(&inputs, &mut results);
        let (fed_before, states_before) = (arguments[1].clone(), arguments[2].clone());
        let step =
            Left { position: self.position, fed: fed_before, states: states_before, gates, extra };
        left.lock().expect("no step has panicked").push(step);
        let states = [hidden, memory].concat();
        let dtype = arguments[0].dtype();
        vec![
            no_gradient(dtype),
            tensor_like(fed, &arguments[1]),
            tensor_like(states, &arguments[2]),
        ]
    }
}
