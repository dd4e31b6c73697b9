//! The operation on Flex, and its place in Burn's automatic differentiation.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Int, Tensor};
use burn_flex::FlexTensor;

use super::native;
use crate::flex::{Real, slice, tensor};

/// Cross-entropy as operations on primitives.
#[backend_extension(Flex, Autodiff)]
pub(super) trait CrossEntropyOperations: Backend {
    /// The sum, `[1]`.
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self>;

    /// The gradient with respect to the logits, given that of the sum.
    fn cross_entropy_backward(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

pub(super) fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    Tensor::from_dispatch(<Dispatch as CrossEntropyOperations>::cross_entropy(
        logits.into_dispatch(),
        targets.into_dispatch(),
    ))
}

impl CrossEntropyOperations for Flex {
    fn cross_entropy(logits: FlexTensor, targets: FlexTensor) -> FlexTensor {
        fn sum<T: Real>(logits: &FlexTensor, targets: &[usize]) -> FlexTensor {
            tensor(vec![native::forward::<T>(slice(logits), targets, classes(logits))], [1])
        }
        let logits = logits.to_contiguous();
        let targets = host_targets(&targets, classes(&logits));
        match logits.dtype() {
            DType::F64 => sum::<f64>(&logits, &targets),
            _ => sum::<f32>(&logits, &targets),
        }
    }

    fn cross_entropy_backward(
        logits: FlexTensor,
        targets: FlexTensor,
        gradient: FlexTensor,
    ) -> FlexTensor {
        fn gradients<T: Real>(
            logits: &FlexTensor,
            targets: &[usize],
            gradient: &FlexTensor,
        ) -> FlexTensor {
            let (classes, gradient) = (classes(logits), slice::<T>(gradient)[0]);
            let gradients = native::backward(slice(logits), targets, classes, gradient);
            tensor(gradients, [targets.len(), classes])
        }
        let (logits, gradient) = (logits.to_contiguous(), gradient.to_contiguous());
        let targets = host_targets(&targets, classes(&logits));
        match logits.dtype() {
            DType::F64 => gradients::<f64>(&logits, &targets, &gradient),
            _ => gradients::<f32>(&logits, &targets, &gradient),
        }
    }
}

fn classes(logits: &FlexTensor) -> usize {
    logits.layout().shape()[1]
}

/// The targets as indices.
///
/// # Panics
/// If one is no class.
fn host_targets(targets: &FlexTensor, classes: usize) -> Vec<usize> {
    let targets = targets.clone().into_data();
    let index = |target: i64| {
        let is_class = (0..classes as i64).contains(&target);
        assert!(is_class, "a target of {target} among {classes} classes");
        target as usize
    };
    targets.iter::<i64>().map(index).collect()
}

impl<B: Backend + CrossEntropyOperations, C: CheckpointStrategy> CrossEntropyOperations
    for Autodiff<B, C>
{
    fn cross_entropy(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        let node = logits.node();
        let logits = logits.into_primitive();
        match CrossEntropyBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(operation) => {
                let sum = B::cross_entropy(logits.clone(), targets.clone());
                operation.finish((logits, targets), sum)
            }
            OpsKind::UnTracked(operation) => operation.finish(B::cross_entropy(logits, targets)),
        }
    }

    fn cross_entropy_backward(
        _: FloatTensor<Self>,
        _: IntTensor<Self>,
        _: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        unreachable!("gradients of gradients are not part of Burn's autodiff")
    }
}

#[derive(Debug)]
struct CrossEntropyBackward;

impl<B: Backend + CrossEntropyOperations> Backward<B, 1> for CrossEntropyBackward {
    type State = (FloatTensor<B>, IntTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (logits, targets) = ops.state;
        if let [Some(parent)] = ops.parents {
            let gradient = B::cross_entropy_backward(logits, targets, gradient);
            grads.register::<B>(parent.id, gradient);
        }
    }
}
