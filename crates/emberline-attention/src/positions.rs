//! Where a token stands, told to a model that cannot see it: attention is the same for every order of its input.
//!
//! ```text
//! PE[pos, 2i] = sin(pos / 10000^(2i/d))        PE[pos, 2i+1] = cos(pos / 10000^(2i/d))        i = 0, …, d/2 - 1
//! ```
//!
//! The vector of a position is added to that of its token. `PE[pos + k]` is a rotation of `PE[pos]` that depends on k
//! alone (Vaswani and others, 2017). tensor2tensor, with which the paper was made, has all sines first, then all
//! cosines, and exponents over `d/2 - 1`, so that the slowest wavelength is exactly `10000 · 2π`.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use emberline_core::Stream;
use emberline_core::parameters::lazy;
use serde::{Deserialize, Serialize};

/// How a model knows of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionKind {
    /// Not at all.
    None,
    /// By sines and cosines in turn, as the paper writes them.
    Sinusoidal,
    /// By a half of sines and a half of cosines, as tensor2tensor computes them.
    SinusoidalHalves,
    /// By a vector for each position that is trained.
    Learned {
        /// The number of positions that have one.
        max_positions: usize,
    },
    /// By its number, 1 for the first, in every entry: soon it is larger than any word.
    Scalar,
    /// By 1 in the entry of its number: there is room for `d_model` positions, and each takes an entry from the words.
    OneHot,
}

/// Adds to a vector where it stands.
#[derive(Module, Debug)]
pub struct Positions {
    /// The vectors that are learned, `[max_positions, d_model]`; absent in every other kind.
    pub table: Option<Param<Tensor<2>>>,
    /// How positions are told.
    #[module(skip)]
    pub kind: PositionKind,
}

impl PositionKind {
    /// Positions for vectors of a width. Those that are learned are of the normal distribution with the given standard
    /// deviation.
    pub fn init(
        self,
        d_model: usize,
        deviation: f64,
        random: Stream,
        device: &Device,
    ) -> Positions {
        let table = match self {
            Self::Learned { max_positions } => {
                let values =
                    move || random.named("table").normals(max_positions * d_model, deviation);
                Some(lazy([max_positions, d_model], device, values))
            }
            _ => None,
        };
        Positions { table, kind: self }
    }

    /// The longest sequence that has positions; `None` where every one has.
    pub fn max_length(self, d_model: usize) -> Option<usize> {
        match self {
            Self::Learned { max_positions } => Some(max_positions),
            Self::OneHot => Some(d_model),
            _ => None,
        }
    }

    /// The number of parameters; `u64::MAX` if there are more.
    pub fn parameter_count(self, d_model: usize) -> u64 {
        match self {
            Self::Learned { max_positions } => {
                (max_positions as u64).saturating_mul(d_model as u64)
            }
            _ => 0,
        }
    }
}

impl Positions {
    /// Adds positions to vectors of which the first stands at `start`.
    ///
    /// # Shapes
    /// - vectors, output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    /// If there are not so many positions.
    pub fn forward(&self, vectors: Tensor<3>, start: usize) -> Tensor<3> {
        let [_, seq_length, _] = vectors.dims();
        match self.encoded(start..start + seq_length, &vectors) {
            Some(encoded) => vectors + encoded.unsqueeze(),
            None => vectors,
        }
    }

    /// The same where each row begins at a place of its own, counted as `start` is: its first position is there, and in
    /// the padding before.
    ///
    /// # Shapes
    /// - vectors, output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    /// If there is not a beginning for each row, or not so many positions.
    pub fn forward_shifted(
        &self,
        vectors: Tensor<3>,
        start: usize,
        beginnings: &[usize],
    ) -> Tensor<3> {
        let shape @ [batch_size, seq_length, _] = vectors.dims();
        assert_eq!(beginnings.len(), batch_size, "a beginning for each row");
        let row = |beginning: &usize| {
            let beginning = *beginning;
            (start..start + seq_length).map(move |place| place.saturating_sub(beginning) as i32)
        };
        let positions: Vec<i32> = beginnings.iter().flat_map(row).collect();
        let end = positions.iter().max().map_or(0, |last| *last as usize + 1);
        let Some(encoded) = self.encoded(0..end, &vectors) else { return vectors };
        let positions = Tensor::from_data(positions.as_slice(), &vectors.device().inner());
        vectors + encoded.select(0, positions).reshape(shape)
    }

    /// What is added at positions, `[positions, d_model]`; nothing where nothing is.
    fn encoded(&self, positions: Range<usize>, vectors: &Tensor<3>) -> Option<Tensor<2>> {
        let [.., d_model] = vectors.dims();
        let encoded = match self.kind {
            PositionKind::None => return None,
            PositionKind::Learned { max_positions } => {
                check(&positions, max_positions);
                let table = self.table.as_ref().expect("a table of what is learned").val();
                return Some(table.narrow(0, positions.start, positions.len()));
            }
            PositionKind::Sinusoidal => sinusoidal(positions, d_model),
            PositionKind::SinusoidalHalves => sinusoidal_halves(positions, d_model),
            PositionKind::Scalar => scalar(positions, d_model),
            PositionKind::OneHot => one_hot(positions, d_model),
        };
        Some(Tensor::from_data(encoded, (&vectors.device().inner(), vectors.dtype())))
    }
}

fn check(positions: &Range<usize>, max_positions: usize) {
    let end = positions.end;
    assert!(end <= max_positions, "a sequence of {end} is longer than {max_positions} positions");
}

/// Sines and cosines in turn, `[positions, d_model]`.
///
/// # Panics
/// If the width is odd.
pub fn sinusoidal(positions: Range<usize>, d_model: usize) -> TensorData {
    waves(
        positions,
        d_model,
        |pair| pair as f64 / (d_model / 2) as f64,
        |pair| [2 * pair, 2 * pair + 1],
    )
}

/// A half of sines and a half of cosines, `[positions, d_model]`.
///
/// # Panics
/// If the width is odd.
pub fn sinusoidal_halves(positions: Range<usize>, d_model: usize) -> TensorData {
    let pairs = d_model / 2;
    waves(
        positions,
        d_model,
        |pair| pair as f64 / (pairs.max(2) - 1) as f64,
        |pair| [pair, pairs + pair],
    )
}

/// A sine and a cosine for each pair of entries, whose wavelength is `2π · 10000^exponent(pair)`.
fn waves(
    positions: Range<usize>,
    d_model: usize,
    exponent: impl Fn(usize) -> f64,
    places: impl Fn(usize) -> [usize; 2],
) -> TensorData {
    assert!(d_model.is_multiple_of(2), "sines and cosines do not share a width of {d_model}");
    let frequencies: Vec<f64> =
        (0..d_model / 2).map(|pair| 10000f64.powf(-exponent(pair))).collect();
    let shape = [positions.len(), d_model];
    let mut values = vec![0.0; positions.len() * d_model];
    for (row, position) in values.chunks_exact_mut(d_model.max(1)).zip(positions) {
        for (pair, frequency) in frequencies.iter().enumerate() {
            let (sine, cosine) = (position as f64 * frequency).sin_cos();
            let places = places(pair);
            row[places[0]] = sine;
            row[places[1]] = cosine;
        }
    }
    TensorData::new(values, shape)
}

/// The number of a position in every entry, `[positions, d_model]`.
pub fn scalar(positions: Range<usize>, d_model: usize) -> TensorData {
    let shape = [positions.len(), d_model];
    let rows = positions.flat_map(|position| std::iter::repeat_n((position + 1) as f64, d_model));
    TensorData::new(rows.collect::<Vec<_>>(), shape)
}

/// 1 in the entry of the position, `[positions, d_model]`.
///
/// # Panics
/// If there are more positions than entries.
pub fn one_hot(positions: Range<usize>, d_model: usize) -> TensorData {
    check(&positions, d_model);
    let mut values = vec![0.0; positions.len() * d_model];
    for (row, position) in positions.clone().enumerate() {
        values[row * d_model + position] = 1.0;
    }
    TensorData::new(values, [positions.len(), d_model])
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    fn rows(data: &TensorData) -> Vec<Vec<f64>> {
        let values: Vec<f64> = data.iter().collect();
        values.chunks_exact(data.shape()[1]).map(<[f64]>::to_vec).collect()
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-8);
        assert!(near, "{found:?} is not {expected:?}");
    }

    const LEARNED: PositionKind = PositionKind::Learned { max_positions: 5 };

    #[test]
    fn sines_and_cosines_of_the_first_positions_are_those_of_the_paper() {
        let encoded = rows(&sinusoidal(0..2, 4));
        close(&encoded[0], &[0.0, 1.0, 0.0, 1.0]);
        close(&encoded[1], &[0.84147098, 0.54030231, 0.00999983, 0.99995000]);
    }

    #[test]
    fn halves_reach_from_one_radian_a_position_to_a_ten_thousandth() {
        let encoded = rows(&sinusoidal_halves(1..2, 6));
        let [fast, middle, slow] = [1.0f64, 0.01, 0.0001];
        let expected = [fast.sin(), middle.sin(), slow.sin(), fast.cos(), middle.cos(), slow.cos()];
        close(&encoded[0], &expected);
    }

    #[test]
    fn a_shift_is_a_rotation_that_depends_on_the_shift_alone() {
        let encoded = rows(&sinusoidal(0..30, 8));
        for (position, shift) in [(0, 5), (3, 7), (20, 9)] {
            let mut rotated = Vec::new();
            for pair in 0..4 {
                let angle = shift as f64 / 10000f64.powf(pair as f64 / 4.0);
                let (sine, cosine) = (encoded[position][2 * pair], encoded[position][2 * pair + 1]);
                rotated.push(sine * angle.cos() + cosine * angle.sin());
                rotated.push(cosine * angle.cos() - sine * angle.sin());
            }
            close(&encoded[position + shift], &rotated);
        }
    }

    #[test]
    fn every_kind_goes_on_where_it_stopped() {
        let device = test_device();
        let values = TensorData::new(Stream::new(1).normals(2 * 4 * 4, 1.0), [2, 4, 4]);
        let vectors = Tensor::<3>::from_data(values, &device);
        for kind in [
            PositionKind::None,
            PositionKind::Sinusoidal,
            PositionKind::SinusoidalHalves,
            LEARNED,
            PositionKind::Scalar,
            PositionKind::OneHot,
        ] {
            let positions = kind.init(4, 1.0, Stream::new(2), &device);
            let whole = positions.forward(vectors.clone(), 0);
            let last = positions.forward(vectors.clone().narrow(1, 3, 1), 3);
            whole.clone().narrow(1, 3, 1).into_data().assert_eq(&last.into_data(), true);
            let is_changed = whole.into_data() != vectors.to_data();
            assert_eq!(is_changed, kind != PositionKind::None, "{kind:?}");
        }
    }

    #[test]
    fn a_row_that_begins_later_has_the_positions_of_one_that_begins_at_once() {
        let device = test_device();
        let vectors = Tensor::<3>::zeros([2, 4, 4], &device);
        for kind in [PositionKind::None, PositionKind::Sinusoidal, LEARNED] {
            let positions = kind.init(4, 1.0, Stream::new(2), &device);
            let shifted = positions.forward_shifted(vectors.clone(), 0, &[0, 3]);
            let later = positions.forward_shifted(vectors.clone().narrow(1, 0, 1), 4, &[0, 3]);
            let plain = positions.forward(Tensor::zeros([1, 5, 4], &device), 0);
            let expect = |found: Tensor<3>, row: usize, first: usize, length: usize| {
                let expected = plain.clone().narrow(1, first, length).into_data();
                found.narrow(0, row, 1).into_data().assert_eq(&expected, true);
            };
            expect(shifted.clone(), 0, 0, 4);
            expect(shifted.clone().narrow(1, 3, 1), 1, 0, 1);
            expect(shifted.narrow(1, 0, 1), 1, 0, 1);
            expect(later.clone(), 0, 4, 1);
            expect(later, 1, 1, 1);
        }
    }

    #[test]
    fn a_learned_table_is_a_linear_layer_on_one_hot_positions() {
        let device = test_device();
        let positions = LEARNED.init(4, 1.0, Stream::new(2), &device);
        let learned = positions.forward(Tensor::zeros([1, 4, 4], &device), 0);
        let table = positions.table.unwrap().val();
        let chosen = Tensor::<2>::from_data(one_hot(0..4, 5), &device).matmul(table);
        learned.into_data().assert_eq(&chosen.unsqueeze::<3>().into_data(), true);
    }

    #[test]
    fn numbers_drown_the_words_where_sines_do_not() {
        // The cosine of two opposite words of length 2 at one position.
        let likeness = |encoded: Vec<f64>| {
            let words =
                [1.0, -1.0].map(|word| encoded.iter().map(|e| e + word).collect::<Vec<_>>());
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let [a, b] = [&words[0], &words[1]];
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let of = |data: TensorData| likeness(rows(&data).remove(0));
        assert!(of(scalar(999..1000, 4)) > 0.999);
        assert!(of(sinusoidal(999..1000, 4)) < 0.0);
    }

    #[test]
    fn parameters_and_longest_sequence_are_known_before_there_is_a_table() {
        let known = |kind: PositionKind| (kind.parameter_count(4), kind.max_length(4));
        assert_eq!(known(LEARNED), (20, Some(5)));
        assert_eq!(known(PositionKind::OneHot), (0, Some(4)));
        assert_eq!(known(PositionKind::Sinusoidal), (0, None));
    }

    #[test]
    #[should_panic(expected = "a sequence of 6 is longer than 5 positions")]
    fn a_sequence_longer_than_the_table_is_refused() {
        let device = test_device();
        let positions = LEARNED.init(4, 1.0, Stream::new(2), &device);
        positions.forward(Tensor::zeros([1, 2, 4], &device), 4);
    }
}
