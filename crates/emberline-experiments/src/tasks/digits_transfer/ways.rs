//! How new digits are learned.

use anyhow::Result;
use burn::module::Module;
use emberline_core::Stream;
use emberline_finetuning::{Plan, Train};
use emberline_models::cnn::Cnn;

use super::images::{Image, ImageBatches, ImageClassification, accuracy};
use super::{DigitsConfig, PreparedTransfer, TransferConfig, parts};
use crate::tasks::ways::{Learning, Way, drawn_by_label};

/// Those that are compared.
pub(super) const WAYS: [Way; 3] = [Way::Scratch, Way::Frozen, Way::FineTuned];

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
        let labels: Vec<u32> = known.iter().map(|image| image.label).collect();
        let drawn = drawn_by_label(&labels, n_images, random.named("images"));
        let drawn: Vec<Image> = drawn.into_iter().map(|place| known[place].clone()).collect();
        let device = &self.trainee.device;
        let data = ImageBatches::new(drawn, test, batch_size, random.named("data"), device)?;
        let n_classes = self.target.len();
        let fresh = self.config.network(n_classes).init(random.named("model"), device);
        let model = match way {
            Way::Scratch => fresh,
            // A copy with statistics of its own.
            _ => Cnn { layers: pretrained.clone().train().layers, ..fresh },
        };
        let train = if way == Way::Frozen { Train::Head } else { Train::Full };
        let plan = Plan { head_rate: Some(*head_rate), ..Plan::new(train) };
        let learning = Learning {
            steps: *steps,
            schedule: *schedule,
            optimizer: &self.config.training.optimizer,
            max_grad_norm: None,
            dropout: None,
        };
        let planned = plan.of(&model)?;
        let model = learning.learn(model, &planned, &ImageClassification, &data);
        Ok(accuracy(&model.valid(), &data))
    }
}
