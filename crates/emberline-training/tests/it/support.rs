//! A model small enough to check by hand, with everything that can go wrong on resume: a carried
//! state, dropout, several micro-batches.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{CheckpointError, Stored, Weights, load_weights, save_weights};
use emberline_core::{Carry, Count, Loss, Stream};
use emberline_training::{
    AdamWConfig, Data, Event, Metrics, ModelFiles, Objective, Observer, OptimizerConfig, RateCurve,
    RateFinder, Schedule, Trained, Trainer, TrainingConfig, TrainingError, read_metrics,
};
use serde_json::Value;

pub const D_INPUT: usize = 2;
const SEQ_LENGTH: usize = 3;

/// `h ← tanh(x W + h U + b)`, `y = h V`
#[derive(Module, Debug)]
pub struct TinyRnn {
    input: Param<Tensor<2>>,
    hidden: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    output: Param<Tensor<2>>,
}

impl TinyRnn {
    pub fn new(d_hidden: usize, device: &Device) -> Self {
        let random = Stream::new(7);
        let matrix = |name: &str, shape: [usize; 2]| {
            let numbers = random.named(name).normals(shape[0] * shape[1], 0.4);
            Param::from_data(TensorData::new(numbers, shape), device)
        };
        Self {
            input: matrix("input", [D_INPUT, d_hidden]),
            hidden: matrix("hidden", [d_hidden, d_hidden]),
            bias: Param::from_data(TensorData::new(vec![0.0f32; d_hidden], [d_hidden]), device),
            output: matrix("output", [d_hidden, 1]),
        }
    }

    /// The weights that are frozen by [`Experiment::resume_thawing`].
    pub fn input(&self) -> Vec<f32> {
        self.input.val().into_data().iter().collect()
    }

    /// Every weight, in the order of declaration.
    pub fn numbers(&self) -> Vec<f32> {
        let vector = |data: TensorData| data.iter::<f32>().collect::<Vec<_>>();
        let matrix = |matrix: &Param<Tensor<2>>| vector(matrix.val().into_data());
        let bias = vector(self.bias.val().into_data());
        [matrix(&self.input), matrix(&self.hidden), bias, matrix(&self.output)].concat()
    }
}

/// The hidden state, `[batch_size, d_hidden]`.
#[derive(Clone)]
pub struct Hidden(Tensor<2>);

impl Carry for Hidden {
    fn detach(self) -> Self {
        Self(self.0.detach())
    }

    fn to_data(&self) -> Vec<TensorData> {
        vec![self.0.to_data()]
    }

    fn from_data(data: Vec<TensorData>, device: &Device) -> Option<Self> {
        let [data] = data.try_into().ok()?;
        (data.shape().num_dims() == 2).then(|| Self(Tensor::from_data(data, device)))
    }
}

/// Inputs `[SEQ_LENGTH]` of `[batch_size, D_INPUT]`, targets likewise of `[batch_size, 1]`.
pub struct Rows {
    inputs: Vec<Tensor<2>>,
    targets: Vec<Tensor<2>>,
}

/// The squared error.
pub struct SquaredError {
    /// The probability that a hidden number is dropped.
    pub dropout: f64,
}

impl Objective<TinyRnn> for SquaredError {
    type Batch = Rows;
    type Carry = Hidden;

    fn counts(&self, batch: &Rows) -> Vec<Count> {
        let count = (batch.inputs[0].dims()[0] * SEQ_LENGTH) as f64;
        vec![Count { term: "squared_error", count }]
    }

    fn loss(
        &self,
        model: &TinyRnn,
        batch: &Rows,
        carry: Option<Hidden>,
        dropout: Option<Stream>,
    ) -> (Loss, Hidden) {
        let device = model.bias.val().device();
        let ([batch_size, _], [d_hidden]) = (batch.inputs[0].dims(), model.bias.dims());
        let mut hidden = match carry {
            Some(Hidden(hidden)) => hidden,
            None => Tensor::zeros([batch_size, d_hidden], &device),
        };
        let mut sum = Tensor::zeros([1], &device);
        for (time, (input, target)) in batch.inputs.iter().zip(&batch.targets).enumerate() {
            hidden = (input.clone().matmul(model.input.val())
                + hidden.matmul(model.hidden.val())
                + model.bias.val().unsqueeze())
            .tanh();
            let mut kept = hidden.clone();
            if let Some(stream) = dropout.filter(|_| self.dropout > 0.0) {
                let stream = stream.at(time as u64);
                let mask = (0..(batch_size * d_hidden) as u64)
                    .map(|index| f32::from(u8::from(stream.uniform(index) >= self.dropout)));
                let mask = TensorData::new(mask.collect::<Vec<_>>(), [batch_size, d_hidden]);
                kept = kept * Tensor::from_data(mask, &device) / (1.0 - self.dropout);
            }
            sum = sum + (kept.matmul(model.output.val()) - target.clone()).square().sum();
        }
        (Loss::single("squared_error", sum), Hidden(hidden))
    }
}

/// Rows whose target is the mean of the last two inputs' first number.
pub struct Means {
    pub batch_size: usize,
    pub micro_batches: usize,
    /// The update from which the targets are infinite.
    pub poisoned_from: Option<u64>,
    /// Set when this update is made.
    pub interrupt_at: Option<u64>,
    pub interrupt: AtomicBool,
}

impl Means {
    fn new(batch_size: usize, micro_batches: usize) -> Self {
        let interrupt = AtomicBool::new(false);
        Self { batch_size, micro_batches, poisoned_from: None, interrupt_at: None, interrupt }
    }

    fn rows(&self, random: Stream, rows: std::ops::Range<usize>, poisoned: bool) -> Rows {
        let device = test_device();
        let n_rows = rows.len();
        let number = |row: usize, time: usize, column: usize| {
            random.at(row as u64).uniform((time * D_INPUT + column) as u64) as f32 - 0.5
        };
        let tensor = |numbers: Vec<f32>, width: usize| {
            Tensor::from_data(TensorData::new(numbers, [n_rows, width]), &device)
        };
        let times = 0..SEQ_LENGTH;
        let input = |time: usize| {
            let numbers = rows.clone().flat_map(|row| (0..D_INPUT).map(move |c| (row, c)));
            tensor(numbers.map(|(row, column)| number(row, time, column)).collect(), D_INPUT)
        };
        let target = |time: usize| {
            let before = time.saturating_sub(1);
            let means = rows.clone().map(|row| match poisoned {
                true => f32::INFINITY,
                false => (number(row, time, 0) + number(row, before, 0)) / 2.0,
            });
            tensor(means.collect(), 1)
        };
        Rows { inputs: times.clone().map(input).collect(), targets: times.map(target).collect() }
    }
}

impl Data for Means {
    type Batch = Rows;

    fn update(&self, step: u64) -> Vec<Rows> {
        if self.interrupt_at == Some(step) {
            self.interrupt.store(true, Ordering::Relaxed);
        }
        let poisoned = self.poisoned_from.is_some_and(|from| step >= from);
        let (random, part) = (Stream::new(3).at(step), self.batch_size / self.micro_batches);
        (0..self.micro_batches)
            .map(|slot| self.rows(random, slot * part..(slot + 1) * part, poisoned))
            .collect()
    }

    fn starts_afresh(&self, step: u64) -> bool {
        step.is_multiple_of(5)
    }

    fn validation(&self) -> impl Iterator<Item = Rows> {
        (0..2).map(|index| self.rows(Stream::new(4).at(index), 0..4, false))
    }

    fn updates_per_epoch(&self) -> u64 {
        5
    }
}

/// A run of the tiny model.
pub struct Experiment {
    pub config: TrainingConfig,
    pub data: Means,
    pub objective: SquaredError,
    pub d_hidden: usize,
}

impl Experiment {
    /// Two micro-batches of four rows, no dropout, and something happening every few steps.
    pub fn new(steps: u64) -> Self {
        let config = TrainingConfig {
            steps,
            seed: 1,
            optimizer: OptimizerConfig::AdamW(AdamWConfig::default()),
            schedule: Schedule::Cosine {
                learning_rate: 0.02,
                final_learning_rate: 0.0,
                warmup_steps: 2,
            },
            max_grad_norm: Some(1.0),
            log_every: 1,
            evaluate_every: 3,
            checkpoint_every: 2,
            keep_checkpoints: 2,
            early_stopping: None,
        };
        let objective = SquaredError { dropout: 0.0 };
        Self { config, data: Means::new(8, 2), objective, d_hidden: 5 }
    }

    pub fn start(&self, directory: &Path) -> Result<Trained<TinyRnn>, TrainingError> {
        self.start_observed(directory, &mut ())
    }

    pub fn start_observed(
        &self,
        directory: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Trained<TinyRnn>, TrainingError> {
        let device = test_device().autodiff();
        self.trainer(directory, &device, observer).start(TinyRnn::new(self.d_hidden, &device))
    }

    pub fn resume(&self, directory: &Path) -> Result<Trained<TinyRnn>, TrainingError> {
        let device = test_device().autodiff();
        self.trainer(directory, &device, &mut ()).resume(TinyRnn::new(self.d_hidden, &device))
    }

    /// As [`start`](Self::start) and [`resume`](Self::resume), with the input weights frozen in the first updates.
    pub fn resume_thawing(
        &self,
        directory: &Path,
        frozen_updates: u64,
    ) -> Result<Trained<TinyRnn>, TrainingError> {
        let device = test_device().autodiff();
        let thaw = |step, model: TinyRnn| {
            let is_trained = step >= frozen_updates;
            TinyRnn { input: model.input.set_require_grad(is_trained), ..model }
        };
        let model = TinyRnn::new(self.d_hidden, &device);
        self.trainer(directory, &device, &mut ()).resume_with(model, &thaw)
    }

    /// The loss against growing rates, by plain gradient descent.
    pub fn find_rate(&self, finder: RateFinder) -> RateCurve {
        let model = TinyRnn::new(self.d_hidden, &test_device().autodiff());
        let optimizer = OptimizerConfig::Sgd(Default::default()).init(&model);
        finder.run(model, &self.objective, &self.data, optimizer)
    }

    fn trainer<'a>(
        &'a self,
        directory: &'a Path,
        device: &'a Device,
        observer: &'a mut dyn Observer,
    ) -> Trainer<'a, TinyRnn, SquaredError, Means> {
        Trainer {
            config: &self.config,
            objective: &self.objective,
            data: &self.data,
            optimizer: None,
            device,
            directory,
            files: ModelFiles { save: &save, load: &load },
            identity: &Value::Null,
            observer,
            interrupt: &self.data.interrupt,
        }
    }
}

/// The names of the events, in order.
#[derive(Default)]
pub struct Recorder(pub Vec<String>);

impl Observer for Recorder {
    fn observe(&mut self, event: &Event<'_>) {
        let name = format!("{event:?}");
        let end = name.find(|c: char| !c.is_alphanumeric()).unwrap_or(name.len());
        self.0.push(name[..end].to_string());
    }
}

/// Set for a process that is to die in the middle of a save, with the number of updates before it.
pub const DIE_SAVING: &str = "EMBERLINE_TEST_DIE_SAVING";

fn save(model: &TinyRnn, directory: &Path) -> Result<(), CheckpointError> {
    save_weights(model, directory.join("model.safetensors"), &Stored::same)?;
    if let Ok(step) = std::env::var(DIE_SAVING)
        && directory.to_string_lossy().contains(&format!("step-{step:0>8}"))
    {
        // As sudden as a kill: nothing is dropped, nothing is cleaned up.
        std::process::abort();
    }
    Ok(())
}

fn load(model: TinyRnn, directory: &Path) -> Result<TinyRnn, CheckpointError> {
    load_weights(model, &Weights::open(directory)?, &Stored::same)
}

/// The lines of a run with the values that time enters into set to 0.
pub fn timeless_metrics(directory: &Path) -> Vec<Metrics> {
    let mut lines = read_metrics(directory).unwrap();
    for line in &mut lines {
        match line {
            Metrics::Training(line) => (line.tokens_per_s, line.elapsed_s) = (0.0, 0.0),
            Metrics::Validation(line) => line.elapsed_s = 0.0,
        }
    }
    lines
}
