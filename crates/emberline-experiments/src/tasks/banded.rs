//! Attention that is dense in every layer against attention that is dense and in a band in turn, as in GPT-3, at an equal
//! budget: two models with the same first weights read the same windows.
//!
//! They are one module, so that one training is that of both. No gradient of one is that of the other, and AdamW goes by
//! each weight alone: each learns what it would learn by itself, as long as gradients are not clipped together.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::module::Module;
use burn::tensor::Device;
use emberline_backend::device::DeviceName;
use emberline_checkpoint::Stored;
use emberline_core::{Count, Loss, Stream, Term};
use emberline_models::gpt3::{Gpt3, Gpt3Config, ModelType};
use emberline_pretraining::{NextToken, NextTokenBatch};
use emberline_training::{Objective, Trained, TrainingConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::documents::TextData;
use super::gpt::DataConfig;
use super::trainee::{Session, Trainee};
use super::{Findings, Kind, Prepared};
use crate::config::{RunConfig, check_dropout, check_sizes};
use crate::result::Table;

/// The terms of the loss.
const TERMS: [&str; 2] = ["dense", "banded"];

/// Two GPT-3 on a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandedConfig {
    /// The name of the experiment.
    pub experiment: String,
    /// Where to compute.
    pub device: DeviceName,
    /// What both read.
    pub data: DataConfig,
    /// What learns.
    pub model: ModelConfig,
    /// How each learns; its seed is that of the whole run. Gradients are not clipped: their norm would be that of both
    /// models together, and tie them to each other.
    pub training: TrainingConfig,
}

/// The sizes of both models; their vocabulary is that of the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The width between the layers.
    pub d_model: usize,
    /// The layers on top of each other.
    pub n_layers: usize,
    /// The heads of every attention.
    pub n_heads: usize,
    /// The width of a head.
    pub d_head: usize,
    /// The last tokens that a token of every second layer of one of the models sees, itself among them.
    pub band: usize,
    /// The probability that a number is dropped in training.
    pub dropout: f64,
}

impl Kind for BandedConfig {
    fn data_sha256(&self) -> Option<&str> {
        self.data.sha256.as_deref()
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        let norm = self.training.max_grad_norm;
        ensure!(
            norm.is_none(),
            "`training.max_grad_norm` must be absent: it would tie both models"
        );
        let ModelConfig { d_model, n_layers, n_heads, d_head, band, dropout } = self.model;
        check_sizes(&[
            ("d_model", d_model),
            ("n_layers", n_layers),
            ("n_heads", n_heads),
            ("d_head", d_head),
            ("band", band),
        ])
        .and_then(|()| check_dropout(dropout))
        .context("`model` cannot be used")
    }

    fn prepare(self) -> Result<Box<dyn Prepared>> {
        prepare(self)
    }
}

impl ModelConfig {
    fn for_texts(&self, vocab_size: usize, n_positions: usize, band: Option<usize>) -> Gpt3Config {
        let Self { d_model, n_layers, n_heads, d_head, dropout, .. } = *self;
        let model_type = ModelType::default();
        Gpt3Config {
            model_type,
            vocab_size,
            n_positions,
            d_model,
            n_layers,
            n_heads,
            d_head,
            band,
            dropout,
        }
    }

    /// The pairs of a query and a key that all layers score in a text of `length`, on average of a layer.
    fn scores(&self, length: usize, band: Option<usize>) -> f64 {
        let layer = |layer: usize| -> usize {
            let band = band.filter(|_| !layer.is_multiple_of(2)).unwrap_or(length);
            (1..=length).map(|seen| seen.min(band)).sum()
        };
        (0..self.n_layers).map(layer).sum::<usize>() as f64 / self.n_layers as f64
    }
}

/// Both models.
#[derive(Module, Debug)]
pub struct Both {
    /// Dense in every layer.
    dense: Gpt3,
    /// Dense and in a band in turn.
    banded: Gpt3,
}

impl Both {
    fn models(&self) -> [&Gpt3; 2] {
        [&self.dense, &self.banded]
    }
}

/// Both predict the next token; the loss is the mean of theirs.
struct BothNextTokens;

impl Objective<Both> for BothNextTokens {
    type Batch = NextTokenBatch;
    type Carry = ();

    fn counts(&self, batch: &NextTokenBatch) -> Vec<Count> {
        let count = Objective::<Gpt3>::counts(&NextToken, batch)[0].count;
        TERMS.map(|term| Count { term, count }).into()
    }

    fn loss(
        &self,
        model: &Both,
        batch: &NextTokenBatch,
        _carry: Option<()>,
        dropout: Option<Stream>,
    ) -> (Loss, ()) {
        let terms = TERMS.into_iter().zip(model.models()).map(|(name, model)| {
            let (loss, ()) = NextToken.loss(model, batch, None, dropout);
            Term { name, weight: 0.5, sum: loss.terms[0].sum.clone() }
        });
        (Loss { terms: terms.collect() }, ())
    }
}

/// The text as windows, the models, the device.
struct PreparedBoth {
    config: BandedConfig,
    data: TextData,
    trainee: Trainee<Both>,
}

/// Reads the text, opens the device and makes the models; writes nothing.
///
/// # Errors
/// If the text cannot be read or is too short, or the models do not fit.
fn prepare(mut config: BandedConfig) -> Result<Box<dyn Prepared>> {
    let random = Stream::new(config.training.seed);
    let device = config.device.open()?.autodiff();
    let (tokenizer, data) = config.data.read(random, &device)?;
    let [dense, banded] = [None, Some(config.model.band)]
        .map(|band| config.model.for_texts(tokenizer.vocab_size(), config.data.seq_length, band));
    let init = |config: &Gpt3Config, device: &Device| config.init(random.named("model"), device);
    let trainee = Trainee::new(
        dense.parameter_count().saturating_mul(2),
        |device| Both { dense: init(&dense, device), banded: init(&banded, device) },
        Stored::same,
        device,
    )?;
    Ok(Box::new(PreparedBoth { config, data, trainee }))
}

impl Prepared for PreparedBoth {
    fn config(&self) -> RunConfig {
        RunConfig::Banded(self.config.clone())
    }

    fn parameters(&self) -> usize {
        self.trainee.parameters()
    }

    fn train(&self, session: Session<'_>) -> Result<Trained<()>> {
        self.trainee.train(
            session,
            &BothNextTokens,
            &self.data.windows,
            &|_| Ok(()),
            &json!({ "model": self.config.model, "data": self.config.data }),
        )
    }

    fn finish(&self, directory: &Path, _trained: &Trained<()>) -> Result<Findings> {
        // Not at their best: both at the end of the same budget.
        let model = self.trainee.last(directory)?.valid();
        let length = self.config.data.seq_length;
        let mut metrics = BTreeMap::new();
        let mut rows = Vec::new();
        let bands = [None, Some(self.config.model.band)];
        for ((name, model), band) in TERMS.into_iter().zip(model.models()).zip(bands) {
            let loss = self.data.mean_loss(model);
            let bits = loss / LN_2 / self.data.characters_per_token;
            let scores = self.config.model.scores(length, band) / length as f64;
            metrics.insert(format!("validation_loss_{name}"), loss);
            rows.push((name.to_string(), vec![loss, bits, scores]));
        }
        let columns = ["validation loss", "bits a character", "keys a query"];
        Ok(Findings {
            metrics,
            tables: vec![Table {
                title: "dense against banded attention".into(),
                columns: columns.map(String::from).into(),
                rows,
            }],
            ..Findings::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_saves_what_lies_before_it_in_every_second_layer() {
        let [(_, sizes), ..] = Gpt3Config::presets();
        let Gpt3Config { d_model, n_heads, d_head, .. } = sizes;
        let model = ModelConfig { d_model, n_layers: 2, n_heads, d_head, band: 2, dropout: 0.0 };
        // Of four tokens a dense layer scores 1 + 2 + 3 + 4 pairs, one with a band of two 1 + 2 + 2 + 2.
        assert_eq!(model.scores(4, None), 10.0);
        assert_eq!(model.scores(4, Some(2)), (10.0 + 7.0) / 2.0);
        assert_eq!(model.scores(4, Some(4)), 10.0);
    }
}
