//! The native body as one fused operation.

use burn::tensor::{DType, Int, Tensor};
use burn_flex::FlexTensor;

use super::native;
use crate::flex::fused::{self, FusedOperation};
use crate::flex::{Real, slice, tensor, tensor_like};

/// Cross-entropy against these classes; its argument is the logits.
#[derive(Debug)]
struct CrossEntropy {
    targets: Vec<usize>,
}

pub(super) fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [_, classes] = logits.dims();
    let targets = targets.into_data().iter::<i64>().map(|t| class(t, classes)).collect();
    fused::run(CrossEntropy { targets }, vec![logits.into_dispatch()])
}

/// A target as an index.
///
/// # Panics
/// If it is no class.
pub(crate) fn class(target: i64, classes: usize) -> usize {
    let is_class = (0..classes as i64).contains(&target);
    assert!(is_class, "a target of {target} among {classes} classes");
    target as usize
}

impl FusedOperation for CrossEntropy {
    fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
        fn sum<T: Real>(logits: &FlexTensor, targets: &[usize]) -> FlexTensor {
            tensor(vec![native::forward::<T>(slice(logits), targets, classes(logits))], [1])
        }
        match arguments[0].dtype() {
            DType::F64 => sum::<f64>(&arguments[0], &self.targets),
            _ => sum::<f32>(&arguments[0], &self.targets),
        }
    }

    fn backward(
        &self,
        arguments: &[FlexTensor],
        _results: Vec<FlexTensor>,
        gradient: FlexTensor,
        _is_tracked: &[bool],
    ) -> Vec<FlexTensor> {
        fn gradients<T: Real>(
            logits: &FlexTensor,
            targets: &[usize],
            gradient: &FlexTensor,
        ) -> Vec<FlexTensor> {
            let gradient = slice::<T>(gradient)[0];
            let gradients = native::backward(slice(logits), targets, classes(logits), gradient);
            vec![tensor_like(gradients, logits)]
        }
        match arguments[0].dtype() {
            DType::F64 => gradients::<f64>(&arguments[0], &self.targets, &gradient),
            _ => gradients::<f32>(&arguments[0], &self.targets, &gradient),
        }
    }
}

fn classes(logits: &FlexTensor) -> usize {
    logits.layout().shape()[1]
}
