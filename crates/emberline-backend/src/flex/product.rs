//! Large matrix products, by the `gemm` crate, which reaches the peak of the machine.

use super::Real;

/// A matrix in memory: element (i, j) is at `i · row_stride + j · column_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows one after the other.
    ///
    /// # Panics
    /// If `values` has another length than `rows · columns`.
    pub(crate) fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix of {rows} rows and {columns} columns");
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same numbers, rows as columns.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Row i.
    ///
    /// # Panics
    /// If the columns are not side by side.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> &'a [T] {
        assert_eq!(self.column_stride, 1, "the columns of a row are side by side");
        &self.values[i * self.row_stride..][..self.columns]
    }

    /// Copies the columns from `first` on, at most `width`, to the rows of `[rows, width]`.
    pub(crate) fn copy_columns(&self, first: usize, width: usize, to: &mut [T])
    where
        T: Copy,
    {
        /// A block of rows stays in the nearest cache while its columns are written.
        const BLOCK: usize = 64;
        let columns = width.min(self.columns - first);
        if self.column_stride == 1 {
            for (i, to) in to.chunks_exact_mut(width).enumerate() {
                to[..columns].copy_from_slice(&self.row(i)[first..][..columns]);
            }
            return;
        }
        for (block, to) in to.chunks_mut(BLOCK * width).enumerate() {
            for j in 0..columns {
                for (i, to) in to.chunks_exact_mut(width).enumerate() {
                    to[j] = *self.at(block * BLOCK + i, first + j);
                }
            }
        }
    }

    /// Element (i, j).
    #[inline(always)]
    fn at(&self, i: usize, j: usize) -> &'a T {
        &self.values[i * self.row_stride + j * self.column_stride]
    }
}

/// `left · right`, `[left.rows, right.columns]`, on all threads of the current pool.
///
/// # Panics
/// If the inner dimensions differ.
pub(crate) fn multiply<T: Real>(left: Matrix<T>, right: Matrix<T>) -> Vec<T> {
    assert_eq!(left.columns, right.rows, "inner dimensions of a product");
    let (m, n, k) = (left.rows, right.columns, left.columns);
    let mut product: Vec<T> = Vec::with_capacity(m * n);
    // SAFETY: the three pointers span m·n, m·k and k·n elements with the given strides, as `Matrix::new`
    // has checked for the operands; `product` has room for m·n, which gemm writes without reading
    // (`read_dst` is false), so they are initialised when the length is set.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            product.as_mut_ptr(),
            1,
            n as isize,
            false,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
        product.set_len(m * n);
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_that_of_the_definition_in_every_layout() {
        let a: Vec<f32> = (0..15 * 7).map(|i| (i % 11) as f32 - 5.0).collect();
        let b: Vec<f32> = (0..7 * 9).map(|i| (i % 13) as f32 - 6.0).collect();
        let expected = |left: Matrix<f32>, right: Matrix<f32>| -> Vec<f32> {
            (0..left.rows * right.columns)
                .map(|e| (e / right.columns, e % right.columns))
                .map(|(i, j)| (0..left.columns).map(|k| left.at(i, k) * right.at(k, j)).sum())
                .collect()
        };
        let left = Matrix::new(&a, 15, 7);
        let right = Matrix::new(&b, 7, 9);
        assert_eq!(multiply(left, right), expected(left, right));
        let (left, right) = (right.transposed(), left.transposed());
        assert_eq!(multiply(left, right), expected(left, right));
    }
}
