//! The weights that all steps of a layer share.
//!
//! Autodiff makes a gradient of each argument for each operation and adds them up: of weights, a product and a sum as
//! large as they are for each step. What is shared is instead packed once; the steps leave on their way back what its
//! gradient is made of, and after the last of them it is made once.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, OnceLock};

use burn::backend::DispatchTensor;
use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

use crate::flex::fused::{self, FusedOperation};
use crate::flex::{Real, slice, tensor, tensor_like};
use crate::recurrent::Direction;
use crate::recurrent::native::{Cell, Inputs, Saved, fed};

/// What the steps of a layer share.
pub(super) struct Weights<T> {
    pub(super) cell: Cell,
    ready: OnceLock<Ready<T>>,
    pub(super) backward: OnceLock<fed::Backward<T>>,
    /// Of each step that was on its way back.
    pub(super) left: Mutex<Vec<Left>>,
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
pub(super) struct Left {
    pub(super) position: usize,
    pub(super) fed: FlexTensor,
    pub(super) states: FlexTensor,
    /// The gradients of the gates' sums, `[batch_size, gates · d_hidden]`.
    pub(super) gates: FlexTensor,
    /// See [`Saved`].
    pub(super) extra: FlexTensor,
}

impl<T: Real> Weights<T> {
    /// Shares what is known, the weights of what is fed, and those of the state. Each step has the tensor, which is
    /// without a value, among its own arguments, and [`no_gradient`] for its gradient; that is how autodiff knows that
    /// the steps come before the weights on the way back.
    pub(super) fn share(cell: Cell, arguments: [DispatchTensor; 3]) -> (Arc<Self>, Tensor<1>) {
        let (ready, backward, left) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        let weights = Arc::new(Self { cell, ready, backward, left });
        let token = fused::run(Share { weights: weights.clone() }, arguments.to_vec());
        (weights, token)
    }

    fn ready(&self) -> &Ready<T> {
        self.ready.get().expect("weights are prepared before the first step")
    }

    /// Of one step, or of the rows of many.
    fn inputs<'a>(&'a self, fed: &'a [T], hidden: &'a [T], memory: &'a [T]) -> Inputs<'a, T> {
        let Ready { weight_fed, weight_hidden, zeros, .. } = self.ready();
        inputs([slice(weight_fed), slice(weight_hidden)], zeros, fed, hidden, memory)
    }

    /// Of one step, with the arguments of its operation.
    pub(super) fn of_step<'a>(&'a self, arguments: &'a [FlexTensor]) -> Inputs<'a, T> {
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

    /// The states after a step.
    pub(super) fn forward(
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

impl<T: Real> Weights<T> {
    /// Packs the weights, before the first step. The arguments are contiguous.
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

    /// The gradients of what is shared, after the last step was on its way back.
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

/// What a step gives for the gradient of the shared weights' token.
pub(super) fn no_gradient(dtype: DType) -> FlexTensor {
    match dtype {
        DType::F64 => tensor(vec![0.0f64], [1]),
        _ => tensor(vec![0.0f32], [1]),
    }
}

/// The operation before all steps, on the way back after them.
#[derive(Debug)]
struct Share<T> {
    weights: Arc<Weights<T>>,
}

impl<T: Real> FusedOperation for Share<T> {
    fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
        self.weights.prepare(arguments);
        no_gradient(arguments[0].dtype())
    }

    fn backward(
        &self,
        _arguments: &[FlexTensor],
        _results: Vec<FlexTensor>,
        _gradient: FlexTensor,
        _is_tracked: &[bool],
    ) -> Vec<FlexTensor> {
        self.weights.gradients()
    }
}
