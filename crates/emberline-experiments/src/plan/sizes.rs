//! The sizes of a model, and what follows from them.

use emberline_models::bert::{Architecture, BertConfig};
use emberline_models::gpt1::Gpt1Config;
use emberline_models::gpt2::Gpt2Config;
use emberline_models::gpt3::Gpt3Config;

/// The scores over the vocabulary that the head holds at a time at most: those of `linear_cross_entropy`.
const SCORES: u64 = 9 * 1024 * 1024;
/// The bytes of a number.
pub(super) const F32: u64 = size_of::<f32>() as u64;

/// The sizes of a model that its costs follow from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sizes {
    pub parameters: u64,
    /// The classes that a BERT is published as, and the parameters of each.
    pub heads: Vec<(&'static str, u64)>,
    pub n_positions: u64,
    /// Whether texts are written with the model, token by token.
    pub is_causal: bool,
    vocab_size: u64,
    d_model: u64,
    d_ff: u64,
    n_layers: u64,
    n_heads: u64,
    /// The width of all heads together.
    d_attention: u64,
    /// How many keys a token sees in each kind of layer, and how many layers are of that kind.
    bands: Vec<(Option<u64>, u64)>,
    /// The matrices behind the last layer.
    head: Vec<HeadMatrix>,
    /// The share of the tokens whose words are scored.
    scored: f64,
}

/// A matrix of a head.
#[derive(Clone, Copy, Debug, PartialEq)]
struct HeadMatrix {
    weights: u64,
    reads: Reads,
}

/// What the matrix of a head reads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    /// The vector of each token.
    Tokens,
    /// Those of the tokens that were taken out.
    MaskedTokens,
    /// One vector of each text.
    Texts,
}

/// The share of the tokens that BERT's pretraining takes out.
const MASKED: f64 = 0.15;

impl Sizes {
    pub(super) fn of_gpt1(config: &Gpt1Config) -> Self {
        Self::dense(
            config.parameter_count(),
            [config.vocab_size, config.n_positions, config.d_model, 4 * config.d_model],
            [config.n_layers, config.n_heads],
        )
    }

    pub(super) fn of_gpt2(config: &Gpt2Config) -> Self {
        let d_ff = config.d_ff.unwrap_or(4 * config.d_model);
        Self::dense(
            config.parameter_count(),
            [config.vocab_size, config.n_positions, config.d_model, d_ff],
            [config.n_layers, config.n_heads],
        )
    }

    pub(super) fn of_gpt3(config: &Gpt3Config) -> Self {
        let n_layers = config.n_layers as u64;
        Self {
            d_attention: (config.n_heads * config.d_head) as u64,
            bands: vec![
                (None, n_layers.div_ceil(2)),
                (config.band.map(|band| band as u64), n_layers / 2),
            ],
            ..Self::dense(
                config.parameter_count(),
                [config.vocab_size, config.n_positions, config.d_model, 4 * config.d_model],
                [config.n_layers, config.n_heads],
            )
        }
    }

    /// A BERT of the class that its config names, or where it names none, with both heads of pretraining.
    pub(super) fn of_bert(config: &BertConfig, architecture: Architecture) -> Self {
        let count = |architecture| config.parameter_count_for(architecture);
        let [d_model, vocab_size, n_classes] =
            [config.d_model, config.vocab_size, config.n_classes()].map(|size| size as u64);
        let matrix = |weights, reads| HeadMatrix { weights, reads };
        let pooled = |n_scores| matrix((d_model + n_scores) * d_model, Reads::Texts);
        let of_tokens = |n_scores| matrix(n_scores * d_model, Reads::Tokens);
        let words = matrix((d_model + vocab_size) * d_model, Reads::MaskedTokens);
        let head = match architecture {
            Architecture::Model => vec![pooled(0)],
            Architecture::PreTraining => vec![words, pooled(2)],
            Architecture::MaskedLm => vec![words],
            Architecture::NextSentence => vec![pooled(2)],
            Architecture::SequenceClassification => vec![pooled(n_classes)],
            Architecture::TokenClassification => vec![of_tokens(n_classes)],
            Architecture::QuestionAnswering => vec![of_tokens(2)],
            Architecture::MultipleChoice => vec![pooled(1)],
        };
        Self {
            heads: Architecture::NAMES.map(|(name, of)| (name, count(of))).to_vec(),
            is_causal: false,
            scored: if head.contains(&words) { MASKED } else { 0.0 },
            head,
            ..Self::dense(
                count(architecture),
                [config.vocab_size, config.n_positions, config.d_model, config.d_ff],
                [config.n_layers, config.n_heads],
            )
        }
    }

    fn dense(
        parameters: u64,
        [vocab_size, n_positions, d_model, d_ff]: [usize; 4],
        [n_layers, n_heads]: [usize; 2],
    ) -> Self {
        Self {
            parameters,
            heads: Vec::new(),
            is_causal: true,
            vocab_size: vocab_size as u64,
            n_positions: n_positions as u64,
            d_model: d_model as u64,
            d_ff: d_ff as u64,
            n_layers: n_layers as u64,
            n_heads: n_heads as u64,
            d_attention: d_model as u64,
            bands: vec![(None, n_layers as u64)],
            head: vec![HeadMatrix { weights: (vocab_size * d_model) as u64, reads: Reads::Tokens }],
            scored: 1.0,
        }
    }

    /// A multiply-add is two. Of a layer: queries, keys, values and output; the two feed-forward layers; scores and
    /// weighted sums over the keys that a token sees on average. And the head, of which a token has its share.
    pub(super) fn flops_per_token(&self, seq_length: u64) -> f64 {
        let [d_model, d_ff, d_attention] = [self.d_model, self.d_ff, self.d_attention];
        let layers = self.n_layers * (4 * d_model * d_attention + 2 * d_model * d_ff);
        let of_head = |HeadMatrix { weights, reads }: &HeadMatrix| match reads {
            Reads::Tokens => *weights as f64,
            Reads::MaskedTokens => *weights as f64 * MASKED,
            Reads::Texts => *weights as f64 / seq_length as f64,
        };
        let weights = layers as f64 + self.head.iter().map(of_head).sum::<f64>();
        let seen = |band: Option<u64>| -> f64 {
            if !self.is_causal {
                return seq_length as f64;
            }
            let band = band.unwrap_or(seq_length).min(seq_length) as f64;
            // Token t sees min(t, band) keys.
            (band * (band + 1.0) / 2.0 + (seq_length as f64 - band) * band) / seq_length as f64
        };
        let keys: f64 = self.bands.iter().map(|(band, layers)| seen(*band) * *layers as f64).sum();
        2.0 * weights + 4.0 * keys * d_attention as f64
    }

    /// The keys and values of one text.
    pub(super) fn cache(&self, seq_length: u64) -> u64 {
        2 * self.n_layers * self.d_attention * seq_length
    }

    /// The numbers that an update keeps: of a layer both inputs of its sums, both norms' outputs, queries, keys and
    /// values, the heads' output with a number a head, and what goes into and comes out of GELU; the last norm's input
    /// and output, and the gradient of the latter.
    pub(super) fn activations(&self, n_tokens: u64) -> u64 {
        let [d_model, d_ff, d_attention] = [self.d_model, self.d_ff, self.d_attention];
        let layer = 4 * d_model + 4 * d_attention + self.n_heads + 2 * d_ff;
        n_tokens.saturating_mul(self.n_layers * layer + 3 * d_model)
    }

    /// Weights, the optimizer's moments, and what is more: at the end of the forward pass activations, with the head's
    /// scores and the gradient of its table, if it scores words, or at the end of the backward pass all gradients, with
    /// that table's from the head still apart from that of the tokens.
    pub(super) fn training_memory(&self, n_tokens: u64) -> u64 {
        let scored = (n_tokens as f64 * self.scored) as u64;
        let table = if scored > 0 { self.vocab_size * self.d_model } else { 0 };
        let scores = scored.saturating_mul(self.vocab_size).min(SCORES);
        let forward = self.activations(n_tokens).saturating_add(table + scores);
        let backward = self.parameters.saturating_add(table);
        self.parameters.saturating_mul(3).saturating_add(forward.max(backward))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_a_small_model_takes_what_one_counts_by_hand() {
        let sizes =
            Sizes { bands: vec![(None, 1), (Some(2), 1)], ..Sizes::dense(0, [5, 4, 2, 8], [2, 1]) };
        // Four tokens see 1, 2, 3, 4 keys, in a band of two 1, 2, 2, 2.
        let attention = 4.0 * 2.0 * (10.0 / 4.0 + 7.0 / 4.0);
        assert_eq!(sizes.flops_per_token(4), 2.0 * (2.0 * (16.0 + 32.0) + 10.0) + attention);
    }

    #[test]
    fn a_token_of_a_small_bert_sees_all_others_and_a_head_reads_few_of_them() {
        let config = BertConfig {
            vocab_size: 5,
            n_positions: 4,
            d_model: 2,
            d_ff: 8,
            n_layers: 1,
            n_heads: 1,
            ..BertConfig::default()
        };
        let flops = |architecture| Sizes::of_bert(&config, architecture).flops_per_token(4);
        // Queries, keys, values and output; the feed-forward layers; four keys.
        let layer = 2.0 * (16.0 + 32.0) + 4.0 * 4.0 * 2.0;
        let [words, pooled] = [0.15 * (4.0 + 10.0), (4.0 + 4.0) / 4.0];
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found}");
        near(flops(Architecture::PreTraining), layer + 2.0 * (words + pooled));
        near(flops(Architecture::SequenceClassification), layer + 2.0 * pooled);
        near(flops(Architecture::QuestionAnswering), layer + 2.0 * 4.0);
    }
}
