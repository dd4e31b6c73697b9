//! A text as windows of tokens with their next tokens.

use burn::tensor::Device;
use emberline_text::{TextError, Window, Windows, covering_windows};
use emberline_training::{BatchRamp, BatchSizes, Data};

use crate::next_token::NextTokenBatch;

/// The windows of a text: an update is a window of all its rows, and goes on where the update before stopped, unless
/// its windows are drawn.
#[derive(Clone, Debug)]
pub struct NextTokenWindows {
    training: Windows,
    validation: Vec<Window>,
    /// The rows of updates, where they grow.
    batch_sizes: Option<BatchSizes>,
    device: Device,
}

impl NextTokenWindows {
    /// Training windows, and a text to validate on, which is cut into windows of the same size.
    ///
    /// # Errors
    /// [`TextError::TooShort`] if `validation` has not a token and a target for each row.
    pub fn new(training: Windows, validation: &[u32], device: &Device) -> Result<Self, TextError> {
        let Window { batch_size, seq_length, .. } = training.window(0);
        let validation = covering_windows(validation.to_vec(), batch_size, seq_length)?;
        // Tokens need no gradient, and the model of a validation is on the plain device.
        Ok(Self { training, validation, batch_sizes: None, device: device.clone().inner() })
    }

    /// The same with updates that have few rows at first. For windows that are drawn: of others the last rows would be
    /// passed over.
    pub fn ramped(self, ramp: &BatchRamp) -> Self {
        let Window { batch_size, seq_length, .. } = self.training.window(0);
        Self { batch_sizes: Some(ramp.batch_sizes(batch_size, seq_length)), ..self }
    }

    fn batch(&self, window: &Window) -> NextTokenBatch {
        NextTokenBatch { tokens: window.batch(&self.device), targets: window.targets(&self.device) }
    }
}

impl Data for NextTokenWindows {
    type Batch = NextTokenBatch;

    fn update(&self, step: u64) -> Vec<NextTokenBatch> {
        let index = self.training.index_of_update(step);
        let windows = match &self.batch_sizes {
            Some(sizes) => self.training.micro_batches_of_rows(index, sizes.of_update(step)),
            None => self.training.micro_batches(index),
        };
        windows.iter().map(|window| self.batch(window)).collect()
    }

    fn starts_afresh(&self, step: u64) -> bool {
        step.is_multiple_of(self.updates_per_epoch())
    }

    fn validation(&self) -> impl Iterator<Item = NextTokenBatch> {
        self.validation.iter().map(|window| self.batch(window))
    }

    fn updates_per_epoch(&self) -> u64 {
        self.training.windows_per_epoch() as u64
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, Tensor};
    use emberline_backend::test_device;

    use super::*;

    fn ids(tensor: &Tensor<2, Int>) -> Vec<i32> {
        tensor.to_data().iter().collect()
    }

    /// Two rows of six targets, in windows of three.
    fn windows() -> NextTokenWindows {
        let training = Windows::new((0..13).collect(), 2, 3).unwrap();
        let validation: Vec<u32> = (20..29).collect();
        NextTokenWindows::new(training, &validation, &test_device().autodiff()).unwrap()
    }

    #[test]
    fn an_epoch_is_every_window_once_and_starts_afresh() {
        let data = windows();
        assert_eq!(data.updates_per_epoch(), 2);
        let inputs = |step| ids(&data.update(step)[0].tokens.tokens);
        assert_eq!(inputs(1), [3, 4, 5, 9, 10, 11]);
        assert_eq!(ids(&data.update(1)[0].targets), [4, 5, 6, 10, 11, 12]);
        assert_eq!(inputs(2), inputs(0));
        assert_eq!([0, 1, 2, 3].map(|step| data.starts_afresh(step)), [true, false, true, false]);
    }

    #[test]
    fn validation_reads_its_rows_to_the_end() {
        let batches: Vec<_> = windows().validation().collect();
        assert_eq!(batches.len(), 2);
        assert_eq!(ids(&batches[1].tokens.tokens), [23, 27]);
        assert_eq!(ids(&batches[1].targets), [24, 28]);
    }

    #[test]
    fn updates_grow_to_the_whole_window() {
        let training = Windows::new((0..37).collect(), 4, 3).unwrap().in_micro_batches(2).unwrap();
        let validation: Vec<u32> = (20..33).collect();
        let data = NextTokenWindows::new(training, &validation, &test_device()).unwrap();
        let data = data.ramped(&BatchRamp { first_batch_size: 1, tokens: 9 });
        let rows = |step| -> Vec<usize> {
            data.update(step).iter().map(|batch| batch.tokens.dims()[0]).collect()
        };
        // After 3 tokens 1 + 3 · 3 / 9 rows, after 9 all 4.
        assert_eq!([0, 1, 2, 3].map(rows), [vec![1], vec![2], vec![2, 2], vec![2, 2]]);
        assert_eq!(data.validation().next().unwrap().tokens.dims(), [4, 3]);
    }

    #[test]
    fn a_text_without_a_target_for_each_row_is_refused() {
        let training = Windows::new((0..13).collect(), 2, 3).unwrap();
        assert!(NextTokenWindows::new(training, &[1, 2], &test_device()).is_err());
    }
}
