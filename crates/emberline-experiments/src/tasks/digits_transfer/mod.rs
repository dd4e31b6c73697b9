//! The notes' example of transfer learning: a network that was trained on some classes learns others from few examples,
//! frozen below its head or fine-tuned, against one that starts anew.
//!
//! All ways have the same images, the same updates and the same rates, and are tested on the same images.

pub mod images;
mod ways;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::write_config;
use emberline_core::Stream;
use emberline_models::cnn::{Cnn, CnnConfig};
use emberline_training::{Schedule, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::images::{D_IMAGE, Image, ImageBatches, ImageClassification, accuracy};
use self::ways::WAYS;
use super::trainee::{Session, Trainee};
use super::ways::{Curve, mean_and_deviation};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_sizes};
use crate::datasets;
use crate::result::{Figure, Scale, Table};

/// The classes that a network is trained on first, and the first of those that it learns after them.
const N_SOURCE: u32 = 5;

/// A network on digits, and then on others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigitsTransferConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What is read.
    pub data: DigitsConfig,
    /// What learns.
    pub model: ChannelsConfig,
    /// How the digits from 5 on are learned.
    pub transfer: TransferConfig,
    /// How the digits to 4 are learned; its seed is that of the whole run.
    pub training: TrainingConfig,
}

/// Which images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigitsConfig {
    /// A file of images, or a folder of `datasets/`.
    pub path: String,
    /// Its checksum, once it is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The images of an update.
    pub batch_size: usize,
    /// The images of each digit that networks are tested on, and none learns from.
    pub n_test: usize,
}

/// The size of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelsConfig {
    /// The channels that each layer makes.
    pub channels: Vec<usize>,
}

/// How new digits are learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferConfig {
    /// The images of each digit that are learned from, one number after the other.
    pub n_images: Vec<usize>,
    /// How often each is done, with other images and another head.
    pub n_seeds: usize,
    /// The number of updates.
    pub steps: u64,
    /// The learning rate over them.
    pub schedule: Schedule,
    /// How many times faster the head learns, which is new, than what was trained before.
    pub head_rate: f64,
}

impl Kind for DigitsTransferConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        let TransferConfig { n_images, n_seeds, steps, schedule, head_rate } = &self.transfer;
        check_sizes(&[
            ("data.batch_size", self.data.batch_size),
            ("data.n_test", self.data.n_test),
            ("transfer.n_seeds", *n_seeds),
            ("transfer.n_images", n_images.first().copied().unwrap_or(0)),
        ])?;
        ensure!(
            n_images.is_sorted_by(|a, b| a < b),
            "`transfer.n_images` must rise, but is {n_images:?}"
        );
        ensure!(*steps > 0, "`transfer.steps` must be at least 1, but is 0");
        schedule.validate(*steps).context("`transfer` cannot be used")?;
        ensure!(
            head_rate.is_finite() && *head_rate > 0.0,
            "`transfer.head_rate` must be a number above 0, but is {head_rate}"
        );
        let channels = &self.model.channels;
        let fits = (1..=4).contains(&channels.len());
        ensure!(fits, "`model.channels` must be of 1 to 4 layers, but is {channels:?}");
        for channels in channels {
            check_sizes(&[("model.channels", *channels)])?;
        }
        Ok(())
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

impl DigitsTransferConfig {
    fn network(&self, n_classes: usize) -> CnnConfig {
        let channels = self.model.channels.clone();
        CnnConfig { model_type: Default::default(), d_image: D_IMAGE, channels, n_classes }
    }
}

/// The images, the network, the device.
struct PreparedTransfer {
    config: DigitsTransferConfig,
    source: ImageBatches,
    /// The images of each new digit, those of the test after the others.
    target: Vec<Vec<Image>>,
    trainee: Trainee<Cnn>,
}

/// Reads the images, opens the device and makes the network; writes nothing.
///
/// # Errors
/// If a line of the file is not as expected, there are too few images, or the network does not fit.
fn prepare(mut config: DigitsTransferConfig) -> Result<Box<dyn Prepared>> {
    let file = datasets::find(&mut config.data.path, "csv")?;
    let images = images::read(&file)?;
    datasets::check(&[&file], &mut config.data.sha256)?;
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    // Not of the seed of the run: the test of another seed is the same.
    let digits = by_digit(&images, Stream::new(0).named("split"));
    let DigitsConfig { n_test, batch_size, .. } = config.data;
    let n_largest = config.transfer.n_images.last().copied().unwrap_or(0);
    for (digit, images) in digits.iter().enumerate() {
        let (found, wanted) = (images.len(), n_test + n_largest);
        ensure!(
            found >= wanted,
            "there are {found} images of the digit {digit}, {wanted} are asked for"
        );
    }
    let (source, target) = digits.split_at(N_SOURCE as usize);
    let [training, validation] = parts(source, |images| images.len() - n_test);
    let source =
        ImageBatches::new(training, validation, batch_size, random.named("data"), &device)?;
    let target = target.iter().map(|images| {
        images
            .iter()
            .map(|image| Image { label: image.label - N_SOURCE, ..image.clone() })
            .collect()
    });
    let target = target.collect();
    let network = config.network(N_SOURCE as usize);
    let trainee = Trainee::new(
        network.parameter_count(),
        |device| network.init(random.named("model"), device),
        Cnn::stored_name,
        device,
    )?;
    Ok(Box::new(PreparedTransfer { config, source, target, trainee }))
}

/// The images of each digit, in an order that is drawn.
fn by_digit(images: &[Image], random: Stream) -> Vec<Vec<Image>> {
    let order = random.permutation(images.len());
    let of = |digit: u32| {
        let all = order.iter().map(|index| &images[*index]);
        all.filter(|image| image.label == digit).cloned().collect()
    };
    (0..2 * N_SOURCE).map(of).collect()
}

/// The first images of each digit, and the rest of them.
fn parts(digits: &[Vec<Image>], n_first: impl Fn(&[Image]) -> usize) -> [Vec<Image>; 2] {
    let first = digits.iter().flat_map(|images| images[..n_first(images)].to_vec());
    let rest = digits.iter().flat_map(|images| images[n_first(images)..].to_vec());
    [first.collect(), rest.collect()]
}

impl Prepared for PreparedTransfer {
    fn config(&self) -> RunConfig {
        RunConfig::DigitsTransfer(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        let network = self.config.network(N_SOURCE as usize);
        self.trainee.train(
            session,
            &ImageClassification,
            &self.source,
            &|directory| write_config(directory, &network),
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        let pretrained = self.trainee.best(directory)?.valid();
        let source_accuracy = accuracy(&pretrained, &self.source);
        let mut metrics = BTreeMap::from([("source_accuracy".to_string(), source_accuracy)]);
        let (mut lines, mut rows) = (Vec::new(), Vec::new());
        let n_images = &self.config.transfer.n_images;
        for way in WAYS {
            let of_number = |n_images: &usize| -> Result<(f64, [f64; 2])> {
                let seeds = 0..self.config.transfer.n_seeds as u64;
                let found = seeds.map(|seed| self.learn(way, *n_images, seed, &pretrained));
                let found: Vec<f64> = found.collect::<Result<_>>()?;
                Ok((*n_images as f64, mean_and_deviation(&found)))
            };
            let points: Vec<_> = n_images.iter().map(of_number).collect::<Result<_>>()?;
            for (n_images, [mean, _]) in &points {
                metrics.insert(format!("accuracy_{}_{n_images}", way.key()), *mean);
            }
            let curve = Curve { name: way.name().to_string(), points };
            rows.extend(curve.rows());
            lines.extend(curve.lines());
        }
        let n_seeds = self.config.transfer.n_seeds;
        let title = format!("test accuracy, mean of {n_seeds} seeds and standard deviation");
        Ok(Findings {
            metrics,
            tables: vec![Table {
                title: format!("{title}, against images of each digit"),
                columns: n_images.iter().map(ToString::to_string).collect(),
                rows,
            }],
            figures: vec![Figure {
                title,
                x_label: "images of each digit".into(),
                scale: Scale::Linear,
                lines,
            }],
            ..Findings::default()
        })
    }
}
