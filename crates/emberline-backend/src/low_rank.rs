//! Adapters of low rank (Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen: "LoRA: Low-rank adaptation of large language
//! models", 2021).
//!
//! ```text
//! y = x W + b + Σ s (x A) B        A: [d_input, rank]        B: [rank, d_output]
//! ```
//!
//! W is frozen, and A and B learn. No product here is as large as W: [`Linear`](crate::Linear) takes x A first. Whoever
//! reads the weight of an adapted layer by `Param::val` gets `W + Σ s A B`, and by `Param::base` W; Burn's own adapters
//! make that sum in every forward pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, ModuleMapper, Param, Reparameterization};
use burn::tensor::Tensor;
use emberline_core::Stream;

use crate::dropout::Dropout;

/// The adapters of a matrix, which add up.
#[derive(Module, Debug)]
pub struct LowRank {
    /// At least one.
    pub adapters: Vec<LowRankFactors>,
}

/// One adapter of a matrix.
#[derive(Module, Debug)]
pub struct LowRankFactors {
    /// A, `[d_input, rank]`.
    pub a: Param<Tensor<2>>,
    /// B, `[rank, d_output]`.
    pub b: Param<Tensor<2>>,
    /// s.
    pub scale: f64,
    /// Of x, before A.
    pub dropout: Dropout,
    /// Where dropout draws from in training; nothing is dropped where there is none.
    #[module(skip)]
    pub random: Option<(Stream, Draws)>,
}

/// The number of the next draw. The adapters of a model share it, as no layer that has no dropout of its own is handed a
/// stream.
#[derive(Clone, Debug, Default)]
pub struct Draws(Arc<AtomicU64>);

impl Draws {
    /// Says which update begins: its draws follow from its number alone.
    pub fn begin(&self, step: u64) {
        self.0.store(step << 32, Ordering::Relaxed);
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Reparameterization for LowRank {
    const NAME: &'static str = "lora";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let shape = base.shape();
        let adapters = self.adapters.iter().filter(|adapter| !adapter.is_detached());
        adapters.fold(base, |sum, LowRankFactors { a, b, scale, .. }| {
            sum + (a.val() * *scale).matmul(b.val()).reshape(shape.clone())
        })
    }
}

impl LowRankFactors {
    fn is_detached(&self) -> bool {
        self.a.lazy_shape()[1] == 0
    }

    /// x, of which some is dropped in training.
    pub(crate) fn input<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let is_training = self.dropout.is_on.is_enabled() && self.dropout.probability > 0.0;
        let random = self.random.as_ref().filter(|_| is_training);
        self.dropout.forward(input, random.map(|(stream, draws)| stream.at(draws.next())))
    }
}

/// The model without any adapter, its own matrices as they were before, to the last bit.
pub fn without_adapters<M: Module>(model: M) -> M {
    model.map(&mut Detach { is_inside: false }).materialize()
}

/// Leaves an adapter no rank, as only its whole model can drop it.
struct Detach {
    is_inside: bool,
}

impl Detach {
    fn is_adapter(name: &str, container: &str) -> bool {
        container == "Reparameterization" && name == LowRank::NAME
    }
}

impl ModuleMapper for Detach {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.is_inside {
            return param;
        }
        param.map(|factor| {
            let (mut shape, device) = (factor.dims(), factor.device());
            shape[1] = 0;
            Tensor::zeros(shape, &device)
        })
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.is_inside |= Self::is_adapter(name, container);
    }

    fn exit_module(&mut self, name: &str, container: &str) {
        self.is_inside &= !Self::is_adapter(name, container);
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::module::Reparameterizer;
    use burn::tensor::{DType, Device, TensorData};

    use super::*;
    use crate::linear::{Linear, LinearConfig};
    use crate::testing::{finite_differences, random};

    /// Two adapters of every matrix that is none itself.
    struct Adapt {
        dropout: f64,
        random: Option<(Stream, Draws)>,
    }

    impl Reparameterizer for Adapt {
        type Reparam = LowRank;

        fn reparameterize<const D: usize>(
            &mut self,
            _path: &str,
            param: Param<Tensor<D>>,
        ) -> (Param<Tensor<D>>, Option<LowRank>) {
            let &[d_input, d_output] = param.lazy_shape().as_slice() else { return (param, None) };
            let device = param.lazy_device();
            let factor = |name: &str, shape: [usize; 2]| {
                let values = Stream::new(5).named(name).normals(shape[0] * shape[1], 0.5);
                Param::from_data(TensorData::new(values, shape), &device)
            };
            let adapter = |name: &str, rank: usize, scale: f64| LowRankFactors {
                a: factor(&format!("{name} a"), [d_input, rank]),
                b: factor(&format!("{name} b"), [rank, d_output]),
                scale,
                dropout: Dropout::new(self.dropout),
                random: self.random.clone(),
            };
            let adapters = vec![adapter("one", 2, 0.5), adapter("two", 3, -2.0)];
            (param, Some(LowRank { adapters }))
        }
    }

    fn adapted(device: &Device, dropout: f64, random: Option<(Stream, Draws)>) -> [Linear; 2] {
        let linear = LinearConfig::new(7, 5).init(Stream::new(1), device);
        [linear.clone(), linear.apply_reparameterization(Adapt { dropout, random })]
    }

    fn input(n: usize, device: &Device) -> Tensor<2> {
        let values = Stream::new(2).normals(n * 7, 1.0);
        Tensor::from_data(TensorData::new(values, [n, 7]), device)
    }

    fn difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn adapters_add_what_the_merged_matrix_would() {
        let device = crate::test_device();
        for n in [3, 80] {
            let [plain, adapted] = adapted(&device, 0.0, None);
            let merged = adapted.clone().materialize();
            let found = adapted.forward(input(n, &device));
            assert!(difference(found.clone(), merged.forward(input(n, &device))) < 1e-5);
            assert!(difference(found, plain.forward(input(n, &device))) > 0.1);
            let rectified = adapted.forward_relu(input(n, &device));
            assert!(difference(rectified, merged.forward_relu(input(n, &device))) < 1e-5);
            // The base is what it was, and the merged matrix is read as the weight.
            assert_eq!(adapted.weight.base().into_data(), plain.weight.val().into_data());
            assert_eq!(adapted.weight.val().into_data(), merged.weight.val().into_data());
        }
    }

    #[test]
    fn a_layer_without_its_adapters_is_as_before_to_the_last_bit() {
        let device = crate::test_device().autodiff();
        let [plain, adapted] = adapted(&device, 0.0, None);
        let detached = without_adapters(adapted);
        assert!(detached.weight.reparameterization::<LowRank>().is_none());
        assert_eq!(detached.weight.val().into_data(), plain.weight.val().into_data());
        assert!(detached.weight.val().is_require_grad());
    }

    #[test]
    fn adapters_work_on_weights_of_int8() {
        let device = crate::test_device();
        let [plain, adapted] = adapted(&device, 0.0, None);
        let of_adapters = adapted.forward(input(3, &device)) - plain.forward(input(3, &device));
        let int8 = plain.into_int8();
        let expected = int8.forward(input(3, &device)) + of_adapters;
        let adapted = int8.apply_reparameterization(Adapt { dropout: 0.0, random: None });
        assert!(difference(adapted.forward(input(3, &device)), expected) < 1e-5);
    }

    #[test]
    fn gradients_are_the_finite_differences() {
        finite_differences(&[vec![66, 3], vec![3, 5], vec![5], vec![3, 2], vec![2, 5]], |t| {
            let matrix = |index: usize, shape: [usize; 2]| t[index].clone().reshape(shape);
            let weight = Param::from_mapped_value(
                burn::module::ParamId::new(),
                matrix(1, [3, 5]),
                Default::default(),
            );
            let bias = Param::from_mapped_value(
                burn::module::ParamId::new(),
                t[2].clone(),
                Default::default(),
            );
            let factors = [(3, [3, 2]), (4, [2, 5])].map(|(index, shape)| {
                Param::from_mapped_value(
                    burn::module::ParamId::new(),
                    matrix(index, shape),
                    Default::default(),
                )
            });
            struct Given([Param<Tensor<2>>; 2]);
            impl Reparameterizer for Given {
                type Reparam = LowRank;

                fn reparameterize<const D: usize>(
                    &mut self,
                    _path: &str,
                    param: Param<Tensor<D>>,
                ) -> (Param<Tensor<D>>, Option<LowRank>) {
                    let [a, b] = self.0.clone();
                    let dropout = Dropout::new(0.0);
                    let factors = LowRankFactors { a, b, scale: 0.7, dropout, random: None };
                    (param, (D == 2).then(|| LowRank { adapters: vec![factors] }))
                }
            }
            let linear = Linear::new(weight, Some(bias)).apply_reparameterization(Given(factors));
            linear.forward(matrix(0, [66, 3])).reshape([-1])
        });
        assert_eq!(random("argument 0", &[2], &crate::test_device()).dtype(), DType::F64);
    }

    #[test]
    fn dropout_of_an_adapter_is_that_of_its_update_and_off_in_validation() {
        let device = crate::test_device().autodiff();
        let draws = Draws::default();
        let [plain, adapted] = adapted(&device, 0.5, Some((Stream::new(3), draws.clone())));
        let output = |layer: &Linear, device: &Device| layer.forward(input(3, device)).into_data();
        draws.begin(4);
        let first = output(&adapted, &device);
        assert_ne!(output(&adapted, &device), first, "every pass draws anew");
        draws.begin(4);
        assert_eq!(output(&adapted, &device), first);
        draws.begin(5);
        assert_ne!(output(&adapted, &device), first);
        let plain_device = crate::test_device();
        let (valid, merged) = (adapted.valid(), adapted.valid().materialize());
        let [found, expected] =
            [&valid, &merged].map(|layer| layer.forward(input(3, &plain_device)));
        assert!(difference(found, expected) < 1e-5);
        assert_ne!(output(&plain.valid(), &plain_device), output(&valid, &plain_device));
    }
}
