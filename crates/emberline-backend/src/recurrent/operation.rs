//! The fused operation on Flex, and its place in Burn's automatic differentiation.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::FlexTensor;

use super::native::{self, Cell, Inputs, Results, Saved};
use super::{CellWeights, Direction, HiddenState, LstmOptions, LstmState, Reading};
use crate::flex::tensors::Tensors;
use crate::flex::{Real, in_pool, slice, tensor};

/// What is run: a cell, and how it reads. The tensors of the operations are, in this order: input, input weights,
/// hidden weights, input bias, hidden bias, hidden state, and for an LSTM its memory and, if there is one, its
/// projection.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    cell: Cell,
    lengths: Option<Vec<usize>>,
    direction: Direction,
}

/// A recurrent layer as operations on primitives. Outputs are flat: `[batch_size · seq_length · d_output]` outputs,
/// then the final hidden state and memory, because a tracked operation has one output.
#[backend_extension(Flex, Autodiff)]
pub(super) trait RecurrentOperations: Backend {
    fn recurrent(#[extension_type] arguments: Tensors<Self>, layer: Layer) -> FloatTensor<Self>;

    /// The same, followed by what the backward pass needs: gates and extra.
    fn recurrent_saving(#[extension_type] arguments: Tensors<Self>, layer: Layer) -> Tensors<Self>;

    /// The gradients with respect to the arguments; `results` are those of `recurrent_saving`, and the gradient
    /// of its outputs.
    fn recurrent_backward(
        #[extension_type] arguments: Tensors<Self>,
        #[extension_type] results: Tensors<Self>,
        layer: Layer,
        input_is_tracked: bool,
    ) -> Tensors<Self>;
}

/// A layer whose state is its output.
pub(super) fn hidden(
    cell: Cell,
    input: Tensor<3>,
    state: HiddenState,
    weights: CellWeights,
    reading: Reading,
) -> (Tensor<3>, HiddenState) {
    let (outputs, [hidden]) = run(cell, input, weights, [state.hidden], None, reading);
    (outputs, HiddenState { hidden })
}

pub(super) fn lstm(
    input: Tensor<3>,
    state: LstmState,
    weights: CellWeights,
    projection: Option<Tensor<2>>,
    options: LstmOptions,
    reading: Reading,
) -> (Tensor<3>, LstmState) {
    let states = [state.hidden, state.cell];
    let (outputs, [hidden, cell]) =
        run(Cell::Lstm(options), input, weights, states, projection, reading);
    (outputs, LstmState { hidden, cell })
}

fn run<const N: usize>(
    cell: Cell,
    input: Tensor<3>,
    weights: CellWeights,
    states: [Tensor<2>; N],
    projection: Option<Tensor<2>>,
    reading: Reading,
) -> (Tensor<3>, [Tensor<2>; N]) {
    let [batch_size, seq_length, _] = input.dims();
    let widths = states.each_ref().map(|state| state.dims()[1]);
    let d_output = widths[0];
    let mut arguments = vec![
        input.into_dispatch(),
        weights.input.into_dispatch(),
        weights.hidden.into_dispatch(),
        weights.bias_input.into_dispatch(),
        weights.bias_hidden.into_dispatch(),
    ];
    arguments.extend(states.map(Tensor::into_dispatch));
    arguments.extend(projection.map(Tensor::into_dispatch));
    let layer = Layer {
        cell,
        lengths: reading.lengths.map(<[usize]>::to_vec),
        direction: reading.direction,
    };
    let flat = <Dispatch as RecurrentOperations>::recurrent(Tensors(arguments), layer);
    let flat = Tensor::<1>::from_dispatch(flat);
    let n_outputs = batch_size * seq_length * d_output;
    let outputs = flat.clone().narrow(0, 0, n_outputs);
    let mut at = n_outputs;
    let states = widths.map(|width| {
        let state = flat.clone().narrow(0, at, batch_size * width);
        at += batch_size * width;
        state.reshape([batch_size, width])
    });
    (outputs.reshape([batch_size, seq_length, d_output]), states)
}

impl RecurrentOperations for Flex {
    fn recurrent(arguments: Tensors<Self>, layer: Layer) -> FlexTensor {
        let arguments = contiguous(arguments);
        in_pool(|| match arguments[0].dtype() {
            DType::F64 => {
                flat(native::forward::<f64>(layer.cell, &inputs(&arguments, &layer), None))
            }
            _ => flat(native::forward::<f32>(layer.cell, &inputs(&arguments, &layer), None)),
        })
    }

    fn recurrent_saving(arguments: Tensors<Self>, layer: Layer) -> Tensors<Self> {
        let arguments = contiguous(arguments);
        in_pool(|| match arguments[0].dtype() {
            DType::F64 => saving::<f64>(&arguments, &layer),
            _ => saving::<f32>(&arguments, &layer),
        })
    }

    fn recurrent_backward(
        arguments: Tensors<Self>,
        results: Tensors<Self>,
        layer: Layer,
        input_is_tracked: bool,
    ) -> Tensors<Self> {
        let arguments = contiguous(arguments);
        in_pool(|| match arguments[0].dtype() {
            DType::F64 => backward::<f64>(&arguments, results, &layer, input_is_tracked),
            _ => backward::<f32>(&arguments, results, &layer, input_is_tracked),
        })
    }
}

fn contiguous(tensors: Tensors<Flex>) -> Vec<FlexTensor> {
    tensors.0.into_iter().map(|tensor| tensor.to_contiguous()).collect()
}

fn inputs<'a, T: Real>(arguments: &'a [FlexTensor], layer: &'a Layer) -> Inputs<'a, T> {
    let [input, weight_input, weight_hidden, bias_input, bias_hidden, hidden, rest @ ..] =
        arguments
    else {
        unreachable!("a recurrent layer has six arguments at least")
    };
    let shape = input.layout().shape();
    let d_output = hidden.layout().shape()[1];
    Inputs {
        batch_size: shape[0],
        seq_length: shape[1],
        d_input: shape[2],
        d_output,
        d_hidden: rest.first().map_or(d_output, |memory| memory.layout().shape()[1]),
        lengths: layer.lengths.as_deref(),
        direction: layer.direction,
        input: slice(input),
        weight_input: slice(weight_input),
        weight_hidden: slice(weight_hidden),
        bias_input: slice(bias_input),
        bias_hidden: slice(bias_hidden),
        hidden: slice(hidden),
        memory: rest.first().map_or(&[], slice),
        projection: rest.get(1).map_or(&[], slice),
    }
}

fn flat<T: Real>(values: Vec<T>) -> FlexTensor {
    let length = values.len();
    tensor(values, [length])
}

fn saving<T: Real>(arguments: &[FlexTensor], layer: &Layer) -> Tensors<Flex> {
    let mut saved = Saved::default();
    let outputs = native::forward::<T>(layer.cell, &inputs(arguments, layer), Some(&mut saved));
    Tensors(vec![flat(outputs), flat(saved.gates), flat(saved.extra)])
}

fn backward<T: Real>(
    arguments: &[FlexTensor],
    results: Tensors<Flex>,
    layer: &Layer,
    input_is_tracked: bool,
) -> Tensors<Flex> {
    let [outputs, mut gates, mut extra, gradient] =
        results.0.try_into().expect("outputs, gates, extra and the gradient");
    let gradient = gradient.to_contiguous();
    let results = Results {
        flat: slice(&outputs),
        // Nobody else holds what was saved, so that it becomes its own gradient in place.
        gates: gates.storage_mut(),
        extra: extra.storage_mut(),
        gradient: slice(&gradient),
    };
    let inputs = inputs::<T>(arguments, layer);
    let found = native::backward(layer.cell, &inputs, results, input_is_tracked);
    let found = [
        found.input,
        found.weight_input,
        found.weight_hidden,
        found.bias_input,
        found.bias_hidden,
        found.hidden,
        found.memory,
        found.projection,
    ];
    let shaped = |(values, argument): (Vec<T>, &FlexTensor)| match values.len() {
        // Nobody asks for the gradient of an input that is not tracked.
        0 => flat(values),
        _ => FlexTensor::from_data(TensorData::new(values, argument.layout().shape().clone())),
    };
    Tensors(found.into_iter().zip(arguments).map(shaped).collect())
}

impl<B: Backend + RecurrentOperations, C: CheckpointStrategy> RecurrentOperations
    for Autodiff<B, C>
{
    fn recurrent(arguments: Tensors<Self>, layer: Layer) -> FloatTensor<Self> {
        match arguments.0.len() {
            6 => tracked::<B, C, 6>(arguments, layer),
            7 => tracked::<B, C, 7>(arguments, layer),
            _ => tracked::<B, C, 8>(arguments, layer),
        }
    }

    fn recurrent_saving(_: Tensors<Self>, _: Layer) -> Tensors<Self> {
        unreachable!("only the operation below autodiff saves for the backward pass")
    }

    fn recurrent_backward(_: Tensors<Self>, _: Tensors<Self>, _: Layer, _: bool) -> Tensors<Self> {
        unreachable!("gradients of gradients are not part of Burn's autodiff")
    }
}

fn tracked<B: Backend + RecurrentOperations, C: CheckpointStrategy, const N: usize>(
    arguments: Tensors<Autodiff<B, C>>,
    layer: Layer,
) -> FloatTensor<Autodiff<B, C>> {
    let arguments: [FloatTensor<Autodiff<B, C>>; N] =
        arguments.0.try_into().expect("as many arguments as were counted");
    let nodes = arguments.each_ref().map(|argument| argument.node());
    let arguments: Vec<_> = arguments.map(|argument| argument.into_primitive()).to_vec();
    match RecurrentBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(operation) => {
            let results = B::recurrent_saving(Tensors(arguments.clone()), layer.clone()).0;
            let outputs = results[0].clone();
            operation.finish(State { arguments, results, layer }, outputs)
        }
        OpsKind::UnTracked(operation) => operation.finish(B::recurrent(Tensors(arguments), layer)),
    }
}

#[derive(Debug)]
struct RecurrentBackward;

#[derive(Clone, Debug)]
struct State<F> {
    arguments: Vec<F>,
    /// Outputs, gates, extra.
    results: Vec<F>,
    layer: Layer,
}

impl<B: Backend + RecurrentOperations, const N: usize> Backward<B, N> for RecurrentBackward {
    type State = State<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let State { arguments, mut results, layer } = ops.state;
        results.push(gradient);
        let input_is_tracked = ops.parents[0].is_some();
        let found =
            B::recurrent_backward(Tensors(arguments), Tensors(results), layer, input_is_tracked);
        for (parent, gradient) in ops.parents.into_iter().zip(found.0) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
