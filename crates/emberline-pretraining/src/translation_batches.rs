//! Pairs of texts as batches of about one length.

use std::cell::RefCell;

use burn::tensor::Device;
use emberline_core::Stream;
use emberline_text::{BatchSize, TextError, TokenPair};
use emberline_training::Data;

use crate::scheduled_sampling::ScheduledSampling;
use crate::translation::TranslationBatch;

/// Pairs to train and to validate on. In each epoch every training pair comes once, pairs of about one length
/// together; an update is one batch, and a function of its number alone.
#[derive(Clone, Debug)]
pub struct TranslationBatches {
    training: Vec<TokenPair>,
    lengths: Vec<[usize; 2]>,
    validation: Vec<TokenPair>,
    validation_batches: Vec<Vec<usize>>,
    size: BatchSize,
    start_token: u32,
    scheduled_sampling: Option<ScheduledSampling>,
    updates_per_epoch: u64,
    random: Stream,
    device: Device,
    /// The epoch of the last update that was asked for and the pairs of its batches, which serve all its updates.
    epoch: RefCell<Option<(u64, Vec<Vec<usize>>)>>,
}

impl TranslationBatches {
    /// Batches of the given size, in training in an order that is that of `random`; `start_token` is what the
    /// decoder reads first.
    ///
    /// # Errors
    /// [`TextError::NoExample`] if there is nothing to train or to validate on; those of [`BatchSize::batches`].
    pub fn new(
        training: Vec<TokenPair>,
        validation: Vec<TokenPair>,
        size: BatchSize,
        start_token: u32,
        random: Stream,
        device: &Device,
    ) -> Result<Self, TextError> {
        for (name, pairs) in
            [("the training part", &training), ("the validation part", &validation)]
        {
            if pairs.is_empty() {
                return Err(TextError::NoExample { name: name.to_string() });
            }
        }
        let lengths_of = |pairs: &[TokenPair]| pairs.iter().map(TokenPair::lengths).collect();
        let (lengths, validation_lengths): (Vec<_>, Vec<_>) =
            (lengths_of(&training), lengths_of(&validation));
        let first = size.batches(&lengths, random.at(0))?;
        let validation_batches = size.batches(&validation_lengths, random.named("validation"))?;
        Ok(Self {
            training,
            lengths,
            validation,
            validation_batches,
            size,
            start_token,
            scheduled_sampling: None,
            updates_per_epoch: first.len() as u64,
            random,
            // Tokens need no gradient, and the model of a validation is on the plain device.
            device: device.clone().inner(),
            epoch: RefCell::new(Some((0, first))),
        })
    }

    /// The same, whose decoder reads tokens of the model in training.
    pub fn with_scheduled_sampling(self, schedule: ScheduledSampling) -> Self {
        Self { scheduled_sampling: Some(schedule), ..self }
    }

    fn batch(&self, pairs: &[TokenPair], rows: &[usize]) -> TranslationBatch {
        let pairs: Vec<&TokenPair> = rows.iter().map(|row| &pairs[*row]).collect();
        TranslationBatch::new(&pairs, self.start_token, &self.device)
    }
}

impl Data for TranslationBatches {
    type Batch = TranslationBatch;

    fn update(&self, step: u64) -> Vec<TranslationBatch> {
        let (epoch, index) = (step / self.updates_per_epoch, step % self.updates_per_epoch);
        let mut known = self.epoch.borrow_mut();
        let (_, batches) = match known.take().filter(|(known, _)| *known == epoch) {
            Some(known_batches) => known.insert(known_batches),
            None => {
                let batches = self.size.batches(&self.lengths, self.random.at(epoch));
                known
                    .insert((epoch, batches.expect("the batches of the first epoch could be made")))
            }
        };
        let batch = self.batch(&self.training, &batches[index as usize]);
        let schedule = self.scheduled_sampling;
        let gold_probability = schedule.map_or(1.0, |schedule| schedule.gold_probability(step));
        vec![TranslationBatch { gold_probability, ..batch }]
    }

    fn starts_afresh(&self, _step: u64) -> bool {
        true
    }

    fn validation(&self) -> impl Iterator<Item = TranslationBatch> {
        self.validation_batches.iter().map(|rows| self.batch(&self.validation, rows))
    }

    fn updates_per_epoch(&self) -> u64 {
        self.updates_per_epoch
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use burn::tensor::{Int, Tensor, TensorData};
    use emberline_backend::{LabelSmoothing, test_device};
    use emberline_checkpoint::{Stored, Weights, load_tensors, load_weights, save_weights};
    use emberline_training::{
        Event, ModelFiles, Observer, Outcome, Trainer, TrainingConfig, latest_checkpoint,
    };

    use super::*;
    use crate::tiny_translator::{TinyTranslator, pairs};
    use crate::translation::Translation;

    /// The pair of a number: both sides are that number, between 1 and 7 times and once more.
    fn numbered(numbers: std::ops::Range<u32>) -> Vec<TokenPair> {
        let row = |number: u32, more: usize| vec![number; number as usize % 7 + more];
        numbers.map(|n| TokenPair { source: row(n, 1), target: row(n, 2) }).collect()
    }

    fn batches(size: BatchSize) -> TranslationBatches {
        let device = test_device().autodiff();
        let (training, validation) = (numbered(1..41), numbered(41..46));
        TranslationBatches::new(training, validation, size, 0, Stream::new(1), &device).unwrap()
    }

    fn ids<const D: usize>(tensor: &Tensor<D, Int>) -> Vec<i32> {
        tensor.to_data().iter().collect()
    }

    /// The numbers of the pairs of an update.
    fn numbers(batch: &TranslationBatch) -> Vec<i32> {
        ids(&batch.source.tokens.clone().narrow(1, 0, 1))
    }

    fn epoch(data: &TranslationBatches, epoch: u64) -> Vec<i32> {
        let steps = epoch * data.updates_per_epoch()..(epoch + 1) * data.updates_per_epoch();
        steps.flat_map(|step| numbers(&data.update(step)[0])).collect()
    }

    #[test]
    fn an_epoch_is_every_pair_once_in_an_order_of_its_own() {
        for size in [BatchSize::Sentences(7), BatchSize::Tokens(24)] {
            let data = batches(size);
            let epochs = [0, 1, 2].map(|index| epoch(&data, index));
            assert_ne!(epochs[0], epochs[1]);
            assert_eq!(epochs[1], epoch(&batches(size), 1));
            for mut numbers in epochs {
                numbers.sort_unstable();
                assert_eq!(numbers, (1..41).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_update_is_the_same_whichever_was_asked_for_before() {
        let data = batches(BatchSize::Tokens(24));
        let steps = 3 * data.updates_per_epoch();
        let forward: Vec<_> = (0..steps).map(|step| numbers(&data.update(step)[0])).collect();
        let resumed = batches(BatchSize::Tokens(24));
        let backward: Vec<_> =
            (0..steps).rev().map(|step| numbers(&resumed.update(step)[0])).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
    }

    #[test]
    fn validation_is_every_pair_once() {
        let data = batches(BatchSize::Tokens(24));
        let mut found: Vec<i32> = data.validation().flat_map(|batch| numbers(&batch)).collect();
        found.sort_unstable();
        assert_eq!(found, (41..46).collect::<Vec<_>>());
    }

    #[test]
    fn the_model_reads_its_own_tokens_by_the_schedule_and_never_in_validation() {
        let data = batches(BatchSize::Sentences(7));
        assert_eq!(data.update(3)[0].gold_probability, 1.0);
        let data = data.with_scheduled_sampling(ScheduledSampling::Exponential { base: 0.5 });
        assert_eq!(
            [0, 1, 9].map(|step| data.update(step)[0].gold_probability),
            [1.0, 0.5, 0.5f64.powi(9)]
        );
        assert!(data.validation().all(|batch| batch.gold_probability == 1.0));
    }

    #[test]
    fn nothing_to_train_or_validate_on_and_batches_that_cannot_be_are_errors() {
        let error = |training, validation, size| {
            let random = Stream::new(1);
            TranslationBatches::new(training, validation, size, 0, random, &test_device())
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        let size = BatchSize::Tokens(8);
        assert_eq!(error(vec![], numbered(1..2), size), "the training part has no example");
        assert_eq!(error(numbered(1..2), vec![], size), "the validation part has no example");
        let expected = "a pair of 7 and 8 tokens does not fit into a batch of 7";
        assert_eq!(error(numbered(1..7), numbered(1..2), BatchSize::Tokens(7)), expected);
    }

    /// Sets the interrupt after two updates.
    struct Stop<'a>(&'a AtomicBool);

    impl Observer for Stop<'_> {
        fn observe(&mut self, event: &Event<'_>) {
            if matches!(event, Event::Updated { step: 2, .. }) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The weights after a run of seven updates, which may be stopped after two and resumed.
    fn weights_of_a_run(is_interrupted: bool) -> Vec<(String, TensorData)> {
        let config: TrainingConfig = serde_json::from_value(serde_json::json!({
            "steps": 7, "seed": 1,
            "optimizer": { "name": "adam", "beta_2": 0.98, "epsilon": 1e-9 },
            "schedule": { "name": "noam", "d_model": 4, "warmup_steps": 4 },
            "log_every": 1, "evaluate_every": 7, "checkpoint_every": 7, "keep_checkpoints": 1
        }))
        .unwrap();
        let device = test_device().autodiff();
        let (training, validation) = ([pairs(), pairs(), pairs()].concat(), pairs().to_vec());
        let size = BatchSize::Tokens(16);
        let data = TranslationBatches::new(training, validation, size, 0, Stream::new(1), &device)
            .unwrap();
        let schedule = ScheduledSampling::InverseSigmoid { constant: 2.0 };
        let data = data.with_scheduled_sampling(schedule);
        let objective = Translation { smoothing: Some(LabelSmoothing::Uniform(0.1)) };
        let directory = tempfile::tempdir().unwrap();
        let train = |observer: &mut dyn Observer, interrupt: &AtomicBool| {
            let trainer = Trainer {
                config: &config,
                objective: &objective,
                data: &data,
                optimizer: None,
                device: &device,
                directory: directory.path(),
                files: ModelFiles {
                    save: &|model, folder| save_weights(model, folder.join(FILE), &Stored::same),
                    load: &|model, folder| {
                        load_weights(model, &Weights::open(folder)?, &Stored::same)
                    },
                },
                identity: &serde_json::Value::Null,
                observer,
                interrupt,
            };
            trainer.resume(TinyTranslator::new(1.0, &device)).unwrap()
        };
        let interrupt = AtomicBool::new(false);
        if is_interrupted {
            assert_eq!(train(&mut Stop(&interrupt), &interrupt).step, 2);
            interrupt.store(false, Ordering::Relaxed);
        }
        let trained = train(&mut (), &interrupt);
        assert_eq!((trained.outcome, trained.step), (Outcome::Finished, 7));
        load_tensors(latest_checkpoint(directory.path()).unwrap().unwrap().join(FILE)).unwrap()
    }

    const FILE: &str = "model.safetensors";

    #[test]
    fn a_run_that_was_interrupted_goes_on_bit_for_bit_while_the_model_reads_its_own_tokens() {
        assert_eq!(weights_of_a_run(true), weights_of_a_run(false));
    }
}
