//! Whether weights are still numbers.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use emberline_backend::square_sum;
use emberline_core::parameters::ModulePath;

/// The path of the first parameter of which the sum of squares is not finite, and that sum.
///
/// Numbers whose squares cannot be added are counted as lost too: no training comes back from there.
pub(crate) fn first_non_finite<M: Module>(module: &M) -> Option<(String, f64)> {
    let mut search = Search { path: ModulePath::default(), found: None };
    module.visit(&mut search);
    search.found
}

struct Search {
    path: ModulePath,
    found: Option<(String, f64)>,
}

impl ModuleVisitor for Search {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        if self.found.is_none() {
            // Read one by one, as the save that follows reads every parameter anyway.
            let sum = square_sum(parameter.val()).into_scalar::<f64>();
            self.found = (!sum.is_finite()).then(|| (self.path.joined(), sum));
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    #[derive(Module, Debug)]
    struct Two {
        first: Param<Tensor<2>>,
        second: Param<Tensor<1>>,
    }

    #[test]
    fn a_parameter_that_is_not_finite_is_found_by_its_path() {
        let found = |second: f32| {
            let device = test_device().autodiff();
            first_non_finite(&Two {
                first: Param::from_data([[1.0, 2.0]], &device),
                second: Param::from_data([0.0, second], &device),
            })
        };
        assert_eq!(found(-3.0), None);
        assert_eq!(found(f32::NEG_INFINITY), Some(("second".to_string(), f64::INFINITY)));
        let (path, sum) = found(f32::NAN).unwrap();
        assert!(path == "second" && sum.is_nan(), "{path} is {sum}");
    }
}
