//! Published weights: a file in HDF5, with TensorFlow's names and layouts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::{Dropout, Embedding, Linear};
use emberline_checkpoint::{Mismatch, Misshapen};
use emberline_recurrent::tensorflow::TensorFlowLstm;
use emberline_recurrent::{LstmCell, LstmOptions};
use hdf5_pure::{DType, File, Group};

use super::Elmo;
use super::character_cnn::{CharacterCnn, Highway};
use super::config::{CharacterCnnConfig, ElmoConfig, Filter, no_bias};
use super::published::ElmoError;

/// Groups within groups that are looked into; the published files have five.
const MAX_DEPTH: usize = 16;
/// The names of a layer of a direction, 0 forward and 1 backward.
fn layer_name(direction: usize, layer: usize) -> String {
    format!("RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell")
}

/// Every tensor of a model's file, with its shape.
fn expected(config: &ElmoConfig) -> BTreeMap<String, Vec<usize>> {
    let CharacterCnnConfig { n_characters, d_character, ref filters, n_highway, .. } =
        config.characters;
    let (d_hidden, d_output) = (config.d_hidden, config.d_output);
    let n_filters = config.characters.n_filters();
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| tensors.insert(name, shape.to_vec());
    add("char_embed".into(), &[n_characters, d_character]);
    for (index, Filter { width, count }) in filters.iter().enumerate() {
        add(format!("CNN/W_cnn_{index}"), &[1, *width, d_character, *count]);
        add(format!("CNN/b_cnn_{index}"), &[*count]);
    }
    for index in 0..n_highway {
        for gate in ["carry", "transform"] {
            add(format!("CNN_high_{index}/W_{gate}"), &[n_filters, n_filters]);
            add(format!("CNN_high_{index}/b_{gate}"), &[n_filters]);
        }
    }
    add("CNN_proj/W_proj".into(), &[n_filters, d_output]);
    add("CNN_proj/b_proj".into(), &[d_output]);
    for (direction, layer) in (0..2).flat_map(|d| (0..config.n_layers).map(move |l| (d, l))) {
        let name = layer_name(direction, layer);
        add(format!("{name}/W_0"), &[2 * d_output, 4 * d_hidden]);
        add(format!("{name}/B"), &[4 * d_hidden]);
        if d_output < d_hidden {
            add(format!("{name}/W_P_0"), &[d_hidden, d_output]);
        }
    }
    tensors
}

/// An open file of weights.
pub(super) struct PublishedWeights {
    path: PathBuf,
    file: File,
    /// The shape of every tensor, and its element type.
    tensors: BTreeMap<String, (Vec<usize>, DType)>,
}

impl PublishedWeights {
    pub(super) fn open(path: &Path) -> Result<Self, ElmoError> {
        // What cannot be opened at all is no fault of the format.
        std::fs::File::open(path)
            .map_err(|source| ElmoError::Read { path: path.to_path_buf(), source })?;
        let file = File::open_streaming(path).map_err(not_hdf5(path))?;
        let mut tensors = BTreeMap::new();
        list(&file.root(), "", MAX_DEPTH, &mut tensors).map_err(not_hdf5(path))?;
        Ok(Self { path: path.to_path_buf(), file, tensors })
    }

    pub(super) fn mismatch(&self, config: &ElmoConfig) -> Mismatch {
        let expected = expected(config);
        let mut mismatch = Mismatch { path: self.path.clone(), ..Mismatch::default() };
        for (tensor, shape) in &expected {
            match self.tensors.get(tensor) {
                None => mismatch.missing.push(tensor.clone()),
                Some((found, _)) if found != shape => mismatch.misshapen.push(Misshapen {
                    tensor: tensor.clone(),
                    expected: shape.clone(),
                    found: found.clone(),
                }),
                Some((_, DType::F32 | DType::F64)) => {}
                Some((_, other)) => mismatch.not_float.push((tensor.clone(), other.to_string())),
            }
        }
        let is_unexpected = |name: &&String| !expected.contains_key(*name);
        mismatch.unexpected = self.tensors.keys().filter(is_unexpected).cloned().collect();
        mismatch
    }

    /// The values of a tensor, with another shape of as many numbers.
    fn read(&self, name: &str, shape: &[usize]) -> Result<TensorData, ElmoError> {
        let values = self.file.dataset(name).and_then(|tensor| tensor.read_f32());
        let values = values.map_err(not_hdf5(&self.path))?;
        let expected: usize = shape.iter().product();
        if values.len() != expected {
            let found = values.len();
            let reason = format!("{name} has {found} numbers, but its shape says {expected}");
            return Err(not_hdf5(&self.path)(reason));
        }
        Ok(TensorData::new(values, shape.to_vec()))
    }

    fn parameter<const D: usize>(
        &self,
        name: &str,
        shape: [usize; D],
        device: &Device,
    ) -> Result<Param<Tensor<D>>, ElmoError> {
        Ok(Param::from_data(self.read(name, &shape)?, device))
    }

    fn linear(
        &self,
        [weight, bias]: [&str; 2],
        shape: [usize; 2],
        device: &Device,
    ) -> Result<Linear, ElmoError> {
        let weight = self.parameter(weight, shape, device)?;
        Ok(Linear::new(weight, Some(self.parameter(bias, [shape[1]], device)?)))
    }

    /// The model of a config that fits.
    pub(super) fn model(&self, config: &ElmoConfig, device: &Device) -> Result<Elmo, ElmoError> {
        let layers = |direction: usize| {
            let layer = |layer| self.cell(&layer_name(direction, layer), config, device);
            (0..config.n_layers).map(layer).collect::<Result<_, _>>()
        };
        Ok(Elmo {
            words: self.words(config, device)?,
            forward: layers(0)?,
            reverse: layers(1)?,
            dropout: Dropout::new(config.dropout),
            has_skip_connections: config.has_skip_connections,
        })
    }

    fn words(&self, config: &ElmoConfig, device: &Device) -> Result<CharacterCnn, ElmoError> {
        let sizes = &config.characters;
        let (n_filters, d_character) = (sizes.n_filters(), sizes.d_character);
        let filter = |(index, filter): (usize, &Filter)| {
            let names = ["W", "b"].map(|tensor| format!("CNN/{tensor}_cnn_{index}"));
            // The characters of a filter lie one after the other, as here.
            let shape = [filter.width * d_character, filter.count];
            self.linear(names.each_ref().map(|name| &name[..]), shape, device)
        };
        let gate = |index: usize, gate: &str| {
            let names = ["W", "b"].map(|tensor| format!("CNN_high_{index}/{tensor}_{gate}"));
            let names = names.each_ref().map(|name| &name[..]);
            self.linear(names, [n_filters, n_filters], device)
        };
        let highway = |index: usize| {
            Ok(Highway { carry: gate(index, "carry")?, transform: gate(index, "transform")? })
        };
        let characters = [sizes.n_characters, d_character];
        let projection = ["CNN_proj/W_proj", "CNN_proj/b_proj"];
        Ok(CharacterCnn {
            characters: Embedding::new(self.parameter("char_embed", characters, device)?),
            filters: sizes.filters.iter().enumerate().map(filter).collect::<Result<_, _>>()?,
            highways: (0..sizes.n_highway).map(highway).collect::<Result<_, ElmoError>>()?,
            projection: self.linear(projection, [n_filters, config.d_output], device)?,
            activation: sizes.activation,
        })
    }

    fn cell(
        &self,
        name: &str,
        config: &ElmoConfig,
        device: &Device,
    ) -> Result<LstmCell, ElmoError> {
        let (d_hidden, d_output) = (config.d_hidden, config.d_output);
        let read = |tensor: &str, shape: &[usize]| self.read(&format!("{name}/{tensor}"), shape);
        let projection = || read("W_P_0", &[d_hidden, d_output]);
        let lstm = TensorFlowLstm {
            kernel: read("W_0", &[2 * d_output, 4 * d_hidden])?,
            bias: read("B", &[4 * d_hidden])?,
            projection: (d_output < d_hidden).then(projection).transpose()?,
        };
        let options =
            LstmOptions { cell_clip: config.cell_clip, projection_clip: config.projection_clip };
        let cell = lstm.into_cell(options, device).expect("every tensor was compared");
        Ok(LstmCell { bias_hidden: no_bias(4 * d_hidden, device), ..cell })
    }
}

/// Lists the tensors of a group and of those in it.
fn list(
    group: &Group,
    prefix: &str,
    depth: usize,
    tensors: &mut BTreeMap<String, (Vec<usize>, DType)>,
) -> Result<(), hdf5_pure::Error> {
    for name in group.datasets()? {
        let tensor = group.dataset(&name)?;
        let shape = tensor.shape()?.into_iter().map(|size| size as usize).collect();
        tensors.insert(format!("{prefix}{name}"), (shape, tensor.dtype()?));
    }
    // A group may hold itself.
    if depth > 0 {
        for name in group.groups()? {
            list(&group.group(&name)?, &format!("{prefix}{name}/"), depth - 1, tensors)?;
        }
    }
    Ok(())
}

fn not_hdf5<E>(path: &Path) -> impl FnOnce(E) -> ElmoError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = path.to_path_buf();
    move |source| ElmoError::NotHdf5 { path, source: source.into() }
}
