//! Files of tensors, mapped into memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::tensor::{AllocationProperty, Bytes, TensorData};
use memmap2::Mmap;
use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensors};

use crate::elements;
use crate::error::CheckpointError;
use crate::pytorch::{self, PyTorchTensor};

/// A file of which the header has been checked against the length.
#[derive(Debug)]
pub(crate) struct MappedFile {
    path: PathBuf,
    /// The mapping, which lives as long as the last part of it that was lent.
    bytes: bytes::Bytes,
    header: Header,
}

#[derive(Debug)]
enum Header {
    Safetensors {
        metadata: Metadata,
        /// Where the header ends, from which the offsets of tensors count.
        start: usize,
    },
    PyTorch(BTreeMap<String, PyTorchTensor>),
}

impl MappedFile {
    /// Opens a file of either kind, as its first bytes tell, or else its name.
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = File::open(path).map_err(CheckpointError::read(path))?;
        // SAFETY: the bytes of a mapping must not change while they are borrowed. The mapping is
        // private to `MappedFile`, which lends it immutably and only as bytes, for which every value
        // is valid, and floats, for which it is too. That no other process writes into the file in place is the contract of `Weights`.
        let mapping = unsafe { Mmap::map(&file) }.map_err(CheckpointError::read(path))?;
        let bytes = bytes::Bytes::from_owner(mapping);
        let is_named_for_pytorch =
            path.extension().is_some_and(|e| ["bin", "pt", "pth"].map(OsStr::new).contains(&e));
        let header = if is_named_for_pytorch || pytorch::is_pytorch(&bytes) {
            let tensors = pytorch::read_tensors(&bytes);
            Header::PyTorch(tensors.map_err(CheckpointError::pytorch(path))?)
        } else {
            let (header_length, metadata) =
                SafeTensors::read_metadata(&bytes).map_err(|source| {
                    CheckpointError::NotSafetensors { path: path.to_path_buf(), source }
                })?;
            Header::Safetensors { metadata, start: size_of::<u64>() + header_length }
        };
        Ok(Self { path: path.to_path_buf(), bytes, header })
    }

    /// The names of the tensors; in safetensors, in the order of the file.
    pub(crate) fn names(&self) -> Vec<String> {
        match &self.header {
            Header::Safetensors { metadata, .. } => metadata.offset_keys(),
            Header::PyTorch(tensors) => tensors.keys().cloned().collect(),
        }
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<MappedTensor<'_>> {
        let (dtype, shape, elements) = match &self.header {
            Header::Safetensors { metadata, start } => {
                let info = metadata.info(name)?;
                let (from, to) = info.data_offsets;
                let bytes = &self.bytes[start + from..start + to];
                (info.dtype, &info.shape, Elements::InOrder(bytes))
            }
            Header::PyTorch(tensors) => {
                let tensor = tensors.get(name)?;
                (tensor.dtype, &tensor.shape, Elements::View(tensor, &self.bytes))
            }
        };
        Some(MappedTensor { file: self, dtype, shape, elements })
    }
}

/// A tensor of a mapped file.
pub(crate) struct MappedTensor<'a> {
    file: &'a MappedFile,
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    elements: Elements<'a>,
}

enum Elements<'a> {
    InOrder(&'a [u8]),
    View(&'a PyTorchTensor, &'a [u8]),
}

impl<'a> MappedTensor<'a> {
    pub(crate) fn is_float(&self) -> bool {
        elements::from_file(self.dtype).is_some_and(|dtype| dtype.is_float())
    }

    /// Whether another tensor has the same shape, type and bits.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.shape == other.shape && self.dtype == other.dtype && self.bytes() == other.bytes()
    }

    /// The elements in the order of the axes.
    pub(crate) fn bytes(&self) -> Cow<'a, [u8]> {
        match self.elements {
            Elements::InOrder(bytes) => Cow::Borrowed(bytes),
            Elements::View(tensor, file) => tensor.bytes(file),
        }
    }

    /// The elements of floats as a part of the mapping, which the file must outlive, where they lie in it as they are
    /// read: no copy, and no memory that the system could not take back. Else a copy.
    pub(crate) fn lent(&self) -> Bytes {
        // Where a file that is mapped cannot be removed or replaced, mappings must not live long.
        let can_be_lent = cfg!(all(unix, target_endian = "little"));
        let size = elements::from_file(self.dtype).map_or(0, |dtype| dtype.size());
        match self.bytes() {
            Cow::Borrowed(bytes) if can_be_lent && bytes.as_ptr().addr().is_multiple_of(size) => {
                Bytes::from_shared(self.file.bytes.slice_ref(bytes), AllocationProperty::File)
            }
            bytes => Bytes::from_bytes_vec(bytes.into_owned()),
        }
    }

    pub(crate) fn read(&self, name: &str) -> Result<TensorData, CheckpointError> {
        let dtype =
            elements::from_file(self.dtype).ok_or_else(|| CheckpointError::ElementType {
                path: self.file.path.clone(),
                tensor: name.to_string(),
                found: self.dtype.to_string(),
            })?;
        Ok(TensorData::from_bytes_vec(self.bytes().into_owned(), self.shape.to_vec(), dtype))
    }
}
