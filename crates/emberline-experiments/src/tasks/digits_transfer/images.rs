//! Images of digits: reading them, and training a network on them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::cross_entropy;
use emberline_core::{Count, Loss, Stream};
use emberline_models::cnn::Cnn;
use emberline_training::{Data, Objective};

/// The height and width of an image.
pub const D_IMAGE: usize = 8;
/// The largest value of a pixel.
const LARGEST: f32 = 16.0;
const N_PIXELS: usize = D_IMAGE * D_IMAGE;

/// An image with the digit on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// From 0 to 1, row after row.
    pub pixels: Vec<f32>,
    /// What is to be said of it: the digit, or its place among the classes of a task.
    pub label: u32,
}

/// Reads images: a line each, its pixels and the digit.
///
/// # Errors
/// If the file cannot be read, or a line is not as expected.
pub fn read(file: &Path) -> Result<Vec<Image>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| {
            image(line).with_context(|| format!("line {} of {}", index + 1, file.display()))
        })
        .collect()
}

fn image(line: &str) -> Result<Image> {
    let numbers = line.split(',').map(|number| number.trim().parse::<u32>());
    let numbers: Vec<u32> = numbers.collect::<Result<_, _>>().context("expected whole numbers")?;
    let found = numbers.len();
    ensure!(found == N_PIXELS + 1, "expected {N_PIXELS} pixels and a digit, found {found} numbers");
    let (pixels, label) = (&numbers[..N_PIXELS], numbers[N_PIXELS]);
    let largest = LARGEST as u32;
    if let Some(pixel) = pixels.iter().find(|pixel| **pixel > largest) {
        anyhow::bail!("a pixel of {pixel}, expected 0 to {largest}");
    }
    ensure!(label < 10, "a digit of {label}");
    Ok(Image { pixels: pixels.iter().map(|pixel| *pixel as f32 / LARGEST).collect(), label })
}

/// Images as a network reads them.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// `[batch_size, 1, 8, 8]`.
    pub images: Tensor<4>,
    /// `[batch_size]`.
    pub labels: Tensor<1, Int>,
}

impl ImageBatch {
    /// The batch of some images.
    pub fn new(images: &[&Image], device: &Device) -> Self {
        let pixels: Vec<f32> = images.iter().flat_map(|image| image.pixels.clone()).collect();
        let labels: Vec<i32> = images.iter().map(|image| image.label as i32).collect();
        let shape = [images.len(), 1, D_IMAGE, D_IMAGE];
        Self {
            images: Tensor::from_data(TensorData::new(pixels, shape), device),
            labels: Tensor::from_data(labels.as_slice(), device),
        }
    }
}

/// Every image has one label.
pub struct ImageClassification;

impl Objective<Cnn> for ImageClassification {
    type Batch = ImageBatch;
    type Carry = ();

    fn counts(&self, batch: &ImageBatch) -> Vec<Count> {
        vec![Count { term: "classification", count: batch.labels.dims()[0] as f64 }]
    }

    fn loss(
        &self,
        model: &Cnn,
        batch: &ImageBatch,
        _carry: Option<()>,
        _dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let logits = model.logits(batch.images.clone());
        (Loss::single("classification", cross_entropy(logits, batch.labels.clone())), ())
    }
}

/// Images to train and to validate on. In each epoch every image comes once; a last batch of fewer is left out.
pub struct ImageBatches {
    training: Vec<Image>,
    validation: Vec<Image>,
    batch_size: usize,
    random: Stream,
    device: Device,
}

impl ImageBatches {
    /// Batches of at most `batch_size` images in an order that is that of `random`, on the plain device.
    ///
    /// # Errors
    /// If there is nothing to train or to validate on.
    pub fn new(
        training: Vec<Image>,
        validation: Vec<Image>,
        batch_size: usize,
        random: Stream,
        device: &Device,
    ) -> Result<Self> {
        ensure!(!training.is_empty(), "there is no image to train on");
        ensure!(!validation.is_empty(), "there is no image to validate on");
        let batch_size = batch_size.min(training.len());
        Ok(Self { training, validation, batch_size, random, device: device.clone().inner() })
    }
}

impl Data for ImageBatches {
    type Batch = ImageBatch;

    fn update(&self, step: u64) -> Vec<ImageBatch> {
        let (epoch, index) = (step / self.updates_per_epoch(), step % self.updates_per_epoch());
        let order = self.random.at(epoch).permutation(self.training.len());
        let rows = &order[index as usize * self.batch_size..][..self.batch_size];
        let images: Vec<&Image> = rows.iter().map(|row| &self.training[*row]).collect();
        vec![ImageBatch::new(&images, &self.device)]
    }

    fn starts_afresh(&self, _step: u64) -> bool {
        true
    }

    fn validation(&self) -> impl Iterator<Item = ImageBatch> {
        const ROWS: usize = 256;
        self.validation
            .chunks(ROWS)
            .map(|images| ImageBatch::new(&images.iter().collect::<Vec<_>>(), &self.device))
    }

    fn updates_per_epoch(&self) -> u64 {
        (self.training.len() / self.batch_size) as u64
    }
}

/// The part of the validation images that a network names.
pub fn accuracy(model: &Cnn, data: &ImageBatches) -> f64 {
    let right = data.validation().map(|batch| {
        let named = model.logits(batch.images).argmax(1).squeeze_dim::<1>(1);
        named.equal(batch.labels).int().sum().into_scalar::<i64>() as f64
    });
    right.sum::<f64>() / data.validation.len() as f64
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    fn line(pixel: u32, digit: u32) -> String {
        let pixels = [pixel; N_PIXELS].map(|pixel| pixel.to_string()).join(",");
        format!("{pixels},{digit}")
    }

    #[test]
    fn a_line_is_an_image_and_its_digit() {
        let read = image(&line(4, 7)).unwrap();
        assert_eq!((read.pixels, read.label), (vec![0.25; 64], 7));
        let error = |line: &str| image(line).unwrap_err().to_string();
        assert_eq!(error("1,2,3"), "expected 64 pixels and a digit, found 3 numbers");
        assert_eq!(error(&line(17, 7)), "a pixel of 17, expected 0 to 16");
        assert_eq!(error(&line(16, 10)), "a digit of 10");
        assert_eq!(error("a"), "expected whole numbers");
    }

    #[test]
    fn an_epoch_is_every_image_once() {
        let images = (0..10).map(|label| Image { pixels: vec![0.0; 64], label });
        let images: Vec<Image> = images.collect();
        let random = Stream::new(1);
        let data =
            ImageBatches::new(images.clone(), images.clone(), 5, random, &test_device()).unwrap();
        let labels = |step| data.update(step)[0].labels.to_data().iter::<i32>().collect::<Vec<_>>();
        let epoch = |first| [labels(first), labels(first + 1)].concat();
        assert_ne!(epoch(0), epoch(2));
        for first in [0, 2] {
            let mut labels = epoch(first);
            labels.sort_unstable();
            assert_eq!(labels, (0..10).collect::<Vec<_>>());
        }
        // Fewer images than a batch has are one batch.
        let few = ImageBatches::new(images[..3].to_vec(), images, 5, random, &test_device());
        assert_eq!(few.unwrap().update(0)[0].images.dims(), [3, 1, 8, 8]);
    }
}
