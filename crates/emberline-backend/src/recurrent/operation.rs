//! The native bodies as one fused operation.

use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

use super::native::{self, Cell, Inputs, Results, Saved};
use super::{CellWeights, Direction, HiddenState, LstmOptions, LstmState, Reading};
use crate::flex::fused::{self, FusedOperation};
use crate::flex::{Real, slice, tensor, tensor_like};

/// What is run: a cell, and how it reads. Its arguments are, in this order: input, input weights, hidden weights, input
/// bias, hidden bias, hidden state, and for an LSTM its memory and, if there is one, its projection. Its output is flat:
/// `[batch_size · seq_length · d_output]` outputs, then the final hidden state and memory.
#[derive(Clone, Debug)]
struct Layer {
    cell: Cell,
    lengths: Option<Vec<usize>>,
    direction: Direction,
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
    let flat: Tensor<1> = fused::run(layer, arguments);
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

impl FusedOperation for Layer {
    fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
        match arguments[0].dtype() {
            DType::F64 => flat(native::forward::<f64>(self.cell, &inputs(arguments, self), None)),
            _ => flat(native::forward::<f32>(self.cell, &inputs(arguments, self), None)),
        }
    }

    fn forward_saving(&self, arguments: &[FlexTensor]) -> Vec<FlexTensor> {
        match arguments[0].dtype() {
            DType::F64 => saving::<f64>(arguments, self),
            _ => saving::<f32>(arguments, self),
        }
    }

    fn backward(
        &self,
        arguments: &[FlexTensor],
        results: Vec<FlexTensor>,
        gradient: FlexTensor,
        is_tracked: &[bool],
    ) -> Vec<FlexTensor> {
        match arguments[0].dtype() {
            DType::F64 => backward::<f64>(arguments, results, &gradient, self, is_tracked[0]),
            _ => backward::<f32>(arguments, results, &gradient, self, is_tracked[0]),
        }
    }
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

fn saving<T: Real>(arguments: &[FlexTensor], layer: &Layer) -> Vec<FlexTensor> {
    let mut saved = Saved::default();
    let outputs = native::forward::<T>(layer.cell, &inputs(arguments, layer), Some(&mut saved));
    vec![flat(outputs), flat(saved.gates), flat(saved.extra)]
}

fn backward<T: Real>(
    arguments: &[FlexTensor],
    results: Vec<FlexTensor>,
    gradient: &FlexTensor,
    layer: &Layer,
    input_is_tracked: bool,
) -> Vec<FlexTensor> {
    let [outputs, mut gates, mut extra] = results.try_into().expect("outputs, gates and extra");
    let results = Results {
        flat: slice(&outputs),
        // Nobody else holds what was saved, so that it becomes its own gradient in place.
        gates: gates.storage_mut(),
        extra: extra.storage_mut(),
        gradient: slice(gradient),
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
        _ => tensor_like(values, argument),
    };
    found.into_iter().zip(arguments).map(shaped).collect()
}
