//! Adapters in the files of PEFT.
//!
//! ```text
//! base_model.model.<module>.lora_A.weight    Aᵀ, [rank, d_input]
//! base_model.model.<module>.lora_B.weight    Bᵀ, [d_output, rank]
//! base_model.model.<parameter>               what is trained whole
//! ```
//!
//! Modules have the names of `transformers`, which the weight table of the model knows. A bias of an adapted module stands
//! under `<module>.base_layer.bias`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;
use emberline_checkpoint::{
    CheckpointError, Mismatch, Misshapen, PeftConfig, Stored, Weights, read_adapter, write_adapter,
};
use serde_json::{Map, Value};

use super::parameters::{Listed, list, module_of};
use super::{LoraAdapter, LoraConfig, LoraError, TrainedBiases};

const PREFIX: &str = "base_model.model.";
const FACTORS: [&str; 2] = ["lora_A.weight", "lora_B.weight"];
/// What PEFT writes a second time where it saves all biases: its own copies of a module that is trained whole.
const COPIES: [&str; 2] = [".modules_to_save.", ".original_module."];

/// The names of a model's parameters in the files of PEFT.
#[derive(Clone, Copy)]
pub struct PeftNames<'a> {
    /// Where each parameter is in a file of the whole model.
    pub table: &'a dyn Fn(&str) -> Stored,
    /// What the names of `table` begin with and those of the model's class in `transformers` do not, as `bert.` for
    /// `BertModel`; else empty.
    pub left_out: &'a str,
}

impl PeftNames<'_> {
    fn of(&self, path: &str) -> Stored {
        let Stored { name, transposed } = (self.table)(path);
        let name = name.strip_prefix(self.left_out).unwrap_or(&name).to_string();
        Stored { name, transposed }
    }
}

impl LoraAdapter {
    /// Reads a directory of PEFT for a model.
    ///
    /// # Errors
    /// [`LoraError::Checkpoint`] for files that cannot be read, [`LoraError::OtherFiles`] with every tensor that is
    /// missing, too many or of another shape.
    pub fn load<M: Module>(
        folder: impl AsRef<Path>,
        model: &M,
        names: PeftNames,
    ) -> Result<Self, LoraError> {
        let (config, weights) = read_adapter(folder)?;
        let listed = list(model);
        let reader = Reader::new(&weights, config.r);
        let mut reader = listed.iter().try_fold(reader, |mut reader, parameter| {
            reader.take(parameter, names)?;
            Ok::<_, LoraError>(reader)
        })?;
        reader.finish()?;
        let Reader { factors, whole, .. } = reader;
        let bias = match &config.bias[..] {
            "all" => TrainedBiases::All,
            "lora_only" => TrainedBiases::LoraOnly,
            _ => TrainedBiases::None,
        };
        let targets = factors.keys().map(|path| module_of(path).to_string());
        let mut adapter = Self {
            config: LoraConfig {
                rank: config.r,
                alpha: config.lora_alpha,
                targets: targets.collect(),
                dropout: config.lora_dropout,
                bias,
                saved_modules: Vec::new(),
                rank_stabilized: config.use_rslora,
            },
            factors,
            whole,
        };
        let saved = adapter.whole.keys().filter(|path| !adapter.trains_bias(path));
        let saved: BTreeSet<String> = saved.map(|path| module_of(path).to_string()).collect();
        adapter.config.saved_modules = saved.into_iter().collect();
        adapter.config.validate()?;
        Ok(adapter)
    }

    /// Writes a directory of PEFT, which is there. `base` is the name or directory of the model that it is for.
    ///
    /// # Errors
    /// [`LoraError::Checkpoint`].
    pub fn save(
        &self,
        folder: impl AsRef<Path>,
        names: PeftNames,
        base: Option<&str>,
    ) -> Result<(), LoraError> {
        let mut tensors = Vec::new();
        let mut lies_as_ours = false;
        for (path, factors) in &self.factors {
            let Stored { name, transposed } = names.of(path);
            lies_as_ours |= !transposed;
            for (factor, name_of) in factors.iter().zip(FACTORS) {
                let name = format!("{PREFIX}{}.{name_of}", module_of(&name));
                tensors.push((name, transposed_matrix(factor)));
            }
        }
        for (path, data) in &self.whole {
            let Stored { mut name, transposed } = names.of(path);
            if self.factors.contains_key(&format!("{}.weight", module_of(path))) {
                name = format!("{}.base_layer.bias", module_of(&name));
            }
            let data = if transposed { transposed_matrix(data) } else { data.clone() };
            tensors.push((format!("{PREFIX}{name}"), data));
        }
        let LoraConfig { rank, alpha, dropout, bias, rank_stabilized, .. } = self.config;
        let modules = |paths: Vec<&String>| -> BTreeSet<String> {
            paths.into_iter().map(|path| module_of(&names.of(path).name).to_string()).collect()
        };
        let saved = self.whole.keys().filter(|path| !self.trains_bias(path)).collect();
        let saved = Some(modules(saved)).filter(|saved| !saved.is_empty());
        let targets = modules(self.factors.keys().collect());
        let config = PeftConfig {
            peft_type: "LORA".to_string(),
            r: rank,
            lora_alpha: alpha,
            lora_dropout: dropout,
            bias: match bias {
                TrainedBiases::None => "none",
                TrainedBiases::LoraOnly => "lora_only",
                TrainedBiases::All => "all",
            }
            .to_string(),
            use_rslora: rank_stabilized,
            target_modules: targets.into_iter().map(Value::from).collect(),
            modules_to_save: saved.map(|saved| saved.into_iter().collect()),
            fan_in_fan_out: lies_as_ours,
            base_model_name_or_path: base.map(str::to_string),
            inference_mode: true,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            other: Map::from_iter([("task_type".to_string(), Value::Null)]),
        };
        Ok(write_adapter(folder, &config, tensors)?)
    }
}

/// Takes the tensors of a file, parameter by parameter.
struct Reader<'a> {
    weights: &'a Weights,
    rank: usize,
    taken: BTreeSet<String>,
    mismatch: Mismatch,
    factors: BTreeMap<String, [TensorData; 2]>,
    whole: BTreeMap<String, TensorData>,
}

impl<'a> Reader<'a> {
    fn new(weights: &'a Weights, rank: usize) -> Self {
        Self {
            weights,
            rank,
            taken: BTreeSet::new(),
            mismatch: Mismatch { path: weights.path().to_path_buf(), ..Mismatch::default() },
            factors: BTreeMap::new(),
            whole: BTreeMap::new(),
        }
    }

    fn take(&mut self, parameter: &Listed, names: PeftNames) -> Result<(), LoraError> {
        let Listed { path, shape, is_linear } = parameter;
        let Stored { name, transposed } = names.of(path);
        let places = [name.clone(), format!("{}.base_layer.bias", module_of(&name))];
        let is_bias = name.ends_with(".bias");
        for place in &places[..if is_bias { 2 } else { 1 }] {
            let expected = match (transposed, &shape[..]) {
                (true, [rows, columns]) => vec![*columns, *rows],
                _ => shape.clone(),
            };
            if let Some(data) = self.tensor(&format!("{PREFIX}{place}"), expected)? {
                let data = if transposed { transposed_matrix(&data) } else { data };
                self.whole.insert(path.clone(), data);
            }
        }
        if !is_linear {
            return Ok(());
        }
        let [a, b] = FACTORS.map(|factor| format!("{PREFIX}{}.{factor}", module_of(&name)));
        let of_a = self.tensor(&a, vec![self.rank, shape[0]])?;
        let of_b = self.tensor(&b, vec![shape[1], self.rank])?;
        match (of_a, of_b) {
            (Some(of_a), Some(of_b)) => {
                let factors = [&of_a, &of_b].map(transposed_matrix);
                self.factors.insert(path.clone(), factors);
            }
            (Some(_), None) if !self.taken.contains(&b) => self.mismatch.missing.push(b),
            (None, Some(_)) if !self.taken.contains(&a) => self.mismatch.missing.push(a),
            _ => {}
        }
        Ok(())
    }

    /// A tensor of the file, in f32; nothing where there is none, or it is of another shape.
    fn tensor(
        &mut self,
        name: &str,
        expected: Vec<usize>,
    ) -> Result<Option<TensorData>, CheckpointError> {
        let Some(data) = self.weights.read(name)? else { return Ok(None) };
        self.taken.insert(name.to_string());
        let found = data.shape().to_vec();
        if found != expected {
            let tensor = name.to_string();
            self.mismatch.misshapen.push(Misshapen { tensor, expected, found });
            return Ok(None);
        }
        Ok(Some(data.convert::<f32>()))
    }

    fn finish(&mut self) -> Result<(), LoraError> {
        let is_copy = |name: &str| COPIES.iter().any(|copy| name.contains(copy));
        let unexpected =
            self.weights.names().filter(|name| !self.taken.contains(*name) && !is_copy(name));
        self.mismatch.unexpected = unexpected.map(str::to_string).collect();
        match self.mismatch.is_empty() {
            true => Ok(()),
            false => Err(LoraError::OtherFiles(Box::new(self.mismatch.clone()).into())),
        }
    }
}

fn transposed_matrix(matrix: &TensorData) -> TensorData {
    let shape = matrix.shape().to_vec();
    let [rows, columns] = shape[..] else { panic!("a matrix of shape {shape:?}") };
    let numbers: Vec<f32> = matrix.iter().collect();
    let turned = (0..columns).flat_map(|column| (0..rows).map(move |row| row * columns + column));
    TensorData::new(turned.map(|index| numbers[index]).collect::<Vec<f32>>(), [columns, rows])
}
