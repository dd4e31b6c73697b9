//! The mean of the weights of several checkpoints, which is often better than any of them (Vaswani and others, 2017,
//! section 6.1; Izmailov and others, 2018).

use std::path::Path;

use burn::tensor::TensorData;

use crate::error::{CheckpointError, Mismatch, Misshapen};
use crate::tensors::save_tensors;
use crate::weights::Weights;

/// Writes the mean of every tensor over `sources`, files or folders of weights, into one safetensors file, atomically.
///
/// The sums are those of `f32`, in the order of the sources, and a mean has the element type of the first source.
///
/// # Errors
/// Those of [`Weights::open`]; [`Mismatch`](CheckpointError::Mismatch) for the first source whose tensors are not named
/// and shaped as those of the first, or that has others than floats; [`Write`](CheckpointError::Write).
///
/// # Panics
/// If there is no source.
pub fn average_weights<P: AsRef<Path>>(
    sources: &[P],
    target: impl AsRef<Path>,
) -> Result<(), CheckpointError> {
    let sources: Vec<Weights> = sources.iter().map(Weights::open).collect::<Result<_, _>>()?;
    let first = sources.first().expect("a mean is that of at least one source");
    for source in &sources {
        check_alike(first, source)?;
    }
    let mean = |name: &str| Ok((name.to_string(), mean(&sources, name)?));
    let tensors = first.names().map(mean).collect::<Result<_, CheckpointError>>()?;
    save_tensors(target, tensors)
}

fn check_alike(first: &Weights, other: &Weights) -> Result<(), CheckpointError> {
    let mut mismatch = Mismatch { path: other.path().to_path_buf(), ..Mismatch::default() };
    for name in first.names() {
        let expected = first.shape(name).expect("the tensor is listed");
        match other.tensor(name) {
            None => mismatch.missing.push(name.to_string()),
            Some(tensor) if tensor.shape != expected => mismatch.misshapen.push(Misshapen {
                tensor: name.to_string(),
                expected: expected.to_vec(),
                found: tensor.shape.to_vec(),
            }),
            Some(tensor) if !tensor.is_float() => {
                mismatch.not_float.push((name.to_string(), tensor.dtype.to_string()));
            }
            Some(_) => {}
        }
    }
    let unexpected = other.names().filter(|name| first.shape(name).is_none());
    mismatch.unexpected.extend(unexpected.map(str::to_string));
    if mismatch.is_empty() { Ok(()) } else { Err(Box::new(mismatch).into()) }
}

/// The mean of a tensor that all sources have in one shape.
fn mean(sources: &[Weights], name: &str) -> Result<TensorData, CheckpointError> {
    let read = |source: &Weights| source.tensor(name).expect("every source has it").read(name);
    let first = read(&sources[0])?;
    let (shape, dtype) = (first.shape().to_vec(), first.dtype());
    let mut sums: Vec<f32> = first.iter().collect();
    for source in &sources[1..] {
        for (sum, number) in sums.iter_mut().zip(read(source)?.iter::<f32>()) {
            *sum += number;
        }
    }
    let count = sources.len() as f32;
    let means: Vec<f32> = sums.into_iter().map(|sum| sum / count).collect();
    Ok(TensorData::new(means, shape).convert_dtype(dtype))
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;

    use super::*;
    use crate::load_tensors;

    fn save(path: &Path, tensors: &[(&str, TensorData)]) {
        let tensors = tensors.iter().map(|(name, data)| (name.to_string(), data.clone()));
        save_tensors(path, tensors.collect()).unwrap();
    }

    #[test]
    fn the_mean_of_weights_is_that_of_each_number_in_the_order_of_the_sources() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [0, 1, 2].map(|index| folder.path().join(format!("{index}")));
        // (1 + 2²⁴) + 1 loses both ones, in this order only.
        for (path, number) in paths.iter().zip([16_777_216.0f32, 1.0, 1.0]) {
            let half = TensorData::from([number.min(3.0)]).convert_dtype(DType::F16);
            save(path, &[("w", TensorData::from([[number, 3.0], [0.0, number]])), ("h", half)]);
        }
        let target = folder.path().join("mean.safetensors");
        average_weights(&paths, &target).unwrap();
        let third = 16_777_216.0f32 / 3.0;
        let mean: Vec<(String, TensorData)> = load_tensors(&target).unwrap();
        let [(w, weight), (h, half)] = &mean[..] else { panic!("{mean:?}") };
        assert_eq!((&w[..], &h[..], half.dtype()), ("w", "h", DType::F16));
        weight.assert_eq(&TensorData::from([[third, 3.0], [0.0, third]]), true);
        half.assert_eq(&TensorData::from([5.0f32 / 3.0]).convert_dtype(DType::F16), true);
        average_weights(&paths[1..2], &target).unwrap();
        assert_eq!(load_tensors(&target).unwrap()[0].1, load_tensors(&paths[1]).unwrap()[0].1);
    }

    #[test]
    fn weights_of_other_names_shapes_or_elements_are_an_error_that_names_the_file_and_all_of_them()
    {
        let folder = tempfile::tempdir().unwrap();
        let (first, other) = (folder.path().join("first"), folder.path().join("other"));
        let one = || TensorData::from([1.0f32]);
        save(&first, &[("a", one()), ("b", one()), ("c", one())]);
        save(
            &other,
            &[
                ("a", TensorData::from([1.0f32, 2.0])),
                ("b", TensorData::from([1i64])),
                ("d", one()),
            ],
        );
        let target = folder.path().join("mean");
        let error = average_weights(&[&first, &other], &target).unwrap_err().to_string();
        let expected = format!(
            "the tensors of {} do not fit the model: 1 missing: c; 1 unexpected: d; \
             1 of another shape: a is [2], expected [1]; 1 not of floats: b is I64",
            other.display()
        );
        assert_eq!(error, expected);
        assert!(!target.exists());
        let error = average_weights(&[&first, &folder.path().join("no")], &target).unwrap_err();
        assert!(matches!(error, CheckpointError::Read { .. }), "{error}");
    }
}
