//! Vectors of words, wherever they are from.

use std::sync::OnceLock;

use burn::module::Param;
use burn::tensor::{Device, TensorData};
use emberline_backend::Embedding;

use crate::simd::{self, Kernel, products};
use crate::table::Table;
use crate::words::Words;

/// Words, and a vector for each.
#[derive(Clone, Debug)]
pub struct WordVectors {
    words: Words,
    table: Table,
    /// One over the length of each vector, 0 for a vector of length 0; made when first asked for.
    scales: OnceLock<Vec<f32>>,
}

impl WordVectors {
    pub(crate) fn new(words: Words, table: Table) -> Self {
        Self { words, table, scales: OnceLock::new() }
    }

    /// Words with vectors of one width.
    ///
    /// # Panics
    /// If a word comes twice, or a vector has another width than the first.
    pub fn from_rows<W: AsRef<[u8]>>(rows: &[(W, Vec<f32>)]) -> Self {
        let width = rows.first().map_or(1, |(_, vector)| vector.len());
        let mut table = Table::zeros(rows.len(), width);
        let mut words = Words::default();
        for (place, (word, vector)) in rows.iter().enumerate() {
            assert!(words.insert(word.as_ref()).1, "word {place} comes twice");
            assert_eq!(vector.len(), width, "the width of vector {place}");
            table.row_mut(place).copy_from_slice(vector);
        }
        Self::new(words, table)
    }

    /// The words, in the order of their vectors: the most frequent first, in most files.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The numbers of a vector.
    pub fn width(&self) -> usize {
        self.table.width()
    }

    /// The vector at a place.
    ///
    /// # Panics
    /// If there is none.
    pub fn vector(&self, place: usize) -> &[f32] {
        self.table.row(place)
    }

    /// The vector of a word.
    pub fn get(&self, word: impl AsRef<[u8]>) -> Option<&[f32]> {
        Some(self.vector(self.words.place(word)?))
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// What each vector is multiplied with to have length 1.
    pub(crate) fn scales(&self) -> &[f32] {
        self.scales.get_or_init(|| simd::run(Scales(&self.table)))
    }

    /// The vectors as the first layer of a model, the ids of its tokens being their places. It is trained with the model;
    /// [`no_grad`](burn::module::Module::no_grad) freezes it.
    ///
    /// # Shapes
    /// - weight: `[vocab_size, d_embedding]`
    pub fn embedding(&self, device: &Device) -> Embedding {
        let shape = [self.len(), self.width()];
        Embedding::new(Param::from_data(TensorData::new(self.numbers(), shape), device))
    }

    /// All vectors, one after the other.
    pub(crate) fn numbers(&self) -> Vec<f32> {
        (0..self.len()).flat_map(|place| self.vector(place)).copied().collect()
    }
}

struct Scales<'a>(&'a Table);

impl Kernel for Scales<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn body<const FMA: bool>(self) -> Vec<f32> {
        let scale = |row| {
            let lanes = self.0.lanes_of(row);
            let length = products::<FMA>(lanes, lanes).sum().sqrt();
            if length > 0.0 { 1.0 / length } else { 0.0 }
        };
        (0..self.0.n_rows()).map(scale).collect()
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::Tensor;

    use super::*;

    fn vectors() -> WordVectors {
        WordVectors::from_rows(&[("a", vec![3.0, 4.0]), ("b", vec![0.0, 0.0])])
    }

    #[test]
    fn a_word_has_its_vector() {
        let vectors = vectors();
        assert_eq!(vectors.get("a"), Some(&[3.0, 4.0][..]));
        assert_eq!(vectors.get("c"), None);
        assert_eq!((vectors.len(), vectors.width()), (2, 2));
        assert_eq!(vectors.scales(), [0.2, 0.0]);
    }

    #[test]
    fn vectors_are_the_first_layer_of_a_model_frozen_or_not() {
        let device = emberline_backend::test_device().autodiff();
        let trained = vectors().embedding(&device);
        let frozen = vectors().embedding(&device).no_grad();
        let tokens = Tensor::from_data([[1, 0]], &device);
        let output = trained.forward(tokens.clone());
        output.to_data().assert_eq(&TensorData::from([[[0.0f32, 0.0], [3.0, 4.0]]]), true);
        let sum = output.sum() + frozen.forward(tokens).sum();
        let gradients = sum.backward();
        assert!(trained.weight.val().grad(&gradients).is_some());
        assert!(frozen.weight.val().grad(&gradients).is_none());
    }
}
