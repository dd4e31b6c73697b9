//! The tensors of a PyTorch file: views of storages, which several tensors may share.

use std::borrow::Cow;
use std::ops::Range;

use safetensors::Dtype;

use super::Problem;

/// The elements of a storage by the name of its type in the module `torch`; `None` if they have no type here.
pub(super) fn element_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

/// A storage as the pickle describes it.
#[derive(Clone, Debug)]
pub(super) struct Storage<'a> {
    /// The name in the archive.
    pub(super) name: &'a str,
    pub(super) dtype: Dtype,
    pub(super) n_elements: usize,
}

/// A tensor as the pickle describes it: no element lies beyond the described storage, and none twice in it.
#[derive(Clone, Debug)]
pub(super) struct StoredView<'a> {
    pub(super) storage: Storage<'a>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> StoredView<'a> {
    pub(super) fn new(
        storage: Storage<'a>,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self, Problem> {
        let fits = shape.len() == strides.len()
            && end(offset, &shape, &strides).is_some_and(|end| end <= storage.n_elements)
            // A view may repeat an element any number of times, but nothing that is saved and trained does.
            && count(&shape).is_some_and(|count| count <= storage.n_elements);
        if !fits {
            let Storage { name, n_elements, .. } = storage;
            return Err(Problem::Broken(format!(
                "a tensor of shape {shape:?}, strides {strides:?} and offset {offset} is not within the {n_elements} \
                 elements of storage {name:?}"
            )));
        }
        Ok(Self { storage, offset, shape, strides })
    }

    /// The tensor, whose storage lies in a range of the bytes of the file.
    pub(super) fn within(&self, range: Range<usize>) -> Result<PyTorchTensor, Problem> {
        let Storage { name, dtype, n_elements } = self.storage;
        let needed = n_elements.checked_mul(size_of_element(dtype));
        if needed != Some(range.len()) {
            return Err(Problem::Broken(format!(
                "storage {name:?} has {} bytes, but {n_elements} elements of {dtype:?} were to be there",
                range.len()
            )));
        }
        let Self { offset, shape, strides, .. } = self.clone();
        Ok(PyTorchTensor { dtype, storage: range, offset, shape, strides })
    }
}

/// A tensor of a file.
#[derive(Debug)]
pub(crate) struct PyTorchTensor {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Where the storage lies in the file.
    storage: Range<usize>,
    /// The place of the first element in the storage.
    offset: usize,
    /// How many elements of the storage apart two neighbours are, along each axis.
    strides: Vec<usize>,
}

impl PyTorchTensor {
    /// The elements in the order of the axes, from the bytes of the file; copied only where they lie in another.
    pub(crate) fn bytes<'a>(&self, file: &'a [u8]) -> Cow<'a, [u8]> {
        let storage = &file[self.storage.clone()];
        let size = size_of_element(self.dtype);
        let n_elements = count(&self.shape).expect("the shape was checked");
        if n_elements == 0 {
            return Cow::Borrowed(&[]);
        }
        if self.is_in_order() {
            return Cow::Borrowed(&storage[self.offset * size..][..n_elements * size]);
        }
        let mut bytes = Vec::with_capacity(n_elements * size);
        let mut index = vec![0; self.shape.len()];
        let mut place = self.offset;
        for _ in 0..n_elements {
            bytes.extend_from_slice(&storage[place * size..][..size]);
            // The next index: the last axis that has one more goes on, those after it start again.
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                place += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                place -= self.shape[axis] * self.strides[axis];
                index[axis] = 0;
            }
        }
        Cow::Owned(bytes)
    }

    fn is_in_order(&self) -> bool {
        let mut expected = 1;
        let axes = self.shape.iter().zip(&self.strides).rev();
        let mut axes = axes.filter(|(size, _)| **size > 1);
        axes.all(|(size, stride)| {
            let in_order = *stride == expected;
            expected *= size;
            in_order
        })
    }
}

fn count(shape: &[usize]) -> Option<usize> {
    // An empty tensor may have other axes of any size.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size))
}

/// One beyond the last element of a view.
fn end(offset: usize, shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let steps = shape.iter().zip(strides).map(|(size, stride)| (size - 1).checked_mul(*stride));
    steps.fold(offset.checked_add(1), |end, step| end?.checked_add(step?))
}

fn size_of_element(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}
