//! A classifier of texts on any encoder: its vectors of tokens become one of the text, which a linear layer reads.

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use emberline_backend::{Dropout, Linear, LinearConfig};
use emberline_core::task::Row;
use emberline_core::{LayerGroup, LayerGroups, Stream, TaskModel, TokenBatch, TokenEncoder};
use serde::{Deserialize, Serialize};

/// How the vectors of the tokens of a text become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// That of the first token, which is `[CLS]` for BERT.
    First,
    /// That of the last token, the only one that has read the whole text where a model reads from left to right.
    Last,
    /// Their mean.
    Mean,
    /// That of the last token, the largest number of each entry, and the mean, side by side (Howard and Ruder, 2018).
    Concat,
}

/// An encoder with a head over the classes of a text.
#[derive(Module, Debug)]
pub struct Classifier<E: Module> {
    /// What is below the head.
    pub encoder: E,
    /// Of what the head reads.
    pub dropout: Dropout,
    /// `[width, n_classes]`, with a bias.
    pub head: Linear,
    /// What the head reads.
    #[module(skip)]
    pub pooling: Pooling,
}

/// The sizes of the head of a [`Classifier`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The number of classes.
    pub n_classes: usize,
    /// What the head reads.
    pub pooling: Pooling,
    /// The probability with which what the head reads is dropped in training.
    pub dropout: f64,
}

impl ClassifierConfig {
    /// A new head on an encoder.
    pub fn init<E: Module + TokenEncoder>(
        &self,
        encoder: E,
        random: Stream,
        device: &Device,
    ) -> Classifier<E> {
        let width = self.pooling.width(encoder.d_model());
        let head = LinearConfig::new(width, self.n_classes).init(random.named("head"), device);
        Classifier { encoder, dropout: Dropout::new(self.dropout), head, pooling: self.pooling }
    }
}

impl Pooling {
    /// The width of the vector of a text, by that of a token.
    pub fn width(self, d_model: usize) -> usize {
        match self {
            Self::First | Self::Last | Self::Mean => d_model,
            Self::Concat => 3 * d_model,
        }
    }

    /// The vectors of texts. What stands in a padding changes none.
    ///
    /// # Shapes
    /// - tokens of `batch`: `[batch_size, seq_length]`
    /// - hidden: `[batch_size, seq_length, d_model]`
    /// - output: `[batch_size, width]`
    ///
    /// # Panics
    /// If a row has no token.
    pub fn pool(self, batch: &TokenBatch, hidden: Tensor<3>) -> Tensor<2> {
        match self {
            Self::First => at(batch, hidden, |row| row.start),
            Self::Last => at(batch, hidden, |row| row.end - 1),
            Self::Mean => mean(batch, hidden),
            Self::Concat => {
                let last = at(batch, hidden.clone(), |row| row.end - 1);
                let largest = largest(batch, hidden.clone());
                Tensor::cat(vec![last, largest, mean(batch, hidden)], 1)
            }
        }
    }
}

/// The vector at one place of each row.
fn at(
    batch: &TokenBatch,
    hidden: Tensor<3>,
    place: impl Fn(&std::ops::Range<usize>) -> usize,
) -> Tensor<2> {
    let [batch_size, seq_length, d_model] = hidden.dims();
    let ranges = batch.ranges();
    let places = ranges.iter().enumerate().map(|(row, range)| {
        assert!(!range.is_empty(), "row {row} has no token");
        (row * seq_length + place(range)) as i32
    });
    let places: Vec<i32> = places.collect();
    let places = Tensor::<1, Int>::from_data(places.as_slice(), &hidden.device().inner());
    hidden.reshape([batch_size * seq_length, d_model]).select(0, places)
}

fn mean(batch: &TokenBatch, hidden: Tensor<3>) -> Tensor<2> {
    let shares = per_token(batch, |range, place| match range.contains(&place) {
        true => 1.0 / range.len() as f32,
        false => 0.0,
    });
    // What is not there may be no number at all in a padding.
    let shares = Tensor::<3>::from_data(shares, (&hidden.device().inner(), hidden.dtype()));
    let hidden = hidden.mask_fill(outside(batch, &shares.device()), 0.0);
    (hidden * shares).sum_dim(1).squeeze_dim(1)
}

fn largest(batch: &TokenBatch, hidden: Tensor<3>) -> Tensor<2> {
    let outside = outside(batch, &hidden.device().inner());
    hidden.mask_fill(outside, -1e30).max_dim(1).squeeze_dim(1)
}

/// Which places are no valid token, `[batch_size, seq_length, 1]`.
fn outside(batch: &TokenBatch, device: &Device) -> Tensor<3, Bool> {
    Tensor::from_data(per_token(batch, |range, place| !range.contains(&place)), device)
}

/// A value for each place of each row, `[batch_size, seq_length, 1]`.
fn per_token<T: burn::tensor::Element>(
    batch: &TokenBatch,
    value: impl Fn(&std::ops::Range<usize>, usize) -> T,
) -> TensorData {
    let [batch_size, seq_length] = batch.dims();
    let ranges = batch.ranges();
    let values = ranges.iter().flat_map(|row| (0..seq_length).map(|place| value(row, place)));
    TensorData::new(values.collect::<Vec<T>>(), [batch_size, seq_length, 1])
}

impl<E: Module + TokenEncoder> TokenEncoder for Classifier<E> {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.encoder.encode(batch)
    }

    fn d_model(&self) -> usize {
        self.encoder.d_model()
    }
}

impl<E: Module + TokenEncoder> TaskModel for Classifier<E> {
    type Item = Row;

    fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
        let pooled = self.pooling.pool(batch, self.encode(batch));
        let random = batch.dropout.map(|random| random.named("head"));
        self.head.forward(self.dropout.forward(pooled, random))
    }

    fn n_classes(&self) -> usize {
        self.head.weight.lazy_shape()[1]
    }
}

impl<E: LayerGroups + burn::module::ModuleDisplay> LayerGroups for Classifier<E> {
    fn layer_groups(&self) -> Vec<LayerGroup> {
        let below = self.encoder.layer_groups().into_iter().map(|group| group.within("encoder"));
        below.chain([LayerGroup::head(&["head", "dropout"])]).collect()
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    /// Two rows, one of which is shorter and has no number in its padding.
    fn pooled(pooling: Pooling) -> Vec<f32> {
        let device = test_device();
        let batch = TokenBatch::padded(&[&[1, 1, 1], &[1]], &device);
        let nan = f32::NAN;
        let hidden = Tensor::<3>::from_data(
            [[[1.0, 9.0], [5.0, -3.0], [3.0, 0.0]], [[-7.0, 8.0], [nan, nan], [nan, nan]]],
            &device,
        );
        let pooled = pooling.pool(&batch, hidden);
        assert_eq!(pooled.dims(), [2, pooling.width(2)]);
        pooled.into_data().iter().collect()
    }

    #[test]
    fn every_pooling_is_that_of_valid_tokens_alone() {
        assert_eq!(pooled(Pooling::First), [1.0, 9.0, -7.0, 8.0]);
        assert_eq!(pooled(Pooling::Last), [3.0, 0.0, -7.0, 8.0]);
        assert_eq!(pooled(Pooling::Mean), [3.0, 2.0, -7.0, 8.0]);
        assert_eq!(
            pooled(Pooling::Concat),
            [3.0, 0.0, 5.0, 9.0, 3.0, 2.0, -7.0, 8.0, -7.0, 8.0, -7.0, 8.0]
        );
    }

    #[test]
    fn rows_that_are_padded_on_the_left_are_pooled_too() {
        let device = test_device();
        let batch = TokenBatch::left_padded(&[&[1, 1], &[1]], &device);
        let hidden = Tensor::<3>::from_data([[[1.0], [3.0]], [[50.0], [4.0]]], &device);
        for (pooling, expected) in [
            (Pooling::First, [1.0f32, 4.0]),
            (Pooling::Last, [3.0, 4.0]),
            (Pooling::Mean, [2.0, 4.0]),
        ] {
            let found: Vec<f32> = pooling.pool(&batch, hidden.clone()).into_data().iter().collect();
            assert_eq!(found, expected, "{pooling:?}");
        }
    }
}
