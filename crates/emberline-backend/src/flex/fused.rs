//! A fused operation on Flex and its place in Burn's automatic differentiation, once for all of them.
//!
//! An operation is a value that knows its forward and its backward pass over slices. It takes any number of float
//! tensors and gives one; what else it needs (lengths, masks, a random stream) are its fields.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchTensor, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;

use super::in_pool;
use super::tensors::Tensors;

/// The passes of an operation. Arguments are contiguous and of one type, f32 or f64.
pub(crate) trait FusedOperation: Debug + Send + Sync + 'static {
    /// Whether arguments and gradient may be views of which only the last axis lies side by side.
    fn reads_strides(&self) -> bool {
        false
    }

    /// The output.
    fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor;

    /// The output, and after it what the backward pass needs besides the arguments.
    fn forward_saving(&self, arguments: &[FlexTensor]) -> Vec<FlexTensor> {
        vec![self.forward(arguments)]
    }

    /// The gradients of the arguments, given the output, what was saved, and the output's gradient. Where nobody asks
    /// for a gradient any tensor does.
    ///
    /// Nobody else holds what was saved, so that it can be overwritten in place.
    fn backward(
        &self,
        arguments: &[FlexTensor],
        results: Vec<FlexTensor>,
        gradient: FlexTensor,
        is_tracked: &[bool],
    ) -> Vec<FlexTensor>;
}

/// Runs an operation, with gradients where the tensors have them.
pub(crate) fn run<const D: usize>(
    operation: impl FusedOperation,
    arguments: Vec<DispatchTensor>,
) -> Tensor<D> {
    let operation: Arc<dyn FusedOperation> = Arc::new(operation);
    Tensor::from_dispatch(<Dispatch as Fused>::fused(Tensors(arguments), operation))
}

/// Every fused operation, as operations on primitives.
#[backend_extension(Flex, Autodiff)]
trait Fused: Backend {
    fn fused(
        #[extension_type] arguments: Tensors<Self>,
        operation: Arc<dyn FusedOperation>,
    ) -> FloatTensor<Self>;

    fn fused_saving(
        #[extension_type] arguments: Tensors<Self>,
        operation: Arc<dyn FusedOperation>,
    ) -> Tensors<Self>;

    fn fused_backward(
        #[extension_type] arguments: Tensors<Self>,
        #[extension_type] results: Tensors<Self>,
        gradient: FloatTensor<Self>,
        operation: Arc<dyn FusedOperation>,
        is_tracked: Vec<bool>,
    ) -> Tensors<Self>;
}

impl Fused for Flex {
    fn fused(arguments: Tensors<Self>, operation: Arc<dyn FusedOperation>) -> FlexTensor {
        in_pool(|| operation.forward(&readable(&*operation, arguments)))
    }

    fn fused_saving(arguments: Tensors<Self>, operation: Arc<dyn FusedOperation>) -> Tensors<Self> {
        in_pool(|| Tensors(operation.forward_saving(&readable(&*operation, arguments))))
    }

    fn fused_backward(
        arguments: Tensors<Self>,
        results: Tensors<Self>,
        gradient: FlexTensor,
        operation: Arc<dyn FusedOperation>,
        is_tracked: Vec<bool>,
    ) -> Tensors<Self> {
        in_pool(|| {
            let arguments = readable(&*operation, arguments);
            let gradient = readable(&*operation, Tensors(vec![gradient])).swap_remove(0);
            Tensors(operation.backward(&arguments, results.0, gradient, &is_tracked))
        })
    }
}

/// Copies of the tensors that the operation cannot read as they are, and the others.
fn readable(operation: &dyn FusedOperation, tensors: Tensors<Flex>) -> Vec<FlexTensor> {
    let is_readable = |tensor: &FlexTensor| {
        let strides = tensor.layout().strides();
        let is_forwards = strides.iter().all(|stride| *stride >= 0);
        operation.reads_strides() && is_forwards && strides.last() == Some(&1)
    };
    let readable = |tensor| if is_readable(&tensor) { tensor } else { tensor.to_contiguous() };
    tensors.0.into_iter().map(readable).collect()
}

impl<B: Backend + Fused, C: CheckpointStrategy> Fused for Autodiff<B, C> {
    fn fused(arguments: Tensors<Self>, operation: Arc<dyn FusedOperation>) -> FloatTensor<Self> {
        // The number of parents of a node is part of its type.
        match arguments.0.len() {
            1 => tracked::<B, C, 1>(arguments, operation),
            2 => tracked::<B, C, 2>(arguments, operation),
            3 => tracked::<B, C, 3>(arguments, operation),
            6 => tracked::<B, C, 6>(arguments, operation),
            7 => tracked::<B, C, 7>(arguments, operation),
            8 => tracked::<B, C, 8>(arguments, operation),
            n => unreachable!("no fused operation has {n} arguments"),
        }
    }

    fn fused_saving(_: Tensors<Self>, _: Arc<dyn FusedOperation>) -> Tensors<Self> {
        unreachable!("only the operation below autodiff saves for the backward pass")
    }

    fn fused_backward(
        _: Tensors<Self>,
        _: Tensors<Self>,
        _: FloatTensor<Self>,
        _: Arc<dyn FusedOperation>,
        _: Vec<bool>,
    ) -> Tensors<Self> {
        unreachable!("gradients of gradients are not part of Burn's autodiff")
    }
}

fn tracked<B: Backend + Fused, C: CheckpointStrategy, const N: usize>(
    arguments: Tensors<Autodiff<B, C>>,
    operation: Arc<dyn FusedOperation>,
) -> FloatTensor<Autodiff<B, C>> {
    let arguments: [FloatTensor<Autodiff<B, C>>; N] =
        arguments.0.try_into().expect("as many arguments as were counted");
    let nodes = arguments.each_ref().map(|argument| argument.node());
    let arguments: Vec<_> = arguments.map(|argument| argument.into_primitive()).to_vec();
    match FusedBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let results = B::fused_saving(Tensors(arguments.clone()), operation.clone()).0;
            let output = results[0].clone();
            prepared.finish(State { arguments, results, operation }, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(B::fused(Tensors(arguments), operation)),
    }
}

#[derive(Debug)]
struct FusedBackward;

#[derive(Clone, Debug)]
struct State<F> {
    arguments: Vec<F>,
    results: Vec<F>,
    operation: Arc<dyn FusedOperation>,
}

impl<B: Backend + Fused, const N: usize> Backward<B, N> for FusedBackward {
    type State = State<FloatTensor<B>>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let State { arguments, results, operation } = ops.state;
        let is_tracked = ops.parents.iter().map(Option::is_some).collect();
        let (arguments, results) = (Tensors(arguments), Tensors(results));
        let found = B::fused_backward(arguments, results, gradient, operation, is_tracked);
        for (parent, gradient) in ops.parents.into_iter().zip(found.0) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
