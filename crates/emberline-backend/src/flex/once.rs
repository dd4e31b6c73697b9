//! A product of two matrices that are multiplied once.
//!
//! To copy a matrix into panels ([`packed`](super::packed)) takes as long as to multiply it by some twenty rows. Where there
//! are some hundred rows, each thread takes some columns of all of them, and copies a block of a panel when it comes to it:
//! the copy never leaves the cache of its core.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::columns::Columns;
use super::matrix::Matrix;
use super::packed::{INNER, Packed, copy_panels, filled_up};
use super::simd::{self, Level};
use super::tile::{Left, Panels, Start, Tiles, groups_of_rows, panel_width, tile_rows};
use super::{Real, written};

/// The rows whose block of the inner index stays in the second cache of a core beside a block of panels.
const ROWS: usize = 512;
/// The columns that a thread takes at a time, at most: their panels share the second cache with the rows.
const COLUMNS: usize = 256;

/// `left · right`, on all threads of the current pool.
///
/// # Panics
/// If the inner dimensions differ, or there are none.
pub(crate) fn product<T: Real>(left: Matrix<T>, right: Matrix<T>) -> Vec<T> {
    affine(left, right, None, false)
}

/// `left · right + bias`, and where it `rectifies` the larger of that and zero: the bits of [`Packed::affine`].
///
/// # Panics
/// If the inner dimensions differ, or there are none, or the bias has another width.
pub(crate) fn affine<T: Real>(
    left: Matrix<T>,
    right: Matrix<T>,
    bias: Option<&[T]>,
    rectifies: bool,
) -> Vec<T> {
    if left.rows > ROWS {
        return Packed::new(right).affine(left, bias, rectifies);
    }
    assert_eq!(left.columns, right.rows, "inner dimensions of a product");
    let (m, k, n) = (left.rows, left.columns, right.columns);
    assert!(k > 0, "a product over an empty inner dimension");
    if m == 0 || n == 0 {
        return Vec::new();
    }
    let level = Level::detect();
    let bias = bias.map(|bias| filled_up(bias, n, level));
    let blocks: Vec<Range<usize>> =
        (0..k).step_by(INNER).map(|first| first..k.min(first + INNER)).collect();
    let block =
        |inner: &Range<usize>| groups_of_rows(left.columns(inner.clone()), tile_rows(level));
    let lefts: Vec<Vec<T>> = blocks.par_iter().map(block).collect();
    // As many for each thread.
    let n_shares = n.div_ceil(COLUMNS).next_multiple_of(rayon::current_num_threads());
    let width = n.div_ceil(n_shares).next_multiple_of(panel_width::<T>(level));
    let write = |product: &mut [MaybeUninit<T>]| {
        let product = Columns::new(product, n);
        (0..n.div_ceil(width)).into_par_iter().for_each(|share| {
            let columns = share * width..n.min((share + 1) * width);
            let bias = bias.as_ref().map(|bias| &bias[columns.start..]);
            let right = right.columns(columns.clone());
            let n_panels = columns.len().div_ceil(panel_width::<T>(level));
            for (inner, left) in blocks.iter().zip(&lefts) {
                let panels = panels(right.rows(inner.clone()), n_panels, level);
                simd::run(Tiles {
                    right: Panels { values: &panels, k: inner.len(), n: columns.len(), level },
                    rows: m,
                    left: Left::Grouped { values: left, columns: inner.len() },
                    inner: 0..inner.len(),
                    panels: 0..n_panels,
                    out: product.column(columns.start),
                    out_stride: n,
                    start: match bias {
                        _ if inner.start > 0 => Start::Output,
                        Some(bias) => Start::Bias(bias),
                        None => Start::Zero,
                    },
                    rectifies: rectifies && inner.end == k,
                });
            }
        });
    };
    // SAFETY: every share has written its columns of all rows, the first inner block without reading them.
    unsafe { written(m * n, write) }
}

/// A matrix in panels, copied by this thread.
fn panels<T: Real>(matrix: Matrix<T>, n_panels: usize, level: Level) -> Vec<T> {
    let width = panel_width::<T>(level);
    let write = |panels: &mut [MaybeUninit<T>]| copy_panels(matrix, 0, width, panels);
    // SAFETY: all columns of every panel are written.
    unsafe { written(n_panels * matrix.rows * width, write) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, period: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37) % period) as f32 / 7.0 - 5.0).collect()
    }

    #[test]
    fn the_bits_are_those_of_a_packed_product_in_every_layout() {
        for (m, k, n) in [(1, 19, 45), (70, 300, 16), (65, 256, 700), (9, 513, 2), (512, 3, 33)] {
            let (left, right, bias) = (numbers(m * k, 101), numbers(k * n, 97), numbers(n, 13));
            let lefts = [Matrix::new(&left, m, k), Matrix::new(&left, k, m).transposed()];
            let rights = [Matrix::new(&right, k, n), Matrix::new(&right, n, k).transposed()];
            for (left, right) in lefts.into_iter().zip(rights) {
                for (bias, rectifies) in [(None, false), (Some(&bias[..]), true)] {
                    let expected = Packed::new(right).affine(left, bias, rectifies);
                    assert_eq!(affine(left, right, bias, rectifies), expected, "{m}x{k}x{n}");
                }
            }
        }
    }

    #[test]
    fn no_rows_or_no_columns_give_nothing() {
        let numbers = numbers(7, 5);
        assert!(product(Matrix::new(&[], 0, 7), Matrix::new(&numbers, 7, 1)).is_empty());
        assert!(product(Matrix::new(&numbers, 1, 7), Matrix::new(&[], 7, 0)).is_empty());
    }
}
