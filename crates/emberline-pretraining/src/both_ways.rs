//! Sentences as one text that two readers go through, the second with every sentence turned around.
//!
//! Both read the sentences in the same order, so that windows of one length cut both alike. The mark before a sentence
//! is read and never predicted; that after it is predicted and never read, as the next sentence's stands in its place:
//!
//! ```text
//! read        <S> a   b   <S>  c        turned around   <S> b   a   <S>  c
//! predicted   a   b   </S> c   </S>                     b   a   </S> c   </S>
//! ```

use burn::tensor::{Device, Tensor, TensorData};
use emberline_core::BothWays;
use emberline_text::{
    Lexicon, TextError, TokenCounts, Vocabulary, VocabularyConfig, Window, Windows,
    covering_windows,
};
use emberline_training::Data;

use crate::bidirectional::BidirectionalBatch;

/// The vocabulary's word for the end of a sentence.
const END: &str = "</S>";
/// Its word for all that are not in it.
const UNKNOWN: &str = "<UNK>";

/// Sentences of words, in the order in which two readers meet them.
#[derive(Clone, Debug)]
pub struct ReadBothWays {
    lexicon: Lexicon,
    /// Of the sentences as they are, and turned around.
    sides: [Side; 2],
}

/// What one reader meets.
#[derive(Clone, Debug, Default)]
struct Side {
    /// Numbers of the lexicon.
    words: Vec<u32>,
    /// Ids of the vocabulary.
    targets: Vec<u32>,
}

/// The words of sentences that are seen `min_count` times, by falling count, after the end of a sentence and the word for
/// all others.
///
/// # Errors
/// Those of [`Vocabulary::new`].
pub fn predicted_words(sentences: &[Vec<String>], min_count: u64) -> Result<Vocabulary, TextError> {
    let counts: TokenCounts = sentences.iter().flatten().map(String::as_str).collect();
    let specials = vec![END.to_string(), UNKNOWN.to_string()];
    let unknown = Some(UNKNOWN.to_string());
    Vocabulary::new(&counts, &VocabularyConfig { min_count, specials, unknown })
}

impl ReadBothWays {
    /// Reads sentences; words that are not in the vocabulary are read as they are, and predicted as its unknown word.
    ///
    /// # Errors
    /// [`TextError::UnknownToken`] if the vocabulary has no end of a sentence, or lacks a word and has none for it.
    pub fn new(sentences: &[Vec<String>], vocabulary: &Vocabulary) -> Result<Self, TextError> {
        let end = vocabulary.known_id(END);
        let end = end.ok_or_else(|| TextError::UnknownToken { token: END.to_string() })?;
        let mut lexicon = Lexicon::default();
        let mut sides = [Side::default(), Side::default()];
        for sentence in sentences {
            let word = |word: &String| Ok((lexicon.add(word), vocabulary.id(word)?));
            let mut words: Vec<(u32, u32)> =
                sentence.iter().map(word).collect::<Result<_, TextError>>()?;
            for side in &mut sides {
                side.words.push(Lexicon::SENTENCE_START);
                side.words.extend(words.iter().map(|(number, _)| number));
                side.targets.extend(words.iter().map(|(_, id)| id));
                side.targets.push(end);
                words.reverse();
            }
        }
        Ok(Self { lexicon, sides })
    }

    /// What is predicted, in the order of the text.
    pub fn targets(&self) -> &[u32] {
        &self.sides[0].targets
    }

    /// The places of the text, and the one after, which windows are cut of: a window of places is one of all that stands
    /// there.
    fn places(&self) -> Vec<u32> {
        (0..=self.targets().len() as u32).collect()
    }

    fn batch(&self, window: &Window, device: &Device) -> BidirectionalBatch {
        let Window { batch_size, seq_length, inputs: places, .. } = window;
        let shape = [*batch_size, *seq_length];
        let at = |numbers: &[u32]| -> Vec<u32> {
            places.iter().map(|place| numbers[*place as usize]).collect()
        };
        let numbers = self.sides.each_ref().map(|side| at(&side.words)).concat();
        let (table, words) = self.lexicon.table(&numbers, device);
        let (forward, reverse) = words.split_at(places.len());
        let words =
            |words: &[i32]| Tensor::from_data(TensorData::new(words.to_vec(), shape), device);
        let words =
            BothWays { table, forward: words(forward), reverse: words(reverse), dropout: None };
        let targets = self.sides.each_ref().map(|side| {
            let targets: Vec<i32> = at(&side.targets).into_iter().map(|id| id as i32).collect();
            Tensor::from_data(TensorData::new(targets, shape), device)
        });
        BidirectionalBatch { words, targets }
    }
}

/// Windows of a text for two readers: an update is a window of all its rows, and goes on where the update before stopped.
#[derive(Clone, Debug)]
pub struct BothWaysWindows {
    training: ReadBothWays,
    windows: Windows,
    validation: ReadBothWays,
    validation_windows: Vec<Window>,
    device: Device,
}

impl BothWaysWindows {
    /// A text to train on and one to validate on, in windows of `batch_size` rows of `seq_length` words.
    ///
    /// # Errors
    /// [`TextError::TooShort`] if a text has not one window, [`TextError::ZeroSize`].
    pub fn new(
        training: ReadBothWays,
        validation: ReadBothWays,
        [batch_size, seq_length]: [usize; 2],
        device: &Device,
    ) -> Result<Self, TextError> {
        let windows = Windows::new(training.places(), batch_size, seq_length)?;
        let validation_windows = covering_windows(validation.places(), batch_size, seq_length)?;
        // Words need no gradient, and the model of a validation is on the plain device.
        let device = device.clone().inner();
        Ok(Self { training, windows, validation, validation_windows, device })
    }
}

impl Data for BothWaysWindows {
    type Batch = BidirectionalBatch;

    fn update(&self, step: u64) -> Vec<BidirectionalBatch> {
        let window = self.windows.window(self.windows.index_of_update(step));
        vec![self.training.batch(&window, &self.device)]
    }

    fn starts_afresh(&self, step: u64) -> bool {
        step.is_multiple_of(self.updates_per_epoch())
    }

    fn validation(&self) -> impl Iterator<Item = BidirectionalBatch> {
        self.validation_windows.iter().map(|window| self.validation.batch(window, &self.device))
    }

    fn updates_per_epoch(&self) -> u64 {
        self.windows.windows_per_epoch() as u64
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Int;
    use emberline_backend::test_device;

    use super::*;

    fn sentences() -> Vec<Vec<String>> {
        ["a b c", "a", "b a"]
            .map(|sentence| sentence.split(' ').map(str::to_string).collect())
            .to_vec()
    }

    fn ids(tensor: &Tensor<2, Int>) -> Vec<i32> {
        tensor.to_data().iter().collect()
    }

    #[test]
    fn the_second_reader_meets_every_sentence_turned_around() {
        let vocabulary = predicted_words(&sentences(), 2).unwrap();
        assert_eq!(vocabulary.tokens(), [END, UNKNOWN, "a", "b"]);
        let text = ReadBothWays::new(&sentences(), &vocabulary).unwrap();
        let data = BothWaysWindows::new(text.clone(), text, [1, 9], &test_device()).unwrap();
        let batch = &data.update(0)[0];
        // The mark, a, b, c in the order of the table.
        assert_eq!(ids(&batch.words.forward), [0, 1, 2, 3, 0, 1, 0, 2, 1]);
        assert_eq!(ids(&batch.words.reverse), [0, 3, 2, 1, 0, 1, 0, 1, 2]);
        let [forward, reverse] = &batch.targets;
        assert_eq!(ids(forward), [2, 3, 1, 0, 2, 0, 3, 2, 0]);
        assert_eq!(ids(reverse), [1, 3, 2, 0, 2, 0, 2, 3, 0]);
        assert_eq!(batch.words.table.characters.dims()[0], 4);
    }

    #[test]
    fn windows_go_on_from_each_other_and_validation_reads_to_the_end() {
        let vocabulary = predicted_words(&sentences(), 1).unwrap();
        let text = ReadBothWays::new(&sentences(), &vocabulary).unwrap();
        let data = BothWaysWindows::new(text.clone(), text, [2, 2], &test_device()).unwrap();
        assert_eq!(data.updates_per_epoch(), 2);
        let rows = |batch: &BidirectionalBatch| ids(&batch.targets[0]);
        assert_eq!(rows(&data.update(0)[0]), [2, 3, 2, 0]);
        assert_eq!(rows(&data.update(1)[0]), [4, 0, 3, 2]);
        assert_eq!(rows(&data.update(2)[0]), rows(&data.update(0)[0]));
        assert_eq!([0, 1, 2].map(|step| data.starts_afresh(step)), [true, false, true]);
        assert_eq!(data.validation().count(), 2);
    }

    #[test]
    fn a_vocabulary_without_an_end_of_a_sentence_is_refused() {
        let counts: TokenCounts = ["a", "b", "c"].into_iter().collect();
        let vocabulary = Vocabulary::new(&counts, &VocabularyConfig::default()).unwrap();
        let error = ReadBothWays::new(&sentences(), &vocabulary).unwrap_err();
        assert!(error.to_string().contains(END), "{error}");
    }
}
