//! Optimizers with the arithmetic and the defaults of torch.
//!
//! AdamW is ours, since it is one pass over memory (see [`emberline_backend::adamw_step`]); plain
//! gradient descent is Burn's. The trainer takes any [`ModuleOptimizer`], so every other optimizer
//! of Burn can be used as well.

use burn::module::Module;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdaptiveMomentumState, ModuleOptimizer, Optimizer, SgdConfig as BurnSgdConfig};
use burn::tensor::{Device, Tensor};
use emberline_backend::{AdamWStep, adamw_step};
use emberline_core::parameters::parameters;
use serde::{Deserialize, Serialize};

use crate::adagrad::{Adagrad, AdagradConfig};
use crate::config::{ConfigError, require};
use crate::rates::{RateGroup, with_rates};

/// Which optimizer, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum OptimizerConfig {
    /// Stochastic gradient descent.
    Sgd(SgdConfig),
    /// Adam (Kingma and Ba, 2015).
    Adam(AdamConfig),
    /// AdamW (Loshchilov and Hutter, 2019).
    AdamW(AdamWConfig),
    /// AdamW as BERT was trained (Devlin and others, 2018), whose code leaves the correction of the moments out.
    BertAdam(BertAdamConfig),
    /// Adagrad (Duchi and others, 2011).
    Adagrad(AdagradConfig),
}

/// `b ← μ b + g`, `p ← p - η b`; as `torch.optim.SGD` without dampening, so the first `b` is `g`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// μ; 0 keeps no state.
    pub momentum: f64,
    /// Whether the step is along `g + μ b` (Nesterov) instead of `b`.
    pub nesterov: bool,
}

/// The numbers of Adam.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// The decay of the mean of the gradients.
    pub beta_1: f64,
    /// The decay of the mean of their squares.
    pub beta_2: f64,
    /// Added to the root of the mean of the squares.
    pub epsilon: f64,
}

/// The numbers of AdamW.
///
/// Parameters of fewer than two dimensions, the biases and the gains of norms, do not decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// The decay of the mean of the gradients.
    pub beta_1: f64,
    /// The decay of the mean of their squares.
    pub beta_2: f64,
    /// Added to the root of the mean of the squares.
    pub epsilon: f64,
    /// The part of each weight, times the learning rate, that an update takes away.
    pub weight_decay: f64,
}

/// The numbers of BERT's Adam: `p ← p - η (m / (√v + ε) + λ p)`.
///
/// The moments start at 0 and are used as they are, so that the first updates are up to three times as large as those of
/// torch. What decays is as in [`AdamWConfig`], which is what BERT's code says by names: no bias, and nothing of a norm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BertAdamConfig {
    /// The decay of the mean of the gradients.
    pub beta_1: f64,
    /// The decay of the mean of their squares.
    pub beta_2: f64,
    /// Added to the root of the mean of the squares.
    pub epsilon: f64,
    /// The part of each weight, times the learning rate, that an update takes away.
    pub weight_decay: f64,
}

impl Default for BertAdamConfig {
    /// Those of the published code.
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-6, weight_decay: 1e-2 }
    }
}

impl Default for AdamConfig {
    /// Those of the paper, and of torch.
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8 }
    }
}

impl Default for AdamWConfig {
    /// Those of torch.
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 }
    }
}

impl OptimizerConfig {
    /// The optimizer of a model, without state.
    pub fn init<M: Module>(&self, model: &M) -> ModuleOptimizer {
        self.init_with_rates(model, &[])
    }

    /// The same, with groups whose rates differ from that of the schedule. No parameter is in two of them.
    pub fn init_with_rates<M: Module>(&self, model: &M, groups: &[RateGroup]) -> ModuleOptimizer {
        match *self {
            Self::Sgd(SgdConfig { momentum, nesterov }) => {
                // Burn's default of the dampening is not 0.
                let state = MomentumConfig::new().with_momentum(momentum).with_dampening(0.0);
                let state = (momentum > 0.0).then(|| state.with_nesterov(nesterov));
                let sgd = BurnSgdConfig::new().with_momentum(state).build();
                with_rates(sgd.clone(), sgd, Vec::new(), groups)
            }
            Self::Adam(AdamConfig { beta_1, beta_2, epsilon }) => {
                let numbers = AdamWConfig { beta_1, beta_2, epsilon, weight_decay: 0.0 };
                AdamW { numbers, corrects_bias: true }.init(model, groups)
            }
            Self::AdamW(numbers) => AdamW { numbers, corrects_bias: true }.init(model, groups),
            Self::BertAdam(BertAdamConfig { beta_1, beta_2, epsilon, weight_decay }) => {
                let numbers = AdamWConfig { beta_1, beta_2, epsilon, weight_decay };
                AdamW { numbers, corrects_bias: false }.init(model, groups)
            }
            Self::Adagrad(numbers) => {
                let adagrad = Adagrad(numbers);
                with_rates(adagrad.clone(), adagrad, Vec::new(), groups)
            }
        }
    }

    /// What an update takes away of each weight, times the learning rate.
    pub fn weight_decay(&self) -> f64 {
        match *self {
            Self::Sgd(_) | Self::Adam(_) | Self::Adagrad(_) => 0.0,
            Self::AdamW(config) => config.weight_decay,
            Self::BertAdam(config) => config.weight_decay,
        }
    }

    /// Whether the numbers can be trained with.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fraction = "at least 0 and below 1";
        let is_fraction = |number: f64| (0.0..1.0).contains(&number);
        let is_positive = |number: f64| number.is_finite() && number > 0.0;
        let (beta_1, beta_2, epsilon, weight_decay) = match *self {
            Self::Sgd(SgdConfig { momentum, nesterov }) => {
                require(is_fraction(momentum), "optimizer.momentum", fraction, momentum)?;
                let holds = !nesterov || momentum > 0.0;
                return require(holds, "optimizer.nesterov", "false without momentum", nesterov);
            }
            Self::Adagrad(AdagradConfig { initial_accumulator, epsilon }) => {
                let field = "optimizer.initial_accumulator";
                let is_number = |number: f64| number.is_finite() && number >= 0.0;
                let number = "a number of at least 0";
                require(is_number(initial_accumulator), field, number, initial_accumulator)?;
                require(is_number(epsilon), "optimizer.epsilon", number, epsilon)?;
                // A gradient of 0 would divide 0 by 0.
                let holds = initial_accumulator > 0.0 || epsilon > 0.0;
                let positive = "above 0 where `epsilon` is 0";
                return require(holds, field, positive, initial_accumulator);
            }
            Self::Adam(c) => (c.beta_1, c.beta_2, c.epsilon, 0.0),
            Self::AdamW(c) => (c.beta_1, c.beta_2, c.epsilon, c.weight_decay),
            Self::BertAdam(c) => (c.beta_1, c.beta_2, c.epsilon, c.weight_decay),
        };
        require(is_fraction(beta_1), "optimizer.beta_1", fraction, beta_1)?;
        require(is_fraction(beta_2), "optimizer.beta_2", fraction, beta_2)?;
        require(is_positive(epsilon), "optimizer.epsilon", "a number above 0", epsilon)?;
        let holds = weight_decay.is_finite() && weight_decay >= 0.0;
        require(holds, "optimizer.weight_decay", "a number of at least 0", weight_decay)
    }
}

/// AdamW in one pass over memory, in place on the CPU.
#[derive(Clone, Debug)]
pub struct AdamW {
    numbers: AdamWConfig,
    corrects_bias: bool,
}

impl AdamW {
    /// The optimizer of a model whose parameters of fewer than two dimensions do not decay.
    fn init<M: Module>(self, model: &M, groups: &[RateGroup]) -> ModuleOptimizer {
        let undecayed = parameters(model).into_iter().filter(|p| p.shape.len() < 2);
        let undecayed = undecayed.map(|parameter| parameter.path).collect();
        let numbers = AdamWConfig { weight_decay: 0.0, ..self.numbers };
        let without_decay = Self { numbers, ..self.clone() };
        with_rates(self, without_decay, undecayed, groups)
    }
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdaptiveMomentumState<D>;

    fn step<const D: usize>(
        &self,
        learning_rate: f64,
        parameter: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdaptiveMomentumState<D>>,
    ) -> (Tensor<D>, Option<AdaptiveMomentumState<D>>) {
        let state = state.unwrap_or_else(|| {
            AdaptiveMomentumState::new(0, parameter.zeros_like(), parameter.zeros_like())
        });
        let AdamWConfig { beta_1, beta_2, epsilon, weight_decay } = self.numbers;
        let time = state.time + 1;
        let corrects_bias = self.corrects_bias;
        let step =
            AdamWStep { learning_rate, beta_1, beta_2, epsilon, weight_decay, time, corrects_bias };
        let (parameter, moment_1, moment_2) =
            adamw_step(parameter, gradient, state.moment_1, state.moment_2, &step);
        (parameter, Some(AdaptiveMomentumState::new(time, moment_1, moment_2)))
    }

    fn to_device<const D: usize>(
        mut state: AdaptiveMomentumState<D>,
        device: &Device,
    ) -> AdaptiveMomentumState<D> {
        state.moment_1 = state.moment_1.to_device(device);
        state.moment_2 = state.moment_2.to_device(device);
        state
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::optim::GradientsParams;
    use emberline_backend::{storage_address, test_device};
    use emberline_core::parameters::with_ids_from_paths;

    use super::*;

    #[derive(Module, Debug)]
    struct Line {
        weight: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
    }

    fn line() -> Line {
        let device = test_device().autodiff();
        with_ids_from_paths(Line {
            weight: Param::from_data([[2.0], [-1.0]], &device),
            bias: Param::from_data([0.5], &device),
        })
    }

    /// Gradients of the weights: 1 and 3; of the bias: `bias_gradient`.
    fn gradients(line: &Line, bias_gradient: f64) -> GradientsParams {
        let input = Tensor::<2>::from_data([[1.0, 3.0]], &line.weight.val().device());
        let loss = input.matmul(line.weight.val()).sum() + line.bias.val() * bias_gradient;
        GradientsParams::from_grads(loss.backward(), line)
    }

    fn numbers(line: &Line) -> Vec<f64> {
        let weight: Vec<f64> = line.weight.val().into_data().iter().collect();
        weight.into_iter().chain(line.bias.val().into_data().iter()).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    #[test]
    fn the_first_update_of_adamw_is_the_sign_of_the_gradient_and_spares_biases_from_decay() {
        let numbers_of = AdamWConfig { weight_decay: 0.5, ..Default::default() };
        let line = line();
        let mut optimizer = OptimizerConfig::AdamW(numbers_of).init(&line);
        let gradients = gradients(&line, 2.0);
        let line = optimizer.step(0.1, line, gradients);
        assert_close(&numbers(&line), &[2.0 * 0.95 - 0.1, -0.95 - 0.1, 0.5 - 0.1]);
    }

    /// `m = 0.1 g`, `v = 0.001 g²`, so that the first step is 3.16 times the sign of the gradient; the second by hand.
    #[test]
    fn berts_adam_corrects_nothing_and_spares_biases_from_decay() {
        let config = BertAdamConfig { weight_decay: 0.5, ..Default::default() };
        let mut line = line();
        let mut optimizer = OptimizerConfig::BertAdam(config).init(&line);
        let step =
            |p: f64, m: f64, v: f64, decay: f64| p - 0.1 * (m / (v.sqrt() + 1e-6) + decay * p);
        let moments = |g: f64, m: f64, v: f64| (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g);
        let parameters = [(2.0, 1.0, 0.5), (-1.0, 3.0, 0.5), (0.5, 2.0, 0.0)];
        let mut expected = parameters.map(|(p, g, decay)| (p, g, decay, (0.0, 0.0)));
        for update in 0..3 {
            let of_line = gradients(&line, 2.0);
            line = optimizer.step(0.1, line, of_line);
            for (p, g, decay, (m, v)) in &mut expected {
                (*m, *v) = moments(*g, *m, *v);
                *p = step(*p, *m, *v, *decay);
            }
            assert_close(&numbers(&line), &expected.map(|(p, ..)| p));
            if update == 0 {
                assert!((expected[2].0 - (0.5 - 0.1 * 10.0f64.sqrt())).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_group_learns_at_its_own_rate_and_its_biases_do_not_decay_either() {
        let numbers_of = AdamWConfig { weight_decay: 0.5, ..Default::default() };
        for config in [OptimizerConfig::AdamW(numbers_of), OptimizerConfig::Sgd(Default::default())]
        {
            let line = line();
            let group = |path: &str, factor| RateGroup { parameters: vec![path.into()], factor };
            let groups = [group("weight", 0.5), group("bias", 10.0)];
            let mut optimizer = config.init_with_rates(&line, &groups);
            let gradients = gradients(&line, 2.0);
            let line = optimizer.step(0.1, line, gradients);
            match config {
                OptimizerConfig::Sgd(_) => assert_close(&numbers(&line), &[1.95, -1.15, -1.5]),
                _ => assert_close(&numbers(&line), &[2.0 * 0.975 - 0.05, -0.975 - 0.05, -0.5]),
            }
        }
    }

    #[test]
    fn adam_does_not_decay_anything() {
        let line = line();
        let mut optimizer = OptimizerConfig::Adam(AdamConfig::default()).init(&line);
        let gradients = gradients(&line, -2.0);
        let line = optimizer.step(0.1, line, gradients);
        assert_close(&numbers(&line), &[1.9, -1.1, 0.6]);
    }

    /// `b₁ = g`, `b₂ = μ g + g`; Nesterov steps along `g + μ b`.
    #[test]
    fn momentum_is_that_of_torch() {
        for (nesterov, first, second) in [(false, 1.0, 1.5), (true, 1.5, 1.75)] {
            let config = SgdConfig { momentum: 0.5, nesterov };
            let mut line = line();
            let mut optimizer = OptimizerConfig::Sgd(config).init(&line);
            for _ in 0..2 {
                let gradients = gradients(&line, 1.0);
                line = optimizer.step(0.1, line, gradients);
            }
            let moved = 0.1 * (first + second);
            assert_close(&numbers(&line), &[2.0 - moved, -1.0 - 3.0 * moved, 0.5 - moved]);
        }
    }

    /// TensorFlow's start at 1: `a = 1 + g²`, then `1 + 2 g²`.
    #[test]
    fn adagrad_divides_by_the_root_of_all_squares_and_where_they_start() {
        let numbers_of = AdagradConfig { initial_accumulator: 1.0, epsilon: 0.0 };
        let config = OptimizerConfig::Adagrad(numbers_of);
        let mut line = line();
        let mut optimizer = config.init(&line);
        for _ in 0..2 {
            let gradients = gradients(&line, 2.0);
            line = optimizer.step(0.1, line, gradients);
        }
        let moved = |g: f64| 0.1 * (g / (1.0 + g * g).sqrt() + g / (1.0 + 2.0 * g * g).sqrt());
        assert_close(&numbers(&line), &[2.0 - moved(1.0), -1.0 - moved(3.0), 0.5 - moved(2.0)]);
    }

    #[test]
    fn a_model_is_updated_in_place() {
        let mut line = line();
        let mut optimizer = OptimizerConfig::AdamW(AdamWConfig::default()).init(&line);
        let before = storage_address(&line.weight.val());
        for _ in 0..2 {
            let gradients = gradients(&line, 1.0);
            line = optimizer.step(0.1, line, gradients);
            assert_eq!(storage_address(&line.weight.val()), before);
        }
    }

    #[test]
    fn the_state_survives_being_written_and_read_by_another_process() {
        let step = |optimizer: &mut ModuleOptimizer, line: Line| {
            let gradients = gradients(&line, 1.0);
            optimizer.step(0.1, line, gradients)
        };
        for config in [
            OptimizerConfig::AdamW(AdamWConfig::default()),
            OptimizerConfig::Adagrad(AdagradConfig::default()),
        ] {
            let mut optimizer = config.init(&line());
            let line_1 = step(&mut optimizer, line());
            let bytes = optimizer.into_bytes().unwrap();
            let expected = step(&mut optimizer, line_1.clone());

            let mut restored = config.init(&line()).from_bytes(bytes).unwrap();
            let found = step(&mut restored, line_1);
            assert_eq!(numbers(&found), numbers(&expected));
        }
    }

    #[test]
    fn an_optimizer_is_read_by_its_name_and_unknown_keys_are_refused() {
        let read = serde_json::from_str::<OptimizerConfig>;
        let config = read(r#"{"name": "adamw", "beta_2": 0.95}"#).unwrap();
        assert_eq!(
            config,
            OptimizerConfig::AdamW(AdamWConfig { beta_2: 0.95, ..Default::default() })
        );
        let error = read(r#"{"name": "adam", "weight_decay": 0.1}"#).unwrap_err().to_string();
        assert!(error.contains("weight_decay"), "{error}");
        let config = read(r#"{"name": "bertadam"}"#).unwrap();
        assert_eq!(config, OptimizerConfig::BertAdam(BertAdamConfig::default()));
        let error = read(r#"{"name": "lion"}"#).unwrap_err().to_string();
        assert!(error.contains("lion") && error.contains("adamw"), "{error}");
    }

    #[test]
    fn numbers_that_cannot_be_name_their_field() {
        let error = OptimizerConfig::Sgd(SgdConfig { momentum: 0.0, nesterov: true }).validate();
        assert!(error.unwrap_err().to_string().starts_with("optimizer.nesterov"));
        let config = AdagradConfig { initial_accumulator: 0.0, epsilon: 0.0 };
        let error = OptimizerConfig::Adagrad(config).validate().unwrap_err().to_string();
        assert!(error.starts_with("optimizer.initial_accumulator must be above 0"), "{error}");
        let config = AdamConfig { beta_2: 1.0, ..Default::default() };
        let error = OptimizerConfig::Adam(config).validate().unwrap_err().to_string();
        assert_eq!(error, "optimizer.beta_2 must be at least 0 and below 1, but is 1");
    }
}
