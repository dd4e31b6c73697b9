//! The norm of all gradients together, and scaling them down to a given one.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use emberline_backend::{is_on_host, square_sum};

/// What `torch.nn.utils.clip_grad_norm_` adds to the norm before it divides.
const EPSILON: f64 = 1e-6;

/// The norm of the gradients of a module as one vector, `[1]`, on their device; `None` where
/// there are no gradients.
///
/// `√ Σ gᵢ²`, added up in the order in which the parameters are declared.
pub fn gradient_norm<M: Module>(module: &M, gradients: &GradientsParams) -> Option<Tensor<1>> {
    let mut squares = Squares { gradients, sum: None };
    module.visit(&mut squares);
    squares.sum.map(Tensor::sqrt)
}

/// Scales the gradients to the norm `max_norm` where they are longer, as torch's `clip_grad_norm_`,
/// and returns the norm they had, `[1]`; `None` where there are no gradients.
///
/// `g ← g · min(1, max_norm / (norm + 10⁻⁶))`
pub fn clip_gradient_norm<M: Module>(
    module: &M,
    gradients: &mut GradientsParams,
    max_norm: f64,
) -> Option<Tensor<1>> {
    let norm = gradient_norm(module, gradients)?;
    let factor = ((norm.clone() + EPSILON).recip() * max_norm).clamp_max(1.0);
    // Where looking at the number costs nothing, it saves a pass over short gradients.
    let number = is_on_host(&norm.device()).then(|| factor.clone().into_scalar::<f64>());
    if number != Some(1.0) {
        module.visit(&mut Scale { gradients, factor, number });
    }
    Some(norm)
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(parameter.id) {
            let squares = square_sum(gradient);
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + squares,
                None => squares,
            });
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: Tensor<1>,
    /// The factor, where it was read.
    number: Option<f64>,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(parameter.id) {
            let scaled = match self.number {
                Some(number) => gradient * number,
                None => gradient * self.factor.clone().reshape([1; D]),
            };
            self.gradients.register(parameter.id, scaled);
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    #[derive(Module, Debug)]
    struct Two {
        matrix: Param<Tensor<2>>,
        vector: Param<Tensor<1>>,
    }

    /// A module and gradients 3, 0 and 4 for it.
    fn example() -> (Two, GradientsParams) {
        let device = test_device().autodiff();
        let two = Two {
            matrix: Param::from_data([[1.0, 1.0]], &device),
            vector: Param::from_data([1.0], &device),
        };
        let factors = Tensor::<2>::from_data([[3.0, 0.0]], &device);
        let loss = (two.matrix.val() * factors).sum() + two.vector.val() * 4.0;
        let gradients = GradientsParams::from_grads(loss.backward(), &two);
        (two, gradients)
    }

    fn numbers(two: &Two, gradients: &GradientsParams) -> Vec<f32> {
        let matrix = gradients.get::<2>(two.matrix.id).unwrap().into_data();
        let vector = gradients.get::<1>(two.vector.id).unwrap().into_data();
        matrix.iter().chain(vector.iter()).collect()
    }

    #[test]
    fn gradients_of_three_and_four_have_the_norm_five() {
        let (two, gradients) = example();
        assert_eq!(gradient_norm(&two, &gradients).unwrap().into_scalar::<f32>(), 5.0);
    }

    #[test]
    fn longer_gradients_are_scaled_to_the_norm_all_by_one_factor() {
        let (two, mut gradients) = example();
        let norm = clip_gradient_norm(&two, &mut gradients, 1.0).unwrap();
        assert_eq!(norm.into_scalar::<f32>(), 5.0);
        let scale = 1.0 / (5.0 + 1e-6);
        for (found, expected) in numbers(&two, &gradients).iter().zip([3.0, 0.0, 4.0]) {
            assert!((found - expected * scale).abs() < 1e-6);
        }
    }

    #[test]
    fn shorter_gradients_are_left_as_they_are() {
        let (two, mut gradients) = example();
        clip_gradient_norm(&two, &mut gradients, 5.1).unwrap();
        assert_eq!(numbers(&two, &gradients), [3.0, 0.0, 4.0]);
    }

    #[test]
    fn a_module_without_gradients_has_no_norm() {
        let (two, _) = example();
        assert!(clip_gradient_norm(&two, &mut GradientsParams::new(), 1.0).is_none());
    }
}
