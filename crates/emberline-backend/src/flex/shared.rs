//! Arguments that many operations of one pass share.
//!
//! Autodiff makes a gradient of each argument for each operation and adds them up: of weights that are used at every step
//! of a sequence, a product and a sum as large as the weights for each step. What is shared is instead made ready once;
//! the operations leave on their way back what its gradient is made of, and after the last of them it is made once.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::DispatchTensor;
use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

use super::fused::{self, FusedOperation};
use super::tensor;

/// What operations make of arguments that they share.
///
/// Generic over it: [`share`]. Implementors: the weights of a fed layer, and a source that is attended to.
pub(crate) trait Shared: Debug + Send + Sync + 'static {
    /// Makes the arguments ready, before the first operation. They are contiguous.
    fn prepare(&self, arguments: &[FlexTensor]);

    /// The gradients of the arguments, after the last operation that uses them was on its way back.
    fn gradients(&self) -> Vec<FlexTensor>;
}

/// Shares arguments. Every operation that uses them has the result, which has no value, among its own arguments, and
/// [`no_gradient`] for its gradient; that is how autodiff knows the order of the ways back.
pub(crate) fn share(shared: Arc<impl Shared>, arguments: Vec<DispatchTensor>) -> Tensor<1> {
    fused::run(Share { shared }, arguments)
}

/// What an operation gives for the gradient of [`share`]'s result.
pub(crate) fn no_gradient(dtype: DType) -> FlexTensor {
    match dtype {
        DType::F64 => tensor(vec![0.0f64], [1]),
        _ => tensor(vec![0.0f32], [1]),
    }
}

#[derive(Debug)]
struct Share<S> {
    shared: Arc<S>,
}

impl<S: Shared> FusedOperation for Share<S> {
    fn forward(&self, arguments: &[FlexTensor]) -> FlexTensor {
        self.shared.prepare(arguments);
        no_gradient(arguments[0].dtype())
    }

    fn backward(
        &self,
        _arguments: &[FlexTensor],
        _results: Vec<FlexTensor>,
        _gradient: FlexTensor,
        _is_tracked: &[bool],
    ) -> Vec<FlexTensor> {
        self.shared.gradients()
    }
}
