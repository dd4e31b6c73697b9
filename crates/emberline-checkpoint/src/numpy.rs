//! Arrays of NumPy, in the parts in which OpenAI published GPT.

use std::path::Path;

use burn::tensor::TensorData;

use crate::error::CheckpointError;

const SHAPES: &str = "params_shapes.json";
const PARTS: usize = 10;

/// Reads the arrays of a folder with `params_shapes.json`, the list of their shapes, and `params_0.npy` to
/// `params_9.npy`, their numbers one after another.
///
/// # Errors
/// [`Read`](CheckpointError::Read); [`NotNumpy`](CheckpointError::NotNumpy) where a part is no vector of `f32`;
/// [`NotShapes`](CheckpointError::NotShapes); [`Numbers`](CheckpointError::Numbers) where the shapes hold more or fewer
/// numbers than the parts.
pub fn load_numpy_parts(folder: impl AsRef<Path>) -> Result<Vec<TensorData>, CheckpointError> {
    let folder = folder.as_ref();
    let path = folder.join(SHAPES);
    let text = std::fs::read(&path).map_err(CheckpointError::read(&path))?;
    let shapes: Vec<Vec<usize>> = serde_json::from_slice(&text)
        .map_err(|source| CheckpointError::NotShapes { path: path.clone(), source })?;
    let parts = (0..PARTS).map(|part| numbers(&folder.join(format!("params_{part}.npy"))));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    let found = parts.iter().map(Vec::len).sum::<usize>();
    let counts: Vec<usize> = shapes.iter().map(|shape| product(shape)).collect();
    let expected = counts.iter().fold(0, |sum: usize, count| sum.saturating_add(*count));
    if found != expected {
        return Err(CheckpointError::Numbers { path, expected, found });
    }
    let mut numbers = parts.into_iter().flatten();
    let array = |(shape, count): (Vec<usize>, usize)| {
        TensorData::new(numbers.by_ref().take(count).collect::<Vec<f32>>(), shape)
    };
    Ok(shapes.into_iter().zip(counts).map(array).collect())
}

/// The numbers of a shape; `usize::MAX` if there are more.
fn product(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product: usize, size| product.saturating_mul(*size))
}

/// The numbers of a `.npy` file of little-endian `f32`.
fn numbers(path: &Path) -> Result<Vec<f32>, CheckpointError> {
    let bytes = std::fs::read(path).map_err(CheckpointError::read(path))?;
    let numbers = body(&bytes).ok_or(CheckpointError::NotNumpy { path: path.to_path_buf() })?;
    let (numbers, _) = numbers.as_chunks::<4>();
    Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// What follows the header of a file of a vector; `None` where it is another file.
///
/// The header is a dictionary of Python, after its own length in two bytes, or in four from the second version on.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (version, rest) = rest.split_at_checked(2)?;
    let (length, rest) = rest.split_at_checked(if version[0] == 1 { 2 } else { 4 })?;
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let (header, body) = rest.split_at_checked(length)?;
    let header: String = std::str::from_utf8(header).ok()?.split_whitespace().collect();
    let count = header
        .strip_prefix("{'descr':'<f4','fortran_order':False,'shape':(")?
        .strip_suffix(",),}")?
        .parse::<usize>()
        .ok()?;
    (count.checked_mul(4)? == body.len()).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (COUNT,), }";

    /// As numpy writes it.
    fn npy(header: &str, numbers: &[f32]) -> Vec<u8> {
        let mut header = header.replace("COUNT", &numbers.len().to_string());
        header.push_str(
            &" ".repeat((10 + header.len() + 1).next_multiple_of(64) - 11 - header.len()),
        );
        header.push('\n');
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
        let start = [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat();
        start.into_iter().chain(numbers).collect()
    }

    /// Ten parts with the numbers from 0 on, two each.
    fn parts(shapes: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(SHAPES), shapes).unwrap();
        for part in 0..PARTS {
            let first = 2.0 * part as f32;
            let path = folder.path().join(format!("params_{part}.npy"));
            std::fs::write(path, npy(HEADER, &[first, first + 1.0])).unwrap();
        }
        folder
    }

    #[test]
    fn arrays_go_on_from_part_to_part() {
        let arrays = load_numpy_parts(parts("[[3], [1, 7, 2], [3, 1]]").path()).unwrap();
        let numbers = |range: std::ops::Range<i32>| range.map(|n| n as f32).collect::<Vec<_>>();
        let expected = [
            TensorData::new(numbers(0..3), [3]),
            TensorData::new(numbers(3..17), [1, 7, 2]),
            TensorData::new(numbers(17..20), [3, 1]),
        ];
        assert_eq!(arrays, expected);
    }

    #[test]
    fn shapes_that_do_not_fit_the_numbers_are_refused() {
        let huge = format!("[[{0}, {0}], [3]]", usize::MAX);
        for (shapes, complaint) in [
            ("[[3], [16]]", "params_shapes.json has room for 19 numbers, and there are 20"),
            (&huge, "and there are 20"),
            ("[[3], 17]", "params_shapes.json is not a list of shapes"),
        ] {
            let error = load_numpy_parts(parts(shapes).path()).unwrap_err().to_string();
            assert!(error.ends_with(complaint), "{error}");
        }
    }

    #[test]
    fn a_part_that_is_no_vector_of_numbers_is_refused() {
        let whole = npy(HEADER, &[1.0, 2.0]);
        let others = [
            npy(&HEADER.replace("<f4", "<f8"), &[1.0, 2.0]),
            npy(&HEADER.replace("(COUNT,)", "(1, COUNT)"), &[1.0, 2.0]),
            [&whole[..], &[0]].concat(),
        ];
        let truncated = (0..whole.len()).map(|length| whole[..length].to_vec());
        for bytes in truncated.chain(others) {
            let folder = parts("[[20]]");
            std::fs::write(folder.path().join("params_3.npy"), &bytes).unwrap();
            let error = load_numpy_parts(folder.path()).unwrap_err().to_string();
            assert!(error.ends_with("params_3.npy is not a whole NumPy vector of f32"), "{error}");
        }
    }
}
