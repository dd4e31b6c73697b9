//! How a model that has read books learns from texts, in each way and from each number of them.

use std::path::Path;

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{Int, Tensor};
use emberline_core::{LayerGroups, Stream, TokenEncoder};
use emberline_evaluation::{best_class, example_scores};
use emberline_finetuning::{
    Classification, ClassifierConfig, FeatureBatches, FeatureCache, FeatureClassification,
    FeatureHead, LabelledBatches, LayerRates, LoraConfig, Plan, Train, attach,
};
use emberline_text::Example;
use emberline_training::Schedule;

use super::kept::{Kept, Learnt};
use super::readers::{Reader, Texts};
use super::{LoraSizes, PreparedTransferText, RatesConfig, SizeConfig, TransferConfig};
use crate::tasks::ways::{Learning, Way, drawn_by_label, mean_and_deviation};
use crate::terminal;

/// Those that are compared.
pub(super) const WAYS: [Way; 5] =
    [Way::Scratch, Way::Frozen, Way::Gradual, Way::FineTuned, Way::Lora];

/// The folder of a run directory for what frozen models make of texts.
const FEATURES: &str = "features";

/// What a model learnt in one way.
pub(super) struct Found {
    pub way: Way,
    /// The numbers that are trained.
    pub n_trained: usize,
    /// The mean test accuracy and its deviation, against the number of texts.
    pub points: Vec<(f64, [f64; 2])>,
}

/// One training.
#[derive(Clone, Copy)]
struct Trial {
    way: Way,
    size: SizeConfig,
    seed: u64,
}

/// What a frozen model makes of its texts, `[n_texts, width]`.
struct Features {
    known: Tensor<2>,
    asked: Tensor<2>,
}

impl RatesConfig {
    pub(super) fn of(&self, way: Way) -> f64 {
        match way {
            Way::Scratch => self.scratch,
            Way::Frozen => self.frozen,
            Way::Gradual => self.gradual,
            Way::FineTuned => self.fine_tuned,
            Way::Lora => self.lora,
        }
    }
}

impl PreparedTransferText {
    /// All ways of a model that has read books in `books`. What was learnt before is kept in the run directory.
    pub(super) fn compare<R: Reader>(
        &self,
        reader: &R,
        books: &Path,
        directory: &Path,
        kept: &mut Kept,
    ) -> Result<Vec<Found>> {
        let pretrained = reader.pretrained(books)?;
        let features = self.features(&pretrained, reader.texts(), directory)?;
        let mut found = Vec::new();
        for way in WAYS {
            let (mut points, mut n_trained) = (Vec::new(), 0);
            for size in &self.config.transfer.sizes {
                let mut accuracies = Vec::new();
                for seed in 0..size.n_seeds as u64 {
                    let trial = Trial { way, size: *size, seed };
                    let name = format!("{}/{}/{}/{seed}", R::KEY, way.key(), size.n_texts);
                    let learnt = kept.get(&name, || match way {
                        Way::Frozen => self.learn_head(reader.texts(), &features, trial),
                        _ => self.learn(reader, &pretrained, trial),
                    })?;
                    n_trained = learnt.n_trained;
                    accuracies.push(learnt.n_right as f64 / reader.texts().asked.len() as f64);
                }
                let numbers = mean_and_deviation(&accuracies);
                let (model, name, n_texts) = (R::MODEL, way.name(), size.n_texts);
                terminal::note(format_args!("{model}, {name}, {n_texts} texts: {:.4}", numbers[0]));
                points.push((size.n_texts as f64, numbers));
            }
            found.push(Found { way, n_trained, points });
        }
        Ok(found)
    }

    fn features<E: Module + TokenEncoder>(
        &self,
        encoder: &E,
        texts: &Texts,
        directory: &Path,
    ) -> Result<Features> {
        let cache = FeatureCache::new(directory.join(FEATURES))?;
        let (encoder, device) = (encoder.valid(), self.device.clone().inner());
        let of = |texts: &[Example]| {
            let rows: Vec<&[u32]> = texts.iter().map(|text| &text.tokens[..]).collect();
            let (pooling, batch_size) =
                (self.config.transfer.pooling, self.config.texts.batch_size);
            cache.of_texts(&encoder, pooling, &rows, batch_size, &device)
        };
        Ok(Features { known: of(&texts.known)?, asked: of(&texts.asked)? })
    }

    /// The head alone, on features.
    fn learn_head(&self, texts: &Texts, features: &Features, trial: Trial) -> Result<Learnt> {
        let random = self.random(trial);
        let drawn = self.drawn(texts, trial);
        let places: Vec<i32> = drawn.iter().map(|place| *place as i32).collect();
        let places = Tensor::<1, Int>::from_data(places.as_slice(), &features.known.device());
        let known = features.known.clone().select(0, places);
        let drawn: Vec<u32> = drawn.iter().map(|place| texts.known[*place].labels[0]).collect();
        let asked: Vec<u32> = texts.asked.iter().map(|text| text.labels[0]).collect();
        let data = FeatureBatches::new(
            (known, drawn),
            (features.asked.clone(), asked.clone()),
            self.config.texts.batch_size,
            random.named("data"),
        )?;
        let [_, width] = features.asked.dims();
        let (n_classes, dropout) = (self.classes.size(), self.config.transfer.dropout);
        let head = FeatureHead::init(width, n_classes, dropout, random.named("task"), &self.device);
        let planned = Plan::new(Train::Head).of(&head)?;
        let head = self.learning(trial).learn(head, &planned, &FeatureClassification, &data);
        let logits = head.valid().forward(features.asked.clone(), None);
        let predicted = logits.argmax(1).into_data();
        let right =
            predicted.iter::<u32>().zip(asked).filter(|(predicted, label)| predicted == label);
        Ok(Learnt { n_right: right.count(), n_trained: planned.n_trained() })
    }

    /// The head and more, or less, of the model.
    fn learn<R: Reader>(
        &self,
        reader: &R,
        pretrained: &R::Encoder,
        trial: Trial,
    ) -> Result<Learnt> {
        let Trial { way, size, .. } = trial;
        let random = self.random(trial);
        let encoder = match way {
            Way::Scratch => reader.random(random.named("encoder")),
            _ => pretrained.clone(),
        };
        let TransferConfig { pooling, dropout, lora, .. } = self.config.transfer;
        let classifier = ClassifierConfig { n_classes: self.classes.size(), pooling, dropout };
        let model = classifier.init(encoder, random.named("task"), &self.device);
        let (model, planned) = match way {
            Way::Lora => {
                let saved_modules = vec!["head".to_string()];
                let LoraSizes { rank, alpha } = lora;
                let lora = LoraConfig { saved_modules, ..LoraConfig::new(rank, alpha, R::ADAPTED) };
                let adapter = lora.init(&model, random.named("lora"))?;
                let model = attach(model, &[&adapter], None)?;
                let planned = adapter.plan().of(&model)?;
                (model, planned)
            }
            _ => {
                let n_groups = model.layer_groups().len();
                let is_gradual = way == Way::Gradual;
                let plan = if is_gradual { gradual(size.steps, n_groups) } else { Plan::default() };
                let planned = plan.of(&model)?;
                (model, planned)
            }
        };
        let Texts { known, asked } = reader.texts();
        let drawn = self.drawn(reader.texts(), trial);
        let drawn: Vec<Example> = drawn.into_iter().map(|place| known[place].clone()).collect();
        let batch_size = self.config.texts.batch_size;
        let (random, device) = (random.named("data"), &self.device);
        let data = LabelledBatches::new(drawn, asked.clone(), batch_size, random, device)?;
        let model = self.learning(trial).learn(model, &planned, &Classification, &data);
        let device = device.clone().inner();
        let scores = example_scores(&model.valid(), asked, batch_size, &device);
        let is_right =
            |(scores, text): &(&Vec<Vec<f32>>, &Example)| best_class(&scores[0]) == text.labels[0];
        let n_right = scores.iter().zip(asked).filter(is_right).count();
        Ok(Learnt { n_right, n_trained: planned.n_trained() })
    }

    /// The same texts, head and order for all ways of all models.
    fn random(&self, trial: Trial) -> Stream {
        Stream::new(self.config.training.seed).named("transfer").at(trial.seed)
    }

    fn drawn(&self, texts: &Texts, trial: Trial) -> Vec<usize> {
        let labels: Vec<u32> = texts.known.iter().map(|text| text.labels[0]).collect();
        let n_each = trial.size.n_texts / self.classes.size();
        drawn_by_label(&labels, n_each, self.random(trial).named("texts"))
    }

    fn learning(&self, trial: Trial) -> Learning<'_> {
        Learning {
            steps: trial.size.steps,
            schedule: schedule(self.config.transfer.rates.of(trial.way)),
            optimizer: &self.config.training.optimizer,
            max_grad_norm: self.config.training.max_grad_norm,
            dropout: Some(self.random(trial).named("dropout")),
        }
    }
}

/// That of ULMFiT, but that all groups of layers are trained in the second half of the updates, however few epochs there
/// are.
fn gradual(steps: u64, n_groups: usize) -> Plan {
    let updates_per_layer = (steps / (2 * (n_groups as u64 - 1))).max(1);
    let rates = LayerRates::Discriminative { factor: 2.6 };
    Plan { rates, ..Plan::new(Train::Gradual { updates_per_layer }) }
}

/// That of ULMFiT, with its numbers.
pub(super) fn schedule(learning_rate: f64) -> Schedule {
    Schedule::SlantedTriangular { learning_rate, cut_fraction: 0.1, ratio: 32.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_groups_are_trained_from_the_middle_of_the_updates_on() {
        let Train::Gradual { updates_per_layer } = gradual(120, 4).train else {
            panic!("a gradual plan");
        };
        // The lowest of the four waits for the three above it.
        assert_eq!(3 * updates_per_layer, 60);
    }
}
