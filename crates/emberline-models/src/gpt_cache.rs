//! What the tokens of a GPT follow: nothing, or what it keeps of the tokens before.

use burn::tensor::Tensor;
use emberline_attention::{CausalSelfAttention, KeyValueCache, Positions};
use emberline_core::{Cache, Stream, TokenBatch};

/// What comes before the tokens of a batch.
///
/// The layers of every GPT are generic over it: they run [`Alone`], where nothing is kept, and after a [`GptCache`].
pub(crate) trait Past {
    /// The number of tokens before, those of a padding included.
    fn length(&self) -> usize;

    /// Where each row starts, if rows are padded on the left.
    fn starts(&self) -> Option<&[usize]>;

    /// Attends in a layer.
    fn attend(
        &mut self,
        layer: usize,
        attention: &CausalSelfAttention,
        input: Tensor<3>,
        random: Option<Stream>,
    ) -> Tensor<3>;

    /// Adds to the vectors of tokens where they stand.
    fn place(&self, vectors: Tensor<3>, positions: &Positions) -> Tensor<3> {
        match self.starts() {
            Some(starts) => positions.forward_shifted(vectors, self.length(), starts),
            None => positions.forward(vectors, self.length()),
        }
    }
}

/// Nothing comes before these tokens, and nothing will come after.
pub(crate) struct Alone<'a>(pub &'a TokenBatch);

impl Past for Alone<'_> {
    fn length(&self) -> usize {
        0
    }

    fn starts(&self) -> Option<&[usize]> {
        self.0.starts.as_deref()
    }

    fn attend(
        &mut self,
        _layer: usize,
        attention: &CausalSelfAttention,
        input: Tensor<3>,
        random: Option<Stream>,
    ) -> Tensor<3> {
        attention.forward(input, self.starts(), random)
    }
}

/// The keys and values of every layer, and where each row starts.
#[derive(Clone, Debug)]
pub struct GptCache {
    layers: Vec<KeyValueCache>,
    n_rows: usize,
    /// The first valid token of each row, where rows are padded on the left.
    starts: Option<Vec<usize>>,
    /// The end of each row, where the last tokens were padded on the right: nothing can follow a padding.
    ends: Option<Vec<usize>>,
}

impl GptCache {
    /// The cache that is to take the tokens of a batch: what came before, or nothing.
    ///
    /// # Panics
    /// If the rows of the batch cannot follow what came before.
    pub(crate) fn before(batch: &TokenBatch, cache: Option<Self>, n_layers: usize) -> Self {
        let [n_rows, _] = batch.dims();
        let cache = match cache {
            Some(cache) => {
                let (starts, ends) = (&batch.starts, &cache.ends);
                assert!(starts.is_none(), "padding on the left, {starts:?}, after other tokens");
                assert!(ends.is_none(), "tokens after the padding of rows that end at {ends:?}");
                cache
            }
            None => Self {
                layers: vec![KeyValueCache::default(); n_layers],
                n_rows,
                starts: batch.starts.clone(),
                ends: None,
            },
        };
        assert_eq!(cache.n_rows, n_rows, "the rows that go on");
        assert_eq!(cache.layers.len(), n_layers, "a cache for each layer");
        let length = cache.length();
        let ends = |lengths: &Vec<usize>| lengths.iter().map(|end| length + end).collect();
        Self { ends: batch.lengths.as_ref().map(ends), ..cache }
    }

    /// The number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The number of tokens of every row, those of a padding included.
    pub fn length(&self) -> usize {
        self.layers.first().map_or(0, KeyValueCache::length)
    }

    /// The position that the next token of each row has.
    pub fn positions(&self) -> Vec<usize> {
        let length = self.length();
        match &self.starts {
            Some(starts) => starts.iter().map(|start| length - start).collect(),
            None => vec![length; self.n_rows],
        }
    }

    /// Forgets all tokens after the first `length` of every row, those of a padding included.
    ///
    /// # Panics
    /// If there are not so many, or a row starts later.
    pub fn truncate(self, length: usize) -> Self {
        let starts = &self.starts;
        let is_within = starts.iter().flatten().all(|start| *start <= length);
        assert!(is_within, "{length} tokens of rows that start at {starts:?}");
        Self {
            layers: self.layers.into_iter().map(|layer| layer.truncate(length)).collect(),
            ends: self.ends.filter(|ends| ends.iter().any(|end| *end < length)),
            ..self
        }
    }
}

impl Past for GptCache {
    fn length(&self) -> usize {
        Self::length(self)
    }

    fn starts(&self) -> Option<&[usize]> {
        self.starts.as_deref()
    }

    fn attend(
        &mut self,
        layer: usize,
        attention: &CausalSelfAttention,
        input: Tensor<3>,
        random: Option<Stream>,
    ) -> Tensor<3> {
        // Taken out, so that nobody else holds it and it is written in place.
        let before = std::mem::take(&mut self.layers[layer]);
        let (output, after) = attention.forward_from(input, before, self.starts(), random);
        self.layers[layer] = after;
        output
    }
}

impl Cache for GptCache {
    fn select_rows(self, rows: &[usize]) -> Self {
        let of = |places: Vec<usize>| rows.iter().map(|row| places[*row]).collect();
        Self {
            layers: self.layers.into_iter().map(|layer| layer.select_rows(rows)).collect(),
            n_rows: rows.len(),
            starts: self.starts.map(of),
            ends: self.ends.map(of),
        }
    }
}

#[cfg(test)]
mod tests {
    use emberline_attention::CausalSelfAttentionConfig;
    use emberline_backend::test_device;

    use super::*;

    const WIDTH: usize = 4;

    /// A cache of one layer that has seen a batch.
    fn after(batch: &TokenBatch, cache: Option<GptCache>) -> GptCache {
        let config = CausalSelfAttentionConfig {
            d_model: WIDTH,
            n_heads: 2,
            d_head: 2,
            band: None,
            dropout: 0.0,
        };
        let attention = config.init([1.0, 1.0], Stream::new(1), &test_device());
        let [rows, length] = batch.dims();
        let mut cache = GptCache::before(batch, cache, 1);
        cache.attend(0, &attention, Tensor::ones([rows, length, WIDTH], &test_device()), None);
        cache
    }

    fn rows<const N: usize>(lengths: [usize; N]) -> [Vec<u32>; N] {
        lengths.map(|length| vec![1; length])
    }

    fn left<const N: usize>(lengths: [usize; N]) -> TokenBatch {
        TokenBatch::left_padded(&rows(lengths).each_ref().map(|row| &row[..]), &test_device())
    }

    fn right<const N: usize>(lengths: [usize; N]) -> TokenBatch {
        TokenBatch::padded(&rows(lengths).each_ref().map(|row| &row[..]), &test_device())
    }

    #[test]
    fn a_row_keeps_its_start_wherever_it_goes() {
        let cache = after(&left([1, 3]), None);
        assert_eq!((cache.n_rows(), cache.length(), cache.positions()), (2, 3, vec![1, 3]));
        let cache = after(&left([2, 2, 2]), Some(cache.select_rows(&[1, 0, 1])));
        assert_eq!((cache.n_rows(), cache.length(), cache.positions()), (3, 5, vec![5, 3, 5]));
        assert_eq!(cache.truncate(4).positions(), [4, 2, 4]);
    }

    #[test]
    #[should_panic(expected = "1 tokens of rows that start at Some([2, 0])")]
    fn no_row_loses_its_start() {
        after(&left([1, 3]), None).truncate(1);
    }

    #[test]
    fn what_was_padded_on_the_right_goes_on_once_the_padding_is_forgotten() {
        let cache = after(&right([1, 3]), None);
        assert_eq!(after(&left([1, 1]), Some(cache.truncate(1))).length(), 2);
    }

    #[test]
    #[should_panic(expected = "tokens after the padding of rows that end at Some([3, 5])")]
    fn nothing_follows_a_padding_on_the_right() {
        let cache = after(&right([1, 3]), Some(after(&left([2, 2]), None)));
        after(&left([1, 1]), Some(cache));
    }

    #[test]
    #[should_panic(expected = "padding on the left, Some([1, 0]), after other tokens")]
    fn padding_on_the_left_comes_before_all_tokens() {
        after(&left([1, 2]), Some(after(&left([2, 2]), None)));
    }

    #[test]
    #[should_panic(expected = "the rows that go on")]
    fn other_rows_are_refused() {
        after(&left([1]), Some(after(&left([2, 2]), None)));
    }
}
