//! A head on features, and the data it is trained on.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::{Dropout, Linear, LinearConfig, cross_entropy};
use emberline_core::{Count, LayerGroup, LayerGroups, Loss, Stream};
use emberline_text::TextError;
use emberline_training::{Data, Objective};

use crate::epochs::Epochs;

/// A head alone, on features.
#[derive(Module, Debug)]
pub struct FeatureHead {
    /// Of the features.
    pub dropout: Dropout,
    /// `[width, n_classes]`, with a bias.
    pub head: Linear,
}

impl FeatureHead {
    /// A new head, the same as that of a [`Classifier`](crate::Classifier) of the same stream.
    pub fn init(
        width: usize,
        n_classes: usize,
        dropout: f64,
        random: Stream,
        device: &Device,
    ) -> Self {
        let head = LinearConfig::new(width, n_classes).init(random.named("head"), device);
        Self { dropout: Dropout::new(dropout), head }
    }

    /// # Shapes
    /// - features: `[batch_size, width]`
    /// - output: `[batch_size, n_classes]`
    pub fn forward(&self, features: Tensor<2>, dropout: Option<Stream>) -> Tensor<2> {
        let random = dropout.map(|random| random.named("head"));
        self.head.forward(self.dropout.forward(features, random))
    }
}

impl LayerGroups for FeatureHead {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        vec![LayerGroup::head(&["head", "dropout"])]
    }
}

/// Features, and the class of each.
#[derive(Clone, Debug)]
pub struct FeatureBatch {
    /// `[batch_size, width]`.
    pub features: Tensor<2>,
    /// `[batch_size]`.
    pub labels: Tensor<1, Int>,
}

/// Every feature has one label.
#[derive(Clone, Copy, Debug, Default)]
pub struct FeatureClassification;

const TERM: &str = "classification";

impl Objective<FeatureHead> for FeatureClassification {
    type Batch = FeatureBatch;
    type Carry = ();

    fn counts(&self, batch: &FeatureBatch) -> Vec<Count> {
        vec![Count { term: TERM, count: batch.labels.dims()[0] as f64 }]
    }

    fn loss(
        &self,
        model: &FeatureHead,
        batch: &FeatureBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let logits = model.forward(batch.features.clone(), dropout);
        (Loss::single(TERM, cross_entropy(logits, batch.labels.clone())), ())
    }
}

/// Features to train and to validate on. In each epoch every one for training comes once.
#[derive(Clone, Debug)]
pub struct FeatureBatches {
    training: (Tensor<2>, Vec<u32>),
    validation: (Tensor<2>, Vec<u32>),
    epochs: Epochs,
}

impl FeatureBatches {
    /// Batches of `batch_size` of features with a label each; the order of training is that of `random`.
    ///
    /// # Errors
    /// [`TextError::NoExample`] if there is nothing to train or to validate on, [`TextError::ZeroSize`].
    ///
    /// # Panics
    /// If there is not a label for each feature.
    pub fn new(
        training: (Tensor<2>, Vec<u32>),
        validation: (Tensor<2>, Vec<u32>),
        batch_size: usize,
        random: Stream,
    ) -> Result<Self, TextError> {
        for (features, labels) in [&training, &validation] {
            assert_eq!(features.dims()[0], labels.len(), "a label for each feature");
        }
        let epochs =
            Epochs::new(vec![1; training.1.len()], validation.1.len(), batch_size, random)?;
        Ok(Self { training, validation, epochs })
    }
}

fn batch((features, labels): &(Tensor<2>, Vec<u32>), rows: &[usize]) -> FeatureBatch {
    let device = features.device();
    let places: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
    let labels: Vec<i32> = rows.iter().map(|row| labels[*row] as i32).collect();
    let places = Tensor::<1, Int>::from_data(places.as_slice(), &device);
    FeatureBatch {
        features: features.clone().select(0, places),
        labels: Tensor::from_data(TensorData::from(labels.as_slice()), &device),
    }
}

impl Data for FeatureBatches {
    type Batch = FeatureBatch;

    fn update(&self, step: u64) -> Vec<FeatureBatch> {
        vec![batch(&self.training, &self.epochs.rows(step))]
    }

    fn starts_afresh(&self, _step: u64) -> bool {
        true
    }

    fn validation(&self) -> impl Iterator<Item = FeatureBatch> {
        let rows: Vec<usize> = (0..self.validation.1.len()).collect();
        let batches = rows.chunks(self.epochs.batch_size()).map(<[usize]>::to_vec);
        let batches: Vec<Vec<usize>> = batches.collect();
        batches.into_iter().map(|rows| batch(&self.validation, &rows))
    }

    fn updates_per_epoch(&self) -> u64 {
        self.epochs.n_updates()
    }
}
