//! Contiguous windows for truncated back-propagation.
//!
//! The stream of tokens is cut into `batch_size` contiguous rows of equal length, and the rows side by
//! side into windows of `seq_length` tokens. The targets are the tokens one later. Row `r` of window
//! `w + 1` goes on where row `r` of window `w` stopped, so a recurrent state carries over.
//!
//! torch's `word_language_model` cuts the same rows, but loses the target at the end of each; here the
//! last target of a row is the first token of the next.

use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_core::{Stream, TokenBatch};

use crate::error::TextError;

/// The windows of a text that training goes through, as a pure function of their index.
#[derive(Clone, Debug)]
pub struct Windows {
    rows: Rows,
    seq_length: usize,
    n_micro_batches: usize,
    /// What draws the places where rows begin; without it they go on from window to window.
    places: Option<Stream>,
}

impl Windows {
    /// Cuts a text into full windows. What is left over at the end of a row, fewer than `seq_length`
    /// tokens, is not trained on.
    ///
    /// # Errors
    /// [`TextError::TooShort`] if there is not one window, [`TextError::ZeroSize`].
    pub fn new(tokens: Vec<u32>, batch_size: usize, seq_length: usize) -> Result<Self, TextError> {
        let rows = Rows::new(tokens, batch_size, seq_length, seq_length)?;
        Ok(Self { rows, seq_length, n_micro_batches: 1, places: None })
    }

    /// The same windows with their rows dealt to `n_micro_batches` equal micro-batches, whose gradients
    /// training accumulates.
    ///
    /// # Errors
    /// [`TextError::UnevenMicroBatches`], [`TextError::ZeroSize`].
    pub fn in_micro_batches(mut self, n_micro_batches: usize) -> Result<Self, TextError> {
        let batch_size = self.rows.batch_size;
        if n_micro_batches == 0 {
            return Err(TextError::ZeroSize { name: "n_micro_batches" });
        }
        if !batch_size.is_multiple_of(n_micro_batches) {
            return Err(TextError::UnevenMicroBatches { batch_size, n_micro_batches });
        }
        self.n_micro_batches = n_micro_batches;
        Ok(self)
    }

    /// Windows whose rows begin anywhere in the text, each at a place of its own (nanoGPT): for models that carry
    /// nothing over. There is no end to them.
    pub fn drawn(self, random: Stream) -> Self {
        Self { places: Some(random), ..self }
    }

    /// Which window is that of an update: after all that go on from each other the first again.
    pub fn index_of_update(&self, step: u64) -> usize {
        match self.places {
            Some(_) => step as usize,
            None => (step % self.windows_per_epoch() as u64) as usize,
        }
    }

    /// The number of windows in one pass over the text.
    pub fn windows_per_epoch(&self) -> usize {
        self.rows.row_length / self.seq_length
    }

    /// One window, of `batch_size` rows of `seq_length` tokens.
    ///
    /// # Panics
    /// If `index` is not below [`windows_per_epoch`](Self::windows_per_epoch), unless windows are
    /// [`drawn`](Self::drawn).
    pub fn window(&self, index: usize) -> Window {
        if let Some(random) = self.places {
            let n_places = self.rows.tokens.len() - self.seq_length;
            let place = |row: usize| random.at(index as u64).below(row as u64, n_places);
            return self.rows.window_at((0..self.rows.batch_size).map(place), self.seq_length);
        }
        let windows_per_epoch = self.windows_per_epoch();
        assert!(index < windows_per_epoch, "window {index} was asked for of {windows_per_epoch}");
        self.rows.window(index * self.seq_length, self.seq_length)
    }

    /// One window as its micro-batches, from the first rows to the last.
    ///
    /// # Panics
    /// As [`window`](Self::window).
    pub fn micro_batches(&self, index: usize) -> Vec<Window> {
        self.micro_batches_of_rows(index, self.rows.batch_size)
    }

    /// The first rows of a window as micro-batches of the usual size, the last of which may have fewer: for updates
    /// that grow.
    ///
    /// # Panics
    /// As [`window`](Self::window), and if `n_rows` is 0 or more than the window has.
    pub fn micro_batches_of_rows(&self, index: usize, n_rows: usize) -> Vec<Window> {
        let Window { batch_size, seq_length, inputs, targets } = self.window(index);
        assert!((1..=batch_size).contains(&n_rows), "{n_rows} of {batch_size} rows");
        let cut = batch_size / self.n_micro_batches * seq_length;
        let end = n_rows * seq_length;
        let parts = inputs[..end].chunks(cut).zip(targets[..end].chunks(cut));
        parts
            .map(|(inputs, targets)| Window {
                batch_size: inputs.len() / seq_length,
                seq_length,
                inputs: inputs.to_vec(),
                targets: targets.to_vec(),
            })
            .collect()
    }
}

/// Documents as one text, with a separator between each and the next: windows of it hold the end of one and the start of
/// another, so that none is padded (Brown and others, 2020, section 2.2). No mask hides the document before; what the
/// separator means is to be learnt.
pub fn packed(documents: &[Vec<u32>], separator: u32) -> Vec<u32> {
    documents.join(&separator)
}

/// Windows that cover a text for evaluation: like [`Windows`], in order, the last one as short as what
/// remains, so that every row is read to its end.
///
/// The rows are equal, so up to `batch_size - 1` targets at the end of the text are left out; none with
/// a batch size of 1.
///
/// # Errors
/// [`TextError::TooShort`] if the rows would be empty, [`TextError::ZeroSize`].
pub fn covering_windows(
    tokens: Vec<u32>,
    batch_size: usize,
    seq_length: usize,
) -> Result<Vec<Window>, TextError> {
    let rows = Rows::new(tokens, batch_size, seq_length, 1)?;
    let starts = (0..rows.row_length).step_by(seq_length);
    Ok(starts.map(|start| rows.window(start, seq_length.min(rows.row_length - start))).collect())
}

/// Rows of tokens and of the tokens one later, both `[batch_size, seq_length]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The number of rows.
    pub batch_size: usize,
    /// The number of tokens of a row.
    pub seq_length: usize,
    /// What the model reads, row after row.
    pub inputs: Vec<u32>,
    /// What comes next at each position, row after row.
    pub targets: Vec<u32>,
}

impl Window {
    /// The inputs as a batch of full rows, `[batch_size, seq_length]`.
    pub fn batch(&self, device: &Device) -> TokenBatch {
        TokenBatch::new(self.tensor(&self.inputs, device))
    }

    /// The targets, `[batch_size, seq_length]`.
    pub fn targets(&self, device: &Device) -> Tensor<2, Int> {
        self.tensor(&self.targets, device)
    }

    fn tensor(&self, ids: &[u32], device: &Device) -> Tensor<2, Int> {
        let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        Tensor::from_data(TensorData::new(ids, [self.batch_size, self.seq_length]), device)
    }
}

/// A stream cut into rows of equal length that follow each other.
#[derive(Clone, Debug)]
struct Rows {
    tokens: Vec<u32>,
    batch_size: usize,
    row_length: usize,
}

impl Rows {
    fn new(
        tokens: Vec<u32>,
        batch_size: usize,
        seq_length: usize,
        shortest: usize,
    ) -> Result<Self, TextError> {
        for (size, name) in [(batch_size, "batch_size"), (seq_length, "seq_length")] {
            if size == 0 {
                return Err(TextError::ZeroSize { name });
            }
        }
        let n_targets = tokens.len().saturating_sub(1);
        let row_length = n_targets / batch_size;
        if row_length < shortest {
            let needed = batch_size.saturating_mul(shortest).saturating_add(1);
            return Err(TextError::TooShort {
                tokens: tokens.len(),
                needed,
                batch_size,
                seq_length,
            });
        }
        Ok(Self { tokens, batch_size, row_length })
    }

    /// The window that begins at `start` of every row.
    fn window(&self, start: usize, seq_length: usize) -> Window {
        self.window_at((0..self.batch_size).map(|row| row * self.row_length + start), seq_length)
    }

    /// The window whose rows begin at these places of the text.
    fn window_at(&self, places: impl Iterator<Item = usize> + Clone, seq_length: usize) -> Window {
        let shifted_by = |shift: usize| {
            let starts = places.clone().map(|place| place + shift);
            starts.flat_map(|at| &self.tokens[at..at + seq_length]).copied().collect()
        };
        let batch_size = self.batch_size;
        Window { batch_size, seq_length, inputs: shifted_by(0), targets: shifted_by(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_to(n: u32) -> Vec<u32> {
        (0..n).collect()
    }

    #[test]
    fn rows_that_are_drawn_begin_anywhere_and_are_the_same_for_the_same_index() {
        let windows = Windows::new(count_to(9), 4, 2).unwrap().drawn(Stream::new(1));
        let mut seen = [false; 7];
        for index in 0..40 {
            let window = windows.window(index);
            assert_eq!(window, windows.window(index));
            let targets: Vec<u32> = window.inputs.iter().map(|token| token + 1).collect();
            assert_eq!(window.targets, targets);
            for row in window.inputs.chunks(2) {
                assert_eq!(row[1], row[0] + 1);
                seen[row[0] as usize] = true;
            }
        }
        // The last place leaves a target for its last token.
        assert_eq!(seen, [true; 7]);
        assert_ne!(windows.window(0), windows.window(1));
        assert_eq!((windows.index_of_update(5), windows.windows_per_epoch()), (5, 1));
    }

    #[test]
    fn rows_go_on_from_window_to_window() {
        // 13 tokens have 12 targets: two rows of 6, each of two windows of 3.
        let windows = Windows::new(count_to(13), 2, 3).unwrap();
        assert_eq!(windows.windows_per_epoch(), 2);
        let [first, second] = [windows.window(0), windows.window(1)];
        assert_eq!(first.inputs, [0, 1, 2, 6, 7, 8]);
        assert_eq!(first.targets, [1, 2, 3, 7, 8, 9]);
        assert_eq!(second.inputs, [3, 4, 5, 9, 10, 11]);
        assert_eq!(second.targets, [4, 5, 6, 10, 11, 12]);
        assert_eq!(windows.window(0), first);
    }

    #[test]
    fn training_drops_less_than_a_window_at_the_end_of_each_row() {
        let windows = Windows::new(count_to(18), 2, 3).unwrap();
        assert_eq!(windows.windows_per_epoch(), 2);
        assert_eq!(windows.window(1).inputs, [3, 4, 5, 11, 12, 13]);
    }

    #[test]
    fn micro_batches_hold_the_rows_of_the_window_in_order() {
        let windows = Windows::new(count_to(25), 4, 3).unwrap().in_micro_batches(2).unwrap();
        let whole = windows.window(1);
        let parts = windows.micro_batches(1);
        assert!(parts.iter().all(|part| (part.batch_size, part.seq_length) == (2, 3)));
        let inputs: Vec<u32> = parts.iter().flat_map(|part| part.inputs.clone()).collect();
        let targets: Vec<u32> = parts.iter().flat_map(|part| part.targets.clone()).collect();
        assert_eq!((inputs, targets), (whole.inputs, whole.targets));
    }

    #[test]
    fn an_update_may_have_the_first_rows_alone() {
        let windows = Windows::new(count_to(25), 4, 3).unwrap().in_micro_batches(2).unwrap();
        let whole = windows.window(1);
        for (n_rows, sizes) in [(1, vec![1]), (2, vec![2]), (3, vec![2, 1]), (4, vec![2, 2])] {
            let parts = windows.micro_batches_of_rows(1, n_rows);
            assert_eq!(parts.iter().map(|part| part.batch_size).collect::<Vec<_>>(), sizes);
            let inputs: Vec<u32> = parts.iter().flat_map(|part| part.inputs.clone()).collect();
            assert_eq!(inputs, whole.inputs[..n_rows * 3]);
        }
    }

    #[test]
    fn windows_cross_documents_with_the_separator_between_them() {
        let documents = [vec![1, 2, 3], vec![4], vec![5, 6]];
        let text = packed(&documents, 9);
        assert_eq!(text, [1, 2, 3, 9, 4, 9, 5, 6]);
        let windows = Windows::new(text, 1, 3).unwrap();
        assert_eq!(windows.window(1).inputs, [9, 4, 9]);
        assert_eq!(windows.window(1).targets, [4, 9, 5]);
        assert_eq!(packed(&documents[..1], 9), documents[0]);
    }

    #[test]
    fn covering_windows_predict_every_token_but_the_first_once() {
        for (n, batch_size, seq_length) in
            [(11, 1, 4), (9, 1, 4), (2, 1, 4), (13, 3, 3), (25, 4, 5)]
        {
            let windows = covering_windows(count_to(n), batch_size, seq_length).unwrap();
            let mut targets: Vec<u32> = windows.iter().flat_map(|w| w.targets.clone()).collect();
            targets.sort_unstable();
            assert_eq!(targets, (1..n).collect::<Vec<_>>());
            assert!(windows.iter().all(|w| w.seq_length <= seq_length));
            assert!(windows.iter().all(|w| w.inputs.len() == batch_size * w.seq_length));
        }
    }

    #[test]
    fn covering_windows_leave_out_fewer_targets_than_rows() {
        let windows = covering_windows(count_to(12), 3, 2).unwrap();
        let n_targets: usize = windows.iter().map(|window| window.targets.len()).sum();
        assert_eq!(n_targets, 9);
    }

    #[test]
    fn the_shortest_possible_text_makes_one_window() {
        assert_eq!(Windows::new(count_to(7), 2, 3).unwrap().windows_per_epoch(), 1);
        assert_eq!(covering_windows(count_to(3), 2, 3).unwrap().len(), 1);
    }

    #[test]
    fn a_text_shorter_than_one_window_is_an_error_that_says_what_is_needed() {
        let error = Windows::new(count_to(6), 2, 3).unwrap_err().to_string();
        let expected = "the text has 6 tokens, but batch_size 2 and seq_length 3 need at least 7";
        assert_eq!(error, expected);
        let error = covering_windows(count_to(2), 2, 3).unwrap_err();
        assert!(matches!(error, TextError::TooShort { tokens: 2, needed: 3, .. }), "{error}");
        assert!(Windows::new(Vec::new(), 1, 1).is_err());
        assert!(Windows::new(count_to(3), usize::MAX, usize::MAX).is_err());
    }

    #[test]
    fn sizes_of_zero_and_uneven_micro_batches_are_errors() {
        let name_of = |error: TextError| error.to_string();
        assert!(
            name_of(Windows::new(count_to(9), 0, 3).unwrap_err()).starts_with("batch_size is 0")
        );
        assert!(
            name_of(Windows::new(count_to(9), 2, 0).unwrap_err()).starts_with("seq_length is 0")
        );
        assert!(covering_windows(count_to(9), 0, 3).is_err());
        let windows = Windows::new(count_to(25), 4, 3).unwrap();
        let error = windows.clone().in_micro_batches(3).unwrap_err().to_string();
        assert_eq!(error, "batch_size 4 is not a multiple of the 3 micro-batches");
        assert!(name_of(windows.in_micro_batches(0).unwrap_err()).starts_with("n_micro_batches"));
    }

    #[test]
    fn tensors_hold_the_rows() {
        let device = emberline_backend::test_device();
        let window = Windows::new(count_to(13), 2, 3).unwrap().window(0);
        let ids = |tensor: Tensor<2, Int>| tensor.into_data().convert::<i64>();
        assert_eq!(window.batch(&device).dims(), [2, 3]);
        let targets = ids(window.targets(&device));
        assert_eq!(targets, TensorData::from([[1i64, 2, 3], [7, 8, 9]]));
        assert_eq!(ids(window.batch(&device).tokens), TensorData::from([[0i64, 1, 2], [6, 7, 8]]));
    }
}
