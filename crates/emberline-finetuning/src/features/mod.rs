//! What a frozen model makes of its inputs, computed once and kept on disk, so that a head is trained at its own speed.
//!
//! A feature is known by the content that it comes of: the parameters of the model and its inputs. So no cache is ever
//! stale, and it can be deleted at any time.

mod head;

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use emberline_checkpoint::{CheckpointError, load_tensors, save_tensors};
use emberline_core::parameters::ModulePath;
use emberline_core::{TokenBatch, TokenEncoder};
use sha2::{Digest, Sha256};

use crate::classifier::Pooling;

pub use head::{FeatureBatch, FeatureBatches, FeatureClassification, FeatureHead};

/// The content that features come of, as a hash.
#[derive(Clone, Debug, Default)]
pub struct FeatureKey(Sha256);

/// A folder of features.
#[derive(Clone, Debug)]
pub struct FeatureCache {
    folder: PathBuf,
}

/// Why features cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// The folder cannot be made.
    #[error("cannot make the folder of features {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of features cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file is not what was written.
    #[error("{} holds no features: delete it, and they are computed again", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

impl FeatureKey {
    /// Adds a model: the paths, shapes and values of all its parameters.
    #[must_use]
    pub fn module<M: Module>(mut self, module: &M) -> Self {
        struct Hasher<'a>(ModulePath, &'a mut Sha256);
        impl ModuleVisitor for Hasher<'_> {
            fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
                let data = parameter.val().into_data();
                self.1.update(format!("{} {:?};", self.0.joined(), data.shape()));
                self.1.update(data.as_bytes());
            }

            fn enter_module(&mut self, name: &str, _container: &str) {
                self.0.enter(name);
            }

            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.0.exit();
            }
        }
        module.visit(&mut Hasher(ModulePath::default(), &mut self.0));
        self
    }

    /// Adds anything else that the features come of: the inputs, and how they are made of them.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// The hash in hexadecimal, of which the name of a file can be made.
    pub fn hex(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl FeatureCache {
    /// The cache in a folder, which is made.
    ///
    /// # Errors
    /// [`FeatureError::Folder`].
    pub fn new(folder: impl AsRef<Path>) -> Result<Self, FeatureError> {
        let folder = folder.as_ref().to_path_buf();
        std::fs::create_dir_all(&folder)
            .map_err(|source| FeatureError::Folder { path: folder.clone(), source })?;
        Ok(Self { folder })
    }

    /// The features of a key, from the disk, or else as `compute` makes them.
    ///
    /// # Shapes
    /// - output: `[n, width]`
    ///
    /// # Errors
    /// [`FeatureError::Checkpoint`], [`FeatureError::Foreign`].
    pub fn get(
        &self,
        key: FeatureKey,
        device: &Device,
        compute: impl FnOnce() -> Tensor<2>,
    ) -> Result<Tensor<2>, FeatureError> {
        const NAME: &str = "features";
        let path = self.folder.join(format!("{}.safetensors", key.hex()));
        if path.exists() {
            let found = load_tensors(&path)?.into_iter().find(|(name, _)| name == NAME);
            let found = found.filter(|(_, data)| data.shape().num_dims() == 2);
            let (_, data) = found.ok_or(FeatureError::Foreign { path })?;
            return Ok(Tensor::from_data(data, device));
        }
        let features = compute();
        save_tensors(&path, vec![(NAME.to_string(), features.to_data())])?;
        Ok(features)
    }

    /// The vectors of texts that an encoder makes without dropout, each by itself within batches of `batch_size`.
    ///
    /// # Shapes
    /// - output: `[rows, width]`
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn of_texts<E: Module + TokenEncoder>(
        &self,
        encoder: &E,
        pooling: Pooling,
        rows: &[&[u32]],
        batch_size: usize,
        device: &Device,
    ) -> Result<Tensor<2>, FeatureError> {
        let mut key =
            FeatureKey::default().module(encoder).bytes(format!("{pooling:?}").as_bytes());
        for row in rows {
            let ids: Vec<u8> = row.iter().flat_map(|id| id.to_le_bytes()).collect();
            key = key.bytes(&ids);
        }
        self.get(key, device, || {
            let batches = rows.chunks(batch_size).map(|rows| {
                let batch = TokenBatch::padded(rows, device);
                pooling.pool(&batch, encoder.encode(&batch))
            });
            Tensor::cat(batches.collect(), 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use burn::tensor::TensorData;
    use emberline_backend::{Embedding, test_device};
    use emberline_core::Stream;

    use super::*;

    #[derive(Module, Debug)]
    struct Table {
        table: Embedding,
    }

    impl TokenEncoder for Table {
        fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
            self.table.forward(batch.tokens.clone())
        }

        fn d_model(&self) -> usize {
            4
        }
    }

    fn table(seed: u64) -> Table {
        Table { table: Embedding::init(5, 4, 1.0, Stream::new(seed), &test_device()) }
    }

    #[test]
    fn features_are_computed_once_for_the_same_content() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, device) = (FeatureCache::new(folder.path()).unwrap(), test_device());
        let computed = Cell::new(0);
        let get = |key: FeatureKey| {
            let compute = || {
                computed.set(computed.get() + 1);
                Tensor::<2>::full([2, 3], computed.get(), &device)
            };
            let features = cache.get(key, &device, compute).unwrap();
            features.into_data().iter::<f32>().next().unwrap()
        };
        let key = |seed: u64, input: &[u8]| FeatureKey::default().module(&table(seed)).bytes(input);
        assert_eq!([get(key(1, b"a")), get(key(1, b"a"))], [1.0, 1.0]);
        // Another model, another input, and the same bytes cut elsewhere.
        assert_eq!([get(key(2, b"a")), get(key(1, b"b"))], [2.0, 3.0]);
        assert_eq!([get(key(1, b"ab").bytes(b"c")), get(key(1, b"a").bytes(b"bc"))], [4.0, 5.0]);
        assert_eq!(get(key(2, b"a")), 2.0);
    }

    #[test]
    fn features_of_texts_are_what_the_head_would_read() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, device) = (FeatureCache::new(folder.path()).unwrap(), test_device());
        let rows: [&[u32]; 3] = [&[1, 2, 3], &[4], &[0, 0]];
        let model = table(1);
        let batch = TokenBatch::padded(&rows, &device);
        let expected = Pooling::Concat.pool(&batch, model.encode(&batch));
        for _ in 0..2 {
            let found = cache.of_texts(&model, Pooling::Concat, &rows, 2, &device).unwrap();
            let difference = (found - expected.clone()).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "{difference}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, device) = (FeatureCache::new(folder.path()).unwrap(), test_device());
        let key = || FeatureKey::default().bytes(b"a");
        let get = || cache.get(key(), &device, || Tensor::zeros([1, 1], &device));
        get().unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let other = vec![("other".to_string(), TensorData::from([1.0f32]))];
        save_tensors(&path, other).unwrap();
        let error = get().unwrap_err().to_string();
        assert!(error.contains("holds no features: delete it"), "{error}");
    }
}
