//! Keys and values that decoding keeps: of its own past, and of the source.

use std::ops::Range;

use burn::tensor::Tensor;
use emberline_backend::attention::Visibility;
use emberline_core::Cache;

/// The keys and values of the tokens so far, of one layer.
///
/// They are written in place into room that is doubled when it is used up, so that a token costs no copy of the past.
/// Where gradients are kept they are concatenated instead.
#[derive(Clone, Debug, Default)]
pub struct KeyValueCache {
    /// `[batch_size, n_heads, capacity, d_head]` each; nothing before the first token.
    room: Option<[Tensor<4>; 2]>,
    length: usize,
}

impl KeyValueCache {
    /// The number of tokens that it holds.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Puts keys and values of new tokens at the end.
    ///
    /// # Shapes
    /// - key, value: `[batch_size, n_heads, seq_length, d_head]`
    ///
    /// # Panics
    /// If the other sizes are not those of what is held.
    pub fn append(self, key: Tensor<4>, value: Tensor<4>) -> Self {
        let new = [key, value];
        let [batch_size, n_heads, seq_length, _] = new[0].dims();
        let Some(room) = self.room else {
            return Self { room: Some(new), length: seq_length };
        };
        let [held, heads, ..] = room[0].dims();
        assert_eq!([batch_size, n_heads], [held, heads], "rows and heads of new keys");
        let length = self.length + seq_length;
        let mut new = new.into_iter();
        let room = room.map(|room| {
            let new = new.next().expect("keys and values");
            if room.device().is_autodiff() {
                return Tensor::cat(vec![room.narrow(2, 0, self.length), new], 2);
            }
            let room = with_capacity(room, self.length, length);
            room.slice_assign([0..batch_size, 0..n_heads, self.length..length], new)
        });
        Self { room: Some(room), length }
    }

    /// Keys and values, `[batch_size, n_heads, length, d_head]` each. While someone holds them, or a clone of the cache,
    /// the next token costs a copy.
    ///
    /// # Panics
    /// If there are none.
    pub fn keys_values(&self) -> (Tensor<4>, Tensor<4>) {
        let [key, value] = self.room.as_ref().expect("a cache of at least one token");
        let held = |room: &Tensor<4>| room.clone().narrow(2, 0, self.length);
        (held(key), held(value))
    }

    /// Forgets all tokens after the first `length`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn truncate(self, length: usize) -> Self {
        assert!(length <= self.length, "{length} tokens of a cache of {}", self.length);
        // Room of no length has no use, and tensors of no length trouble some devices.
        Self { room: self.room.filter(|_| length > 0), length }
    }
}

impl Cache for KeyValueCache {
    fn select_rows(self, rows: &[usize]) -> Self {
        let room = self.room.map(|room| room.map(|room| room.select_rows(rows)));
        Self { room, ..self }
    }
}

/// The same tokens in room for `needed` of them and more.
fn with_capacity(room: Tensor<4>, length: usize, needed: usize) -> Tensor<4> {
    let [batch_size, n_heads, capacity, d_head] = room.dims();
    if needed <= capacity {
        return room;
    }
    let shape = [batch_size, n_heads, needed.max(2 * capacity), d_head];
    let larger = Tensor::zeros(shape, (&room.device(), room.dtype()));
    larger.slice_assign([0..batch_size, 0..n_heads, 0..length], room.narrow(2, 0, length))
}

/// The keys and values of a batch of sources, of one layer.
///
/// A source is held once, however many rows decode it: they attend together, as so many more queries.
#[derive(Clone, Debug)]
pub struct SourceMemory {
    /// `[sources, n_heads, source_length, d_head]`.
    key: Tensor<4>,
    /// `[sources, n_heads, source_length, d_head]`.
    value: Tensor<4>,
    /// The valid keys of each source; `None` where all are.
    keys: Option<Vec<Range<usize>>>,
    /// The source of each row.
    source_of: Vec<usize>,
}

impl SourceMemory {
    /// A row for each source.
    ///
    /// # Shapes
    /// - key, value: `[batch_size, n_heads, source_length, d_head]`
    ///
    /// # Panics
    /// If there are lengths, but not one for each row.
    pub fn new(key: Tensor<4>, value: Tensor<4>, lengths: Option<&[usize]>) -> Self {
        let [batch_size, ..] = key.dims();
        let keys = lengths.and_then(|lengths| Visibility::lengths(lengths).keys);
        if let Some(keys) = &keys {
            assert_eq!(keys.len(), batch_size, "a length for each row of a source");
        }
        Self { key, value, keys, source_of: (0..batch_size).collect() }
    }

    /// Keys and values of the sources, `[sources, n_heads, source_length, d_head]` each.
    pub fn keys_values(&self) -> (Tensor<4>, Tensor<4>) {
        (self.key.clone(), self.value.clone())
    }

    /// Of each source, what the queries of its rows see.
    pub fn visibility(&self) -> Visibility {
        Visibility { keys: self.keys.clone(), ..Visibility::default() }
    }

    /// Puts the queries of all rows of a source into one row, those of shorter ones filled up.
    ///
    /// # Shapes
    /// - input: `[rows, seq_length, d]`
    /// - output: `[sources, rows_of_a_source · seq_length, d]`
    ///
    /// # Panics
    /// If there are not so many rows.
    pub fn gather(&self, input: Tensor<3>) -> Tensor<3> {
        let [rows, seq_length, d] = input.dims();
        assert_eq!(rows, self.source_of.len(), "a row for each that decodes");
        let order = self.order();
        let [sources, width] = [order.len(), order[0].len()];
        input.select_rows(&order.concat()).reshape([sources, width * seq_length, d])
    }

    /// Takes what [`gather`](Self::gather) put together apart again.
    ///
    /// # Shapes
    /// - output: `[sources, rows_of_a_source · seq_length, d]`
    /// - returns: `[rows, seq_length, d]`
    pub fn scatter(&self, output: Tensor<3>, seq_length: usize) -> Tensor<3> {
        let [sources, queries, d] = output.dims();
        let width = queries / seq_length;
        let order = self.order().concat();
        // The filled-up places come last, so that the first is a row's own.
        let place = |row: usize| order.iter().position(|other| *other == row).expect("every row");
        let places: Vec<usize> = (0..self.source_of.len()).map(place).collect();
        output.reshape([sources * width, seq_length, d]).select_rows(&places)
    }

    /// The rows of each source, as many for each: the last is repeated.
    fn order(&self) -> Vec<Vec<usize>> {
        let [sources, ..] = self.key.dims();
        let mut order = vec![Vec::new(); sources];
        for (row, source) in self.source_of.iter().enumerate() {
            order[*source].push(row);
        }
        let width = order.iter().map(Vec::len).max().unwrap_or(0);
        for rows in &mut order {
            let last = *rows.last().expect("a source without rows is not kept");
            rows.resize(width, last);
        }
        order
    }
}

impl Cache for SourceMemory {
    fn select_rows(self, rows: &[usize]) -> Self {
        let source_of: Vec<usize> = rows.iter().map(|row| self.source_of[*row]).collect();
        let mut used = source_of.clone();
        used.sort_unstable();
        used.dedup();
        let place = |source: &usize| used.binary_search(source).expect("it is used");
        let source_of = source_of.iter().map(place).collect();
        let keys = self.keys.map(|keys| used.iter().map(|row| keys[*row].clone()).collect());
        Self {
            key: self.key.select_rows(&used),
            value: self.value.select_rows(&used),
            keys,
            source_of,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use emberline_backend::{storage_address, test_device};
    use emberline_core::Stream;

    use super::*;

    fn random(seed: u64, shape: [usize; 4], device: &Device) -> Tensor<4> {
        let values = Stream::new(seed).normals(shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// A cache that was given `tokens` one by one.
    fn filled(tokens: &Tensor<4>) -> KeyValueCache {
        let one = |cache: KeyValueCache, token: usize| {
            let token = tokens.clone().narrow(2, token, 1);
            cache.append(token.clone(), -token)
        };
        (0..tokens.dims()[2]).fold(KeyValueCache::default(), one)
    }

    fn assert_holds(cache: &KeyValueCache, tokens: &Tensor<4>) {
        let (key, value) = cache.keys_values();
        key.into_data().assert_eq(&tokens.to_data(), true);
        (-value).into_data().assert_eq(&tokens.to_data(), true);
        assert_eq!(cache.length(), tokens.dims()[2]);
    }

    #[test]
    fn what_is_appended_is_held_with_gradients_and_without() {
        let device = test_device();
        for device in [device.clone(), device.autodiff()] {
            let tokens = random(1, [2, 3, 7, 4], &device);
            assert_holds(&filled(&tokens), &tokens);
        }
    }

    #[test]
    fn gradients_reach_every_token() {
        let device = test_device().autodiff();
        let tokens = random(1, [1, 1, 3, 2], &device).require_grad();
        let (key, _) = filled(&tokens).keys_values();
        let gradient = tokens.grad(&key.sum().backward()).unwrap().into_data();
        assert!(gradient.iter::<f32>().all(|value| value == 1.0));
    }

    #[test]
    fn a_token_is_written_where_there_is_room() {
        let device = test_device();
        let tokens = random(1, [2, 3, 5, 4], &device);
        let address = |cache: &KeyValueCache| storage_address(&cache.room.as_ref().unwrap()[0]);
        let cache = filled(&tokens); // Room for 8.
        let before = address(&cache);
        let cache = cache.append(tokens.clone(), -tokens.clone());
        assert_ne!(address(&cache), before);
        let cache = filled(&tokens);
        let before = address(&cache);
        let more = random(2, [2, 3, 1, 4], &device);
        let cache = cache.append(more.clone(), -more.clone());
        assert_eq!(address(&cache), before);
        assert_holds(&cache, &Tensor::cat(vec![tokens, more], 2));
    }

    #[test]
    fn what_is_forgotten_is_overwritten() {
        let device = test_device();
        for device in [device.clone(), device.autodiff()] {
            let tokens = random(1, [2, 3, 5, 4], &device);
            let kept = filled(&tokens).truncate(2);
            assert_holds(&kept, &tokens.clone().narrow(2, 0, 2));
            let last = tokens.clone().narrow(2, 4, 1);
            let expected = Tensor::cat(vec![tokens.clone().narrow(2, 0, 2), last.clone()], 2);
            assert_holds(&kept.append(last.clone(), -last), &expected);
            assert_holds(
                &filled(&tokens).truncate(0).append(tokens.clone(), -tokens.clone()),
                &tokens,
            );
        }
    }

    #[test]
    fn rows_are_picked_in_any_order_and_more_than_once() {
        let tokens = random(1, [3, 2, 5, 4], &test_device());
        let row = |row: usize| tokens.clone().narrow(0, row, 1);
        let expected = Tensor::cat(vec![row(2), row(0), row(2)], 0);
        assert_holds(&filled(&tokens).select_rows(&[2, 0, 2]), &expected);
    }

    fn memory() -> (Tensor<4>, SourceMemory) {
        let key = random(1, [3, 2, 4, 5], &test_device());
        (key.clone(), SourceMemory::new(key.clone(), key, Some(&[4, 1, 3])))
    }

    #[test]
    fn a_source_is_held_once_and_only_while_a_row_decodes_it() {
        let (key, memory) = memory();
        let beams = memory.select_rows(&[0, 0, 1, 1, 2, 2]);
        assert_eq!(beams.key.dims()[0], 3);
        assert_eq!(storage_address(&beams.key), storage_address(&key));
        let left = beams.select_rows(&[4, 5, 1, 0]);
        assert_eq!(left.key.dims()[0], 2);
        assert_eq!(left.visibility(), Visibility::lengths(&[4, 3]));
        let last = key.narrow(0, 2, 1).into_data();
        left.key.narrow(0, 1, 1).into_data().assert_eq(&last, true);
    }

    #[test]
    fn what_is_gathered_by_source_comes_back_by_row() {
        let (_, memory) = memory();
        for rows in [&[0, 1, 2][..], &[0, 0, 1, 1, 2, 2], &[2, 0, 2, 1, 0, 2], &[1, 1, 0]] {
            let memory = memory.clone().select_rows(rows);
            let input: Tensor<3> = random(3, [1, rows.len(), 2, 3], &test_device()).squeeze_dim(0);
            let gathered = memory.gather(input.clone());
            assert_eq!(gathered.dims()[0], memory.key.dims()[0]);
            memory.scatter(gathered, 2).into_data().assert_eq(&input.into_data(), true);
        }
    }
}
