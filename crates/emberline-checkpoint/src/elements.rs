//! Element types, here and in the file, and the transposition of matrices of any of them.

use burn::tensor::{BoolStore, DType};
use safetensors::Dtype;

/// The type in the file of elements of `dtype`; `None` if the file has none.
pub(crate) fn to_file(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool(BoolStore::Native | BoolStore::U8) => Dtype::BOOL,
        DType::Flex32 | DType::Bool(BoolStore::U32) | DType::QFloat(_) => return None,
    })
}

/// The type here of elements of `dtype` in the file; `None` if there is none.
pub(crate) fn from_file(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::Native),
        _ => return None,
    })
}

/// The transpose of a `[rows, columns]` matrix of elements of `size` bytes, bit for bit.
pub(crate) fn transposed(bytes: &[u8], [rows, columns]: [usize; 2], size: usize) -> Vec<u8> {
    assert_eq!(
        bytes.len(),
        rows * columns * size,
        "a matrix of {rows}x{columns} elements of {size} bytes"
    );
    match size {
        8 => transposed_elements::<8>(bytes, rows, columns),
        4 => transposed_elements::<4>(bytes, rows, columns),
        2 => transposed_elements::<2>(bytes, rows, columns),
        1 => transposed_elements::<1>(bytes, rows, columns),
        _ => panic!("an element has 1, 2, 4 or 8 bytes, not {size}"),
    }
}

fn transposed_elements<const SIZE: usize>(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    // A square of this side fits the first cache twice, so that each line of it is fetched once.
    const SIDE: usize = 32;
    let (from, _) = bytes.as_chunks::<SIZE>();
    let mut to = vec![[0; SIZE]; from.len()];
    for top in (0..rows).step_by(SIDE) {
        for left in (0..columns).step_by(SIDE) {
            for column in left..columns.min(left + SIDE) {
                for row in top..rows.min(top + SIDE) {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
    to.into_flattened()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_types_come_back_from_the_file() {
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::U8] {
            assert_eq!(to_file(dtype).and_then(from_file), Some(dtype));
        }
    }

    #[test]
    fn transposing_moves_every_element_and_twice_changes_nothing() {
        for (rows, columns) in [(1, 1), (3, 2), (70, 33), (0, 5)] {
            for size in [1, 2, 4, 8] {
                let matrix: Vec<u8> =
                    (0..rows * columns * size).map(|i| (i * 7 % 251) as u8).collect();
                let turned = transposed(&matrix, [rows, columns], size);
                for row in 0..rows {
                    for column in 0..columns {
                        let (here, there) = (row * columns + column, column * rows + row);
                        assert_eq!(matrix[here * size..][..size], turned[there * size..][..size]);
                    }
                }
                assert_eq!(transposed(&turned, [columns, rows], size), matrix);
            }
        }
    }
}
