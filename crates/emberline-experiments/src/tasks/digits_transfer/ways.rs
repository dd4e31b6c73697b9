//! The ways in which new classes are learned.

use std::collections::BTreeMap;

use anyhow::Result;
use burn::module::Module;
use burn::optim::GradientsParams;
use emberline_core::Stream;
use emberline_finetuning::{Plan, Train};
use emberline_models::cnn::Cnn;
use emberline_training::{Data, Objective};

use super::images::{Image, ImageBatches, ImageClassification, accuracy};
use super::{DigitsConfig, PreparedTransfer, TransferConfig, parts};

/// A way to learn new classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Scratch,
    Frozen,
    FineTuned,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Scratch, Self::Frozen, Self::FineTuned];

    /// As a reader is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scratch => "from scratch",
            Self::Frozen => "frozen",
            Self::FineTuned => "fine-tuned",
        }
    }

    /// As metrics are called.
    pub fn key(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::Frozen => "frozen",
            Self::FineTuned => "fine_tuned",
        }
    }

    fn plan(self, head_rate: f64) -> Plan {
        let train = match self {
            Self::Scratch | Self::FineTuned => Train::Full,
            Self::Frozen => Train::Head,
        };
        Plan { head_rate: Some(head_rate), ..Plan::new(train) }
    }
}

impl PreparedTransfer {
    /// The test accuracy on the new digits after learning from so many images of each.
    pub(super) fn learn(
        &self,
        way: Way,
        n_images: usize,
        seed: u64,
        pretrained: &Cnn,
    ) -> Result<f64> {
        let TransferConfig { steps, schedule, head_rate, .. } = &self.config.transfer;
        let DigitsConfig { batch_size, n_test, .. } = self.config.data;
        // The same images and the same head for all ways.
        let random = Stream::new(self.config.training.seed).named("transfer").at(seed);
        let [known, test] = parts(&self.target, |images| images.len() - n_test);
        let drawn = by_digit_drawn(&known, n_images, random.named("images"));
        let device = &self.trainee.device;
        let data = ImageBatches::new(drawn, test, batch_size, random.named("data"), device)?;
        let n_classes = self.target.len();
        let fresh = self.config.network(n_classes).init(random.named("model"), device);
        let model = match way {
            Way::Scratch => fresh,
            // A copy with statistics of its own.
            Way::Frozen | Way::FineTuned => {
                Cnn { layers: pretrained.clone().train().layers, ..fresh }
            }
        };
        let planned = way.plan(*head_rate).of(&model)?;
        let mut model = planned.prepare(0, model);
        let mut optimizer = planned.optimizer(&self.config.training.optimizer, &model);
        for step in 0..*steps {
            for batch in data.update(step) {
                let (loss, ()) = ImageClassification.loss(&model, &batch, None, None);
                let counts = ImageClassification.counts(&batch);
                let gradients = loss.total(&counts).backward();
                let gradients = GradientsParams::from_grads(gradients, &model);
                let rate = schedule.learning_rate(step, 0, *steps);
                model = optimizer.step(rate, model, gradients);
            }
        }
        Ok(accuracy(&model.valid(), &data))
    }
}

/// So many images of each label, drawn.
fn by_digit_drawn(images: &[Image], n_images: usize, random: Stream) -> Vec<Image> {
    let order = random.permutation(images.len());
    let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
    let mut drawn = Vec::new();
    for index in order {
        let image = &images[index];
        let count = taken.entry(image.label).or_default();
        if *count < n_images {
            *count += 1;
            drawn.push(image.clone());
        }
    }
    drawn
}

/// The mean, and the standard deviation of single values.
pub(super) fn mean_and_deviation(values: &[f64]) -> [f64; 2] {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    [mean, (squares / (n - 1.0).max(1.0)).sqrt()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_the_deviation_of_a_sample() {
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), [2.0, 2f64.sqrt()]);
        assert_eq!(mean_and_deviation(&[5.0]), [5.0, 0.0]);
    }

    #[test]
    fn as_many_images_of_each_label_are_drawn() {
        let image = |label| Image { pixels: vec![0.0; 64], label };
        let images: Vec<Image> = (0..30).map(|index| image(index % 3)).collect();
        let drawn = by_digit_drawn(&images, 4, Stream::new(1));
        for label in 0..3 {
            assert_eq!(drawn.iter().filter(|image| image.label == label).count(), 4);
        }
    }
}
