//! The fused operation on Flex, and its place in Burn's automatic differentiation.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

use super::native::{self, Inputs, Saved};
use super::{LstmState, LstmWeights};
use crate::flex::{Real, in_pool, slice, tensor};

/// The LSTM as operations on primitives. Outputs are flat: `[B·T·H]` outputs, then the final hidden and
/// cell states of `[B·H]` each, because a tracked operation has one output.
#[backend_extension(Flex, Autodiff)]
pub(super) trait LstmOperations: Backend {
    fn lstm(
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        cell: FloatTensor<Self>,
        weight_input: FloatTensor<Self>,
        weight_hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        lengths: Option<Vec<usize>>,
    ) -> FloatTensor<Self>;

    /// The same, with what the backward pass needs: the gates and the cells of every step.
    fn lstm_saving(
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        cell: FloatTensor<Self>,
        weight_input: FloatTensor<Self>,
        weight_hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        lengths: Option<Vec<usize>>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// The gradients with respect to input, hidden, cell, input weights, hidden weights and bias.
    #[allow(clippy::type_complexity, clippy::too_many_arguments)]
    fn lstm_backward(
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        cell: FloatTensor<Self>,
        weight_input: FloatTensor<Self>,
        weight_hidden: FloatTensor<Self>,
        outputs: FloatTensor<Self>,
        gates: FloatTensor<Self>,
        cells: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        lengths: Option<Vec<usize>>,
        input_is_tracked: bool,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );
}

pub(super) fn lstm(
    input: Tensor<3>,
    state: LstmState,
    weights: LstmWeights,
    lengths: Option<&[usize]>,
) -> (Tensor<3>, LstmState) {
    let [batch_size, seq_length, _] = input.dims();
    let [_, d_hidden] = state.hidden.dims();
    let flat = Tensor::<1>::from_dispatch(<Dispatch as LstmOperations>::lstm(
        input.into_dispatch(),
        state.hidden.into_dispatch(),
        state.cell.into_dispatch(),
        weights.input.into_dispatch(),
        weights.hidden.into_dispatch(),
        weights.bias.into_dispatch(),
        lengths.map(<[usize]>::to_vec),
    ));
    let (outputs, row) = (batch_size * seq_length * d_hidden, batch_size * d_hidden);
    let part = |start: usize, length: usize| flat.clone().narrow(0, start, length);
    (
        part(0, outputs).reshape([batch_size, seq_length, d_hidden]),
        LstmState {
            hidden: part(outputs, row).reshape([batch_size, d_hidden]),
            cell: part(outputs + row, row).reshape([batch_size, d_hidden]),
        },
    )
}

impl LstmOperations for Flex {
    fn lstm(
        input: FlexTensor,
        hidden: FlexTensor,
        cell: FlexTensor,
        weight_input: FlexTensor,
        weight_hidden: FlexTensor,
        bias: FlexTensor,
        lengths: Option<Vec<usize>>,
    ) -> FlexTensor {
        let tensors = [input, hidden, cell, weight_input, weight_hidden].map(|t| t.to_contiguous());
        let (bias, lengths) = (bias.to_contiguous(), lengths.as_deref());
        in_pool(|| match bias.dtype() {
            DType::F64 => {
                flat(native::forward::<f64>(&inputs(&tensors, lengths), slice(&bias), None))
            }
            _ => flat(native::forward::<f32>(&inputs(&tensors, lengths), slice(&bias), None)),
        })
    }

    fn lstm_saving(
        input: FlexTensor,
        hidden: FlexTensor,
        cell: FlexTensor,
        weight_input: FlexTensor,
        weight_hidden: FlexTensor,
        bias: FlexTensor,
        lengths: Option<Vec<usize>>,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let tensors = [input, hidden, cell, weight_input, weight_hidden].map(|t| t.to_contiguous());
        let (bias, lengths) = (bias.to_contiguous(), lengths.as_deref());
        in_pool(|| match bias.dtype() {
            DType::F64 => saving::<f64>(&inputs(&tensors, lengths), &bias),
            _ => saving::<f32>(&inputs(&tensors, lengths), &bias),
        })
    }

    fn lstm_backward(
        input: FlexTensor,
        hidden: FlexTensor,
        cell: FlexTensor,
        weight_input: FlexTensor,
        weight_hidden: FlexTensor,
        outputs: FlexTensor,
        gates: FlexTensor,
        cells: FlexTensor,
        gradient: FlexTensor,
        lengths: Option<Vec<usize>>,
        input_is_tracked: bool,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let tensors = [input, hidden, cell, weight_input, weight_hidden].map(|t| t.to_contiguous());
        let gradient = gradient.to_contiguous();
        let lengths = lengths.as_deref();
        let saved = (outputs, gates, cells);
        in_pool(|| match gradient.dtype() {
            DType::F64 => {
                backward::<f64>(&inputs(&tensors, lengths), saved, &gradient, input_is_tracked)
            }
            _ => backward::<f32>(&inputs(&tensors, lengths), saved, &gradient, input_is_tracked),
        })
    }
}

fn inputs<'a, T: Real>(
    tensors: &'a [FlexTensor; 5],
    lengths: Option<&'a [usize]>,
) -> Inputs<'a, T> {
    let [input, hidden, cell, weight_input, weight_hidden] = tensors;
    let shape = input.layout().shape();
    Inputs {
        batch_size: shape[0],
        seq_length: shape[1],
        d_input: shape[2],
        d_hidden: hidden.layout().shape()[1],
        input: slice(input),
        hidden: slice(hidden),
        cell: slice(cell),
        weight_input: slice(weight_input),
        weight_hidden: slice(weight_hidden),
        lengths,
    }
}

fn flat<T: Real>(values: Vec<T>) -> FlexTensor {
    let length = values.len();
    tensor(values, [length])
}

fn saving<T: Real>(inputs: &Inputs<T>, bias: &FlexTensor) -> (FlexTensor, FlexTensor, FlexTensor) {
    let mut saved = Saved::default();
    let outputs = native::forward::<T>(inputs, slice(bias), Some(&mut saved));
    (flat(outputs), flat(saved.gates), flat(saved.cells))
}

fn backward<T: Real>(
    inputs: &Inputs<T>,
    (outputs, mut gates, cells): (FlexTensor, FlexTensor, FlexTensor),
    gradient: &FlexTensor,
    input_is_tracked: bool,
) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
    // The gates become their own gradients: nobody else holds them, so this is in place.
    let gates = gates.storage_mut::<T>();
    let found = native::backward(
        inputs,
        slice(&outputs),
        gates,
        slice(&cells),
        slice(gradient),
        input_is_tracked,
    );
    let Inputs { batch_size, seq_length, d_input, d_hidden, .. } = *inputs;
    let input_shape = if input_is_tracked { [batch_size, seq_length, d_input] } else { [0, 0, 0] };
    (
        tensor(found.input, input_shape),
        tensor(found.hidden, [batch_size, d_hidden]),
        tensor(found.cell, [batch_size, d_hidden]),
        tensor(found.weight_input, [d_input, 4 * d_hidden]),
        tensor(found.weight_hidden, [d_hidden, 4 * d_hidden]),
        tensor(found.bias, [4 * d_hidden]),
    )
}

impl<B: Backend + LstmOperations, C: CheckpointStrategy> LstmOperations for Autodiff<B, C> {
    fn lstm(
        input: FloatTensor<Self>,
        hidden: FloatTensor<Self>,
        cell: FloatTensor<Self>,
        weight_input: FloatTensor<Self>,
        weight_hidden: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        lengths: Option<Vec<usize>>,
    ) -> FloatTensor<Self> {
        let nodes = [
            input.node(),
            hidden.node(),
            cell.node(),
            weight_input.node(),
            weight_hidden.node(),
            bias.node(),
        ];
        let parents = [input, hidden, cell, weight_input, weight_hidden]
            .map(|tensor| tensor.into_primitive());
        let [input, hidden, cell, weight_input, weight_hidden] = parents.clone();
        let bias = bias.into_primitive();
        match LstmBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(operation) => {
                let (outputs, gates, cells) = B::lstm_saving(
                    input,
                    hidden,
                    cell,
                    weight_input,
                    weight_hidden,
                    bias,
                    lengths.clone(),
                );
                let state = State { parents, outputs: outputs.clone(), gates, cells, lengths };
                operation.finish(state, outputs)
            }
            OpsKind::UnTracked(operation) => operation.finish(B::lstm(
                input,
                hidden,
                cell,
                weight_input,
                weight_hidden,
                bias,
                lengths,
            )),
        }
    }

    fn lstm_saving(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Option<Vec<usize>>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        unreachable!("only the operation below autodiff saves for the backward pass")
    }

    fn lstm_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Option<Vec<usize>>,
        _: bool,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    ) {
        unreachable!("gradients of gradients are not part of Burn's autodiff")
    }
}

#[derive(Debug)]
struct LstmBackward;

#[derive(Clone, Debug)]
struct State<F> {
    /// Input, hidden, cell, input weights, hidden weights.
    parents: [F; 5],
    outputs: F,
    gates: F,
    cells: F,
    lengths: Option<Vec<usize>>,
}

impl<B: Backend + LstmOperations> Backward<B, 6> for LstmBackward {
    type State = State<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, 6>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let State { parents: [input, hidden, cell, weight_input, weight_hidden], .. } = ops.state;
        let found = B::lstm_backward(
            input,
            hidden,
            cell,
            weight_input,
            weight_hidden,
            ops.state.outputs,
            ops.state.gates,
            ops.state.cells,
            gradient,
            ops.state.lengths,
            ops.parents[0].is_some(),
        );
        let found = [found.0, found.1, found.2, found.3, found.4, found.5];
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
