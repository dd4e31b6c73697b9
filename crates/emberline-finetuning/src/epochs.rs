//! Which examples an update reads.

use std::cell::RefCell;

use emberline_core::Stream;
use emberline_text::{TextError, length_batches};

/// Batches of examples by their index: in each epoch every one comes once, those of about one length together.
#[derive(Clone, Debug)]
pub(crate) struct Epochs {
    lengths: Vec<usize>,
    batch_size: usize,
    random: Stream,
    /// The epoch of the last update that was asked for and its batches, which serve all its updates.
    known: RefCell<Option<(u64, Vec<Vec<usize>>)>>,
}

impl Epochs {
    /// Of training examples of these lengths.
    ///
    /// # Errors
    /// [`TextError::NoExample`] if there is nothing to train or to validate on, [`TextError::ZeroSize`].
    pub fn new(
        lengths: Vec<usize>,
        n_validation: usize,
        batch_size: usize,
        random: Stream,
    ) -> Result<Self, TextError> {
        if batch_size == 0 {
            return Err(TextError::ZeroSize { name: "batch_size" });
        }
        for (name, count) in
            [("the training part", lengths.len()), ("the validation part", n_validation)]
        {
            if count == 0 {
                return Err(TextError::NoExample { name: name.to_string() });
            }
        }
        Ok(Self { lengths, batch_size, random, known: RefCell::new(None) })
    }

    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// The updates of an epoch.
    pub fn n_updates(&self) -> u64 {
        self.lengths.len().div_ceil(self.batch_size) as u64
    }

    /// The examples of an update, by the number of updates before it.
    pub fn rows(&self, step: u64) -> Vec<usize> {
        let (epoch, index) = (step / self.n_updates(), step % self.n_updates());
        let mut known = self.known.borrow_mut();
        if known.as_ref().is_none_or(|(known, _)| *known != epoch) {
            let batches = length_batches(&self.lengths, self.batch_size, self.random.at(epoch));
            *known = Some((epoch, batches));
        }
        let (_, batches) = known.as_ref().expect("the batches of this epoch are known");
        batches[index as usize].clone()
    }
}
