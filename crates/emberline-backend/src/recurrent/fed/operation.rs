//! The native body: weights that all steps share, and one fused operation a step.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, OnceLock};

use burn::backend::DispatchTensor;
use burn::tensor::module::linear;
use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

use super::FedStep;
use crate::flex::fused::{self, FusedOperation};
use crate::flex::shared::{Shared, no_gradient, share};
use crate::flex::{Real, runs_natively, slice, tensor, tensor_like};
use crate::recurrent::native::{self, Cell, Inputs, Results, Saved, fed};
use crate::recurrent::{
    CellWeights, Direction, HiddenState, LstmOptions, LstmState, ResetGate, UpdateGate,
};

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
    assert_eq!(hidden.dims()[1], d_gates, "columns of the hidden weights of a fed layer");
    assert_eq!(bias.dims(), [d_gates], "biases of a fed layer");
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
    let arguments = vec![known.into_dispatch(), weight_fed.into_dispatch(), hidden.into_dispatch()];
    let step: Box<dyn Fn(usize, Tensor<2>, Tensor<2>) -> Tensor<2>> = match is_double {
        true => Box::new(shared::<f64>(cell, arguments)),
        false => Box::new(shared::<f32>(cell, arguments)),
    };
    move |position, fed, states| {
        assert!(position < n_steps, "position {position} of {n_steps}");
        assert_eq!(fed.dims()[1], d_fed, "the width of what is fed to a layer");
        assert_eq!(states.dims()[1], d_hidden, "the width of a fed layer's state");
        step(position, fed, states)
    }
}

fn shared<T: Real>(
    cell: Cell,
    arguments: Vec<DispatchTensor>,
) -> impl Fn(usize, Tensor<2>, Tensor<2>) -> Tensor<2> {
    let weights = Arc::new(Weights::<T>::new(cell));
    let token = share(weights.clone(), arguments);
    move |position, fed, states| {
        let step = Step { weights: weights.clone(), position };
        let arguments =
            vec![token.clone().into_dispatch(), fed.into_dispatch(), states.into_dispatch()];
        fused::run(step, arguments)
    }
}

/// What the steps of a layer share.
struct Weights<T> {
    cell: Cell,
    ready: OnceLock<Ready<T>>,
    backward: OnceLock<fed::Backward<T>>,
    /// Of each step that was on its way back.
    left: Mutex<Vec<Left>>,
}

struct Ready<T> {
    /// `W x + b + b'` of what is known, `[batch_size or 1, n_steps or 1, gates · d_hidden]`.
    known: FlexTensor,
    /// W of what is fed, `[d_fed, gates · d_hidden]`.
    weight_fed: FlexTensor,
    /// U, `[d_hidden, gates · d_hidden]`.
    weight_hidden: FlexTensor,
    /// For the biases, which are in what is known.
    zeros: Vec<T>,
    forward: fed::Forward<T>,
}

/// What the gradients of the weights are made of.
struct Left {
    position: usize,
    fed: FlexTensor,
    states: FlexTensor,
    /// The gradients of the gates' sums, `[batch_size, gates · d_hidden]`.
    gates: FlexTensor,
    /// See [`Saved`].
    extra: FlexTensor,
}

impl<T: Real> Weights<T> {
    fn new(cell: Cell) -> Self {
        let (ready, backward, left) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        Self { cell, ready, backward, left }
    }

    fn ready(&self) -> &Ready<T> {
        self.ready.get().expect("weights are prepared before the first step")
    }

    /// Of one step, or of the rows of many.
    fn inputs<'a>(&'a self, fed: &'a [T], hidden: &'a [T], memory: &'a [T]) -> Inputs<'a, T> {
        let Ready { weight_fed, weight_hidden, zeros, .. } = self.ready();
        inputs([slice(weight_fed), slice(weight_hidden)], zeros, fed, hidden, memory)
    }

    fn of_step<'a>(&'a self, arguments: &'a [FlexTensor]) -> Inputs<'a, T> {
        let [_, fed, states] = arguments else { unreachable!("a token, what is fed and states") };
        let batch_size = fed.layout().shape()[0];
        let (hidden, memory) = self.states(batch_size, states);
        self.inputs(slice(fed), hidden, memory)
    }

    /// The hidden state, and the memory of an LSTM.
    fn states<'a>(&self, batch_size: usize, states: &'a FlexTensor) -> (&'a [T], &'a [T]) {
        let states = slice::<T>(states);
        let d_hidden = self.ready().weight_hidden.layout().shape()[0];
        states.split_at(batch_size * d_hidden)
    }

    /// The index in what is known of a row of the batch at a position: the same where there is one for all.
    fn known_row(&self, row: usize, position: usize) -> usize {
        let shape = self.ready().known.layout().shape();
        let (batch_size, n_steps) = (shape[0], shape[1]);
        row % batch_size * n_steps + position % n_steps
    }

    fn forward(
        &self,
        arguments: &[FlexTensor],
        position: usize,
        saved: Option<&mut Saved<T>>,
    ) -> FlexTensor {
        let Ready { known, zeros, forward, .. } = self.ready();
        let known = slice::<T>(known);
        let inputs = self.of_step(arguments);
        let rows = (0..inputs.batch_size)
            .map(|row| &known[self.known_row(row, position) * zeros.len()..][..zeros.len()]);
        let flat = forward.step(&inputs, rows, saved);
        // Without the output, which is the hidden state.
        let states = flat[inputs.hidden.len()..].to_vec();
        tensor_like(states, &arguments[2])
    }
}

fn inputs<'a, T: Real>(
    [weight_input, weight_hidden]: [&'a [T]; 2],
    zeros: &'a [T],
    fed: &'a [T],
    hidden: &'a [T],
    memory: &'a [T],
) -> Inputs<'a, T> {
    let d_gates = zeros.len();
    let (d_input, d_hidden) = (weight_input.len() / d_gates, weight_hidden.len() / d_gates);
    Inputs {
        batch_size: hidden.len() / d_hidden,
        seq_length: 1,
        d_input,
        d_output: d_hidden,
        d_hidden,
        lengths: None,
        direction: Direction::Forward,
        input: fed,
        weight_input,
        weight_hidden,
        bias_input: zeros,
        bias_hidden: zeros,
        hidden,
        memory,
        projection: &[],
    }
}

impl<T: Real> Shared for Weights<T> {
    fn prepare(&self, arguments: &[FlexTensor]) {
        let [known, weight_fed, weight_hidden] = arguments else {
            unreachable!("what is known, and two weights")
        };
        let zeros = vec![T::ZERO; known.layout().shape()[2]];
        let weights = [slice(weight_fed), slice(weight_hidden)];
        let forward = fed::Forward::new(self.cell, &inputs(weights, &zeros, &[], &[], &[]));
        let [known, weight_fed, weight_hidden] =
            [known, weight_fed, weight_hidden].map(FlexTensor::clone);
        let ready = Ready { known, weight_fed, weight_hidden, zeros, forward };
        assert!(self.ready.set(ready).is_ok(), "weights are prepared once");
    }

    fn gradients(&self) -> Vec<FlexTensor> {
        let Ready { known, weight_fed, weight_hidden, zeros, .. } = self.ready();
        let mut left = std::mem::take(&mut *self.left.lock().expect("no step has panicked"));
        left.sort_by_key(|step| step.position);
        let batch_size = left[0].fed.layout().shape()[0];
        let fed = rows_of(&left, |step| slice(&step.fed));
        let hidden = rows_of(&left, |step| self.states(batch_size, &step.states).0);
        let gates = rows_of(&left, |step| slice(&step.gates));
        let extra = rows_of(&left, |step| slice(&step.extra));
        let rows = self.inputs(&fed, &hidden, &[]);
        let found = fed::gradients(self.cell, &rows, &gates, &extra);

        let d_gates = zeros.len();
        let mut d_known = vec![T::ZERO; slice::<T>(known).len()];
        for step in &left {
            for (row, gates) in slice::<T>(&step.gates).chunks_exact(d_gates).enumerate() {
                let to = &mut d_known[self.known_row(row, step.position) * d_gates..][..d_gates];
                to.iter_mut().zip(gates).for_each(|(sum, value)| *sum += *value);
            }
        }
        vec![
            tensor_like(d_known, known),
            tensor_like(found.weight_input, weight_fed),
            tensor_like(found.weight_hidden, weight_hidden),
        ]
    }
}

/// The numbers of all steps, one after the other.
fn rows_of<'a, T: Real>(left: &'a [Left], of_step: impl Fn(&'a Left) -> &'a [T]) -> Vec<T> {
    left.iter().map(of_step).collect::<Vec<_>>().concat()
}

impl<T> Debug for Weights<T> {
    fn fmt(&self, formatter: &mut Formatter) -> fmt::Result {
        formatter.debug_struct("Weights").field("cell", &self.cell).finish_non_exhaustive()
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
