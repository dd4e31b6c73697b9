//! `result.json`: what came out of a run.

use emberline_backend::device::DeviceName;
use serde::{Deserialize, Serialize};

/// The numbers of a finished run. Losses are in nats a token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// The name of the experiment.
    pub experiment: String,
    /// The seed of everything random.
    pub seed: u64,
    /// Where it was computed.
    pub device: DeviceName,
    /// The SHA-256 of the text.
    pub data_sha256: String,
    /// The number of trained numbers.
    pub parameters: usize,
    /// The number of updates made.
    pub steps: u64,
    /// The number of tokens trained on.
    pub tokens_seen: u64,
    /// The loss of the last update.
    pub training_loss: f64,
    /// The lowest validation loss, that of the best checkpoint.
    pub validation_loss: f64,
    /// The update of the best checkpoint.
    pub best_step: u64,
    /// The validation loss after the last update.
    pub final_validation_loss: f64,
    /// The best validation loss in bits a character of the text.
    pub bits_per_character: f64,
    /// The [`perplexity`] of the best validation loss, a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// The median of the logged training speeds.
    pub tokens_per_s: f64,
    /// The seconds of all sessions, evaluations and checkpoints included.
    pub seconds: f64,
    /// The peak of resident memory of the last session, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// The version of Emberline.
    pub emberline: String,
    /// The version of Burn.
    pub burn: String,
}

impl RunResult {
    /// The numbers that a reader looks for, with their names.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("validation loss", format!("{:.4} (step {})", self.validation_loss, self.best_step)),
            ("bits per character", format!("{:.4}", self.bits_per_character)),
            (
                "perplexity",
                self.perplexity.map_or("too large".into(), |value| format!("{value:.3}")),
            ),
            ("final validation loss", format!("{:.4}", self.final_validation_loss)),
            ("final training loss", format!("{:.4}", self.training_loss)),
            ("parameters", grouped(self.parameters as u64)),
            ("updates", grouped(self.steps)),
            ("tokens seen", grouped(self.tokens_seen)),
            ("tokens per second", grouped(self.tokens_per_s.round() as u64)),
            ("time", duration(self.seconds)),
            ("peak memory", mebibytes(self.peak_memory_bytes)),
            ("device", self.device.to_string()),
            ("seed", self.seed.to_string()),
            ("versions", format!("emberline {}, burn {}", self.emberline, self.burn)),
        ]
    }
}

/// The exponential of a loss, where it is a number: that of a loss of 710 is not.
pub fn perplexity(loss: f64) -> Option<f64> {
    Some(loss.exp()).filter(|perplexity| perplexity.is_finite())
}

/// A number with a comma between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes as a reader says it.
pub fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".to_string(), |bytes| {
        format!("{} MiB", grouped((bytes as f64 / (1024.0 * 1024.0)).round() as u64))
    })
}

/// Seconds as a reader says them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{:.0} h {:02.0} min", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_with_a_loss_of_any_size_is_read_back() {
        for (loss, known) in [(0.0, Some(1.0)), (710.0, None)] {
            assert_eq!(perplexity(loss), known);
            let result = RunResult {
                experiment: "char-lstm".into(),
                seed: 1,
                device: DeviceName::Flex,
                data_sha256: String::new(),
                parameters: 1,
                steps: 1,
                tokens_seen: 1,
                training_loss: loss,
                validation_loss: loss,
                best_step: 1,
                final_validation_loss: loss,
                bits_per_character: loss,
                perplexity: perplexity(loss),
                tokens_per_s: 1.0,
                seconds: 1.0,
                peak_memory_bytes: None,
                emberline: String::new(),
                burn: String::new(),
            };
            let written = serde_json::to_string(&result).unwrap();
            assert_eq!(serde_json::from_str::<RunResult>(&written).unwrap(), result);
        }
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!([5.04, 61.9, 3720.0].map(duration), ["5.0 s", "1 min 01 s", "1 h 02 min"]);
    }
}
