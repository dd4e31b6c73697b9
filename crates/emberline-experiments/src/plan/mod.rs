//! `emberline plan`: what a model takes before there is one: parameters, memory, work, time.

mod sizes;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use emberline_models::bert::{Architecture, BertConfig};
use emberline_models::gpt1::Gpt1Config;
use emberline_models::gpt2::Gpt2Config;
use emberline_models::gpt3::Gpt3Config;
use serde::Serialize;
use serde_json::Value;

use self::sizes::{F32, Sizes};
use crate::cli::PlanArguments;
use crate::failure::{Failure, Outcome};
use crate::names;
use crate::result::grouped;
use crate::terminal;

/// What a model takes. Memory is in bytes, of f32.
#[derive(Debug, PartialEq, Serialize)]
struct Plan {
    parameters: u64,
    /// Those of each class that a BERT is published as.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    heads: BTreeMap<&'static str, u64>,
    weights: u64,
    gradients: u64,
    /// The two moments of Adam.
    optimizer: u64,
    /// What an update keeps of its forward pass.
    activations: u64,
    /// The most that an update holds at a time.
    training_memory: u64,
    /// The keys and values of one text of the whole length, for models that write.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<u64>,
    /// Of the forward pass, for a token of a text of the whole length.
    flops_per_token: f64,
    /// Of forward and backward pass.
    training_flops_per_token: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    training_days: Option<f64>,
}

/// Prints the plan of a preset or of a config.json.
pub fn run(arguments: PlanArguments) -> Outcome {
    let positive = |value: f64| value > 0.0 && value.is_finite();
    if !positive(arguments.tflops) || !arguments.tokens.is_none_or(positive) {
        return Err(Failure::usage("--tflops and --tokens are numbers above 0"));
    }
    if arguments.devices == 0 || arguments.batch_size == 0 || arguments.seq_length == Some(0) {
        return Err(Failure::usage("--devices, --batch-size and --seq-length are at least 1"));
    }
    let sizes = sizes_of(&arguments.model)?;
    let seq_length = arguments.seq_length.unwrap_or(sizes.n_positions);
    if seq_length > sizes.n_positions {
        return Err(Failure::usage(format!(
            "--seq-length is {seq_length}, but the model has {} positions",
            sizes.n_positions
        )));
    }
    let plan = sizes.plan(arguments.batch_size, seq_length, |flops| {
        let per_day = f64::from(arguments.devices) * arguments.tflops * 1e12 * 86_400.0;
        arguments.tokens.map(|tokens| flops * tokens / per_day)
    });
    if arguments.json {
        return Ok(terminal::result(serde_json::to_string_pretty(&plan)? + "\n")?);
    }
    Ok(terminal::result(plan.text(arguments.batch_size, seq_length))?)
}

/// The presets, by their names.
fn presets() -> Vec<(&'static str, Sizes)> {
    let gpt2 = Gpt2Config::presets().map(|(name, config)| (name, Sizes::of_gpt2(&config)));
    let gpt3 = Gpt3Config::presets().map(|(name, config)| (name, Sizes::of_gpt3(&config)));
    let printed = Gpt3Config::as_printed().map(|(name, config)| (name, Sizes::of_gpt3(&config)));
    let gpt1 = [("openai-gpt", Sizes::of_gpt1(&Gpt1Config::default()))];
    let bert = BertConfig::presets()
        .map(|(name, config)| (name, Sizes::of_bert(&config, Architecture::PreTraining)));
    gpt1.into_iter().chain(gpt2).chain(gpt3).chain(printed).chain(bert).collect()
}

/// The sizes of a preset, or of the model of a config.json or of the folder it is in.
fn sizes_of(model: &str) -> Result<Sizes> {
    let presets = presets();
    if let Some((_, sizes)) = presets.iter().find(|(name, _)| *name == model) {
        return Ok(sizes.clone());
    }
    let path = Path::new(model);
    if !path.exists() {
        let names = presets.iter().map(|(name, _)| *name);
        bail!("there is no preset and no file `{model}`; {}", names::hint(model, names));
    }
    let path = if path.is_dir() { path.join("config.json") } else { path.to_path_buf() };
    let name = path.display();
    let text = std::fs::read(&path).with_context(|| format!("cannot read {name}"))?;
    let value: Value =
        serde_json::from_slice(&text).with_context(|| format!("{name} is not JSON"))?;
    let wrong = || format!("{name} cannot be used");
    match value["model_type"].as_str() {
        Some("openai-gpt") => {
            let config: Gpt1Config = serde_json::from_value(value).with_context(wrong)?;
            config.validate().with_context(wrong)?;
            Ok(Sizes::of_gpt1(&config))
        }
        Some("gpt2") => {
            let config: Gpt2Config = serde_json::from_value(value).with_context(wrong)?;
            config.validate().with_context(wrong)?;
            Ok(Sizes::of_gpt2(&config))
        }
        Some("gpt3") => {
            let config: Gpt3Config = serde_json::from_value(value).with_context(wrong)?;
            config.validate().with_context(wrong)?;
            Ok(Sizes::of_gpt3(&config))
        }
        Some("bert") => {
            let config: BertConfig = serde_json::from_value(value).with_context(wrong)?;
            config.validate().with_context(wrong)?;
            let architecture = config.architecture().with_context(wrong)?;
            Ok(Sizes::of_bert(&config, architecture))
        }
        other => bail!(
            "{name} is of model_type {}, and plans are made of openai-gpt, gpt2, gpt3 and bert",
            other.unwrap_or("nothing")
        ),
    }
}

impl Sizes {
    fn plan(
        &self,
        batch_size: u64,
        seq_length: u64,
        days: impl FnOnce(f64) -> Option<f64>,
    ) -> Plan {
        let memory = |numbers: u64| numbers.saturating_mul(F32);
        let flops = self.flops_per_token(seq_length);
        let training = 3.0 * flops;
        Plan {
            parameters: self.parameters,
            heads: self.heads.iter().copied().collect(),
            weights: memory(self.parameters),
            gradients: memory(self.parameters),
            optimizer: memory(self.parameters).saturating_mul(2),
            activations: memory(self.activations(batch_size * seq_length)),
            training_memory: memory(self.training_memory(batch_size * seq_length)),
            cache: self.is_causal.then(|| memory(self.cache(seq_length))),
            flops_per_token: flops,
            training_flops_per_token: training,
            training_days: days(training),
        }
    }
}

impl Plan {
    fn text(&self, batch_size: u64, seq_length: u64) -> String {
        let rows = [
            ("parameters", grouped(self.parameters)),
            ("weights", bytes(self.weights)),
            ("gradients", bytes(self.gradients)),
            ("optimizer", bytes(self.optimizer)),
            (
                "activations",
                format!("{} for {batch_size} x {seq_length} tokens", bytes(self.activations)),
            ),
            ("memory", format!("{} at most at a time", bytes(self.training_memory))),
            ("forward", format!("{:.4e} FLOPs a token", self.flops_per_token)),
            ("training", format!("{:.4e} FLOPs a token", self.training_flops_per_token)),
        ];
        let mut text: String =
            rows.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect();
        if let Some(cache) = self.cache {
            text += &format!("{:<12} {} for a text of {seq_length}\n", "cache", bytes(cache));
        }
        for (class, parameters) in &self.heads {
            text += &format!("{class}: {} parameters\n", grouped(*parameters));
        }
        if let Some(days) = self.training_days {
            text += &format!("{:<12} {days:.4} days\n", "time");
        }
        text
    }
}

fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let power = (bytes.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
    format!("{:.1} {}", bytes as f64 / f64::from(1u32 << (10 * power)), UNITS[power as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str, batch_size: u64, seq_length: u64) -> Plan {
        sizes_of(name).unwrap().plan(batch_size, seq_length, |_| None)
    }

    #[test]
    fn a_preset_has_its_published_parameters_and_four_times_their_bytes() {
        let gpt2 = plan("gpt2", 1, 1024);
        assert_eq!((gpt2.parameters, gpt2.weights), (124_439_808, 497_759_232));
        assert_eq!(plan("gpt3-175b", 1, 2048).parameters, 174_604_259_328);
    }

    #[test]
    fn every_preset_has_its_published_parameters() {
        // As counted from the sizes that are published; `as printed` are the rows of GPT-3's table that do not add up.
        let published = [
            ("openai-gpt", 116_534_784),
            ("gpt2", 124_439_808),
            ("gpt2-medium", 354_823_168),
            ("gpt2-large", 774_030_080),
            ("gpt2-xl", 1_557_611_200),
            ("gpt3-small", 125_226_240),
            ("gpt3-medium", 355_871_744),
            ("gpt3-large", 760_300_032),
            ("gpt3-xl", 1_315_723_264),
            ("gpt3-2.7b", 2_651_553_280),
            ("gpt3-6.7b", 6_658_404_352),
            ("gpt3-13b", 12_853_386_240),
            ("gpt3-175b", 174_604_259_328),
            ("gpt3-xl-as-printed", 1_517_123_584),
        ];
        for (name, parameters) in published {
            let Plan { parameters: found, weights, gradients, optimizer, .. } = plan(name, 1, 512);
            assert_eq!(found, parameters, "{name}");
            assert_eq!([weights, gradients, optimizer], [4, 4, 8].map(|n| n * parameters));
        }
        // Table D.1 has the work of some of them, too, for 300 billion tokens: six for each parameter and token.
        for (name, work) in [
            ("gpt3-small", 2.25e20),
            ("gpt3-xl", 2.38e21),
            ("gpt3-6.7b", 1.2e22),
            ("gpt3-13b", 2.31e22),
        ] {
            let total = 300e9 * plan(name, 1, 2048).training_flops_per_token;
            assert!((0.95..1.35).contains(&(total / work)), "{name}: {:.3}", total / work);
        }
        // And gpt3-13b as printed, which has no exact count.
        assert_eq!(presets().len(), published.len() + 1 + BertConfig::presets().len());
    }

    #[test]
    fn a_bert_has_the_parameters_of_each_class_that_it_is_published_as() {
        let base = plan("bert-base-uncased", 8, 512);
        assert_eq!(base.parameters, 110_106_428);
        for (class, parameters) in [
            ("BertModel", 109_482_240),
            ("BertForPreTraining", 110_106_428),
            ("BertForMaskedLM", 109_514_298),
            ("BertForSequenceClassification", 109_483_778),
        ] {
            assert_eq!(base.heads[class], parameters, "{class}");
        }
        assert_eq!((base.heads.len(), base.cache), (8, None));
        assert_eq!(plan("bert-large-uncased", 1, 512).parameters, 336_226_108);
        // Two for each weight of the layers, and attention; the tables cost nothing.
        let layers = 12.0 * 12.0 * 768.0 * 768.0;
        let attention = 12.0 * 4.0 * 512.0 * 768.0;
        let head = base.flops_per_token - 2.0 * layers - attention;
        assert!((0.0..0.05).contains(&(head / base.flops_per_token)), "{head:e}");
        let text = base.text(8, 512);
        assert!(text.contains("BertForMaskedLM: 109,514,298 parameters\n"), "{text}");
    }

    #[test]
    fn the_head_of_a_bert_is_that_of_its_config() {
        let folder = tempfile::tempdir().unwrap();
        let config = BertConfig::default().with_architecture(Architecture::SequenceClassification);
        let config = serde_json::to_vec(&config.with_labels(["a", "b", "c"])).unwrap();
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let plan = plan(folder.path().to_str().unwrap(), 8, 128);
        assert_eq!(plan.parameters, 109_482_240 + 3 * 769);
        assert_eq!(
            plan.training_memory,
            4 * plan.weights + plan.activations.saturating_sub(plan.weights)
        );
    }

    #[test]
    fn training_gpt3_takes_the_work_that_its_paper_says() {
        // Table D.1: 3.14e23 for 300 billion tokens, six for each parameter and token.
        let total = 300e9 * plan("gpt3-175b", 1, 2048).training_flops_per_token;
        assert!((total / 3.14e23 - 1.0).abs() < 0.03, "{total:e}");
    }

    #[test]
    fn unknown_models_get_a_hint_and_foreign_configs_are_named() {
        let error = sizes_of("gpt2-larg").unwrap_err().to_string();
        assert!(error.contains("gpt2-large"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, r#"{"model_type": "t5"}"#).unwrap();
        let error = sizes_of(folder.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("model_type t5"), "{error}");
        std::fs::write(&path, r#"{"model_type": "gpt2", "n_embd": 10, "n_head": 3}"#).unwrap();
        let error = format!("{:#}", sizes_of(path.to_str().unwrap()).unwrap_err());
        assert!(error.contains("n_embd must be a multiple of the 3 heads, but is 10"), "{error}");
    }

    #[test]
    fn bytes_are_said_in_the_unit_that_fits() {
        let said = [0, 1023, 1536, 497_759_232, 1 << 40].map(bytes);
        assert_eq!(said, ["0.0 B", "1023.0 B", "1.5 KiB", "474.7 MiB", "1024.0 GiB"]);
    }
}
