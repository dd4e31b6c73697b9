//! BERT (Devlin, Chang, Lee, Toutanova: "BERT: Pre-training of deep bidirectional transformers for language
//! understanding", 2018).
//!
//! Against GPT nothing is hidden from a token but the padding: it is the Transformer's encoder alone, and reads a word
//! with what stands on both sides of it. So it cannot be trained to predict the next token, which it would see; it is
//! trained to guess tokens that were taken out, and whether one sentence follows another. For that a vector is added to
//! each token that tells which of two sentences it is of, and the sum has a norm of its own. As in GPT positions are
//! learned and the norm follows the sum of each sub-layer; GELU is the exact one.

mod any;
mod config;
mod heads;
mod init;
mod names;
mod sentences;
mod tasks;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::tanh;
use emberline_attention::{FeedForward, LayerNorm, MultiHeadAttention, Positions, Visibility};
use emberline_backend::{Dropout, Embedding, Linear};
use emberline_core::{HiddenStates, Stream, TokenBatch, TokenEncoder};

pub use any::{AnyBert, Architecture, UnknownArchitecture};
pub use config::{ActivationName, BertConfig, ModelType, PositionName, ProblemType};
pub use heads::{Head, PairHead, PreTrainingHead, WordHead};
pub use sentences::{Pooling, SentenceEncoder};
pub use tasks::{AnswerHead, ChoiceHead, ClassificationHead, TokenClassificationHead};

/// Attention to everything, and the norm after it.
#[derive(Module, Debug)]
pub struct Bert {
    /// `[vocab_size, d_model]`.
    pub tokens: Embedding,
    /// A vector for each of the two sentences, `[n_segments, d_model]`.
    pub segments: Embedding,
    /// A vector for each position.
    pub positions: Positions,
    /// Of the sum of the three.
    pub norm: LayerNorm,
    /// The layers, the one nearest to the input first.
    pub blocks: Vec<Block>,
    /// Of the first token, `[d_model, d_model]`, where there is one.
    pub pooler: Option<Linear>,
    /// Of the inputs of the first layer.
    pub dropout: Dropout,
}

/// Self-attention and a feed-forward layer, each with a norm of its sum with its input.
#[derive(Module, Debug)]
pub struct Block {
    /// To all tokens of the text.
    pub attention: MultiHeadAttention,
    /// After the attention.
    pub attention_norm: LayerNorm,
    /// At every position by itself.
    pub feed_forward: FeedForward,
    /// After the feed-forward layer.
    pub feed_forward_norm: LayerNorm,
    /// Of the output of both.
    pub dropout: Dropout,
}

/// A BERT with a head. What the head computes, the traits say that it implements.
#[derive(Module, Debug)]
pub struct BertFor<H: Module> {
    /// What is below the head.
    pub bert: Bert,
    /// The head.
    pub head: H,
}

/// With both heads of pretraining.
pub type BertForPreTraining = BertFor<PreTrainingHead>;
/// With a head over the vocabulary: the words that were taken out.
pub type BertForMaskedLm = BertFor<WordHead>;
/// With a head over pairs: whether the second sentence follows the first.
pub type BertForNextSentence = BertFor<PairHead>;
/// With a head over the classes of a text.
pub type BertForSequenceClassification = BertFor<ClassificationHead>;
/// With a head over the classes of each token.
pub type BertForTokenClassification = BertFor<TokenClassificationHead>;
/// With a head that marks where an answer starts and where it ends.
pub type BertForQuestionAnswering = BertFor<AnswerHead>;
/// With a head that scores a choice, a row each.
pub type BertForMultipleChoice = BertFor<ChoiceHead>;

impl TokenEncoder for Bert {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.run(batch, |_| {})
    }

    fn d_model(&self) -> usize {
        self.tokens.weight.lazy_shape()[1]
    }
}

impl HiddenStates for Bert {
    fn hidden_states(&self, batch: &TokenBatch) -> Vec<Tensor<3>> {
        let mut states = Vec::new();
        let last = self.run(batch, |hidden| states.push(hidden.clone()));
        states.push(last);
        states
    }
}

impl<H: Module> TokenEncoder for BertFor<H> {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.bert.encode(batch)
    }

    fn d_model(&self) -> usize {
        self.bert.d_model()
    }
}

impl<H: Module> HiddenStates for BertFor<H> {
    fn hidden_states(&self, batch: &TokenBatch) -> Vec<Tensor<3>> {
        self.bert.hidden_states(batch)
    }
}

impl Bert {
    /// Runs the layers, and shows what goes into each.
    fn run(&self, batch: &TokenBatch, mut show: impl FnMut(&Tensor<3>)) -> Tensor<3> {
        let place = |name: &str| batch.dropout.map(|random| random.named(name));
        let visibility = batch.right_padded_lengths().map(Visibility::lengths).unwrap_or_default();
        let mut hidden = self.dropout.forward(self.embed(batch), place("embedding"));
        for (layer, block) in self.blocks.iter().enumerate() {
            show(&hidden);
            let random = place("blocks").map(|random| random.at(layer as u64));
            hidden = block.forward(hidden, visibility.clone(), random);
        }
        hidden
    }

    /// `Norm(token + segment + position)`.
    fn embed(&self, batch: &TokenBatch) -> Tensor<3> {
        let tokens = self.tokens.forward(batch.tokens.clone());
        let segments = match &batch.segments {
            Some(segments) => {
                assert_eq!(segments.dims(), batch.dims(), "a segment for each token");
                self.segments.forward(segments.clone())
            }
            None => self.segments.weight.val().narrow(0, 0, 1).unsqueeze(),
        };
        self.norm.forward(self.positions.forward(tokens + segments, 0))
    }

    /// What classifiers of whole texts read: `tanh(x W + b)` of the first token, which is `[CLS]`; nothing for a model
    /// without a pooler.
    ///
    /// # Shapes
    /// - hidden: `[batch_size, seq_length, d_model]`, of the last layer
    /// - output: `[batch_size, d_model]`
    pub fn pooled(&self, hidden: Tensor<3>) -> Option<Tensor<2>> {
        let pooler = self.pooler.as_ref()?;
        Some(tanh(pooler.forward(first_token(hidden))))
    }
}

/// `[batch_size, d_model]` of `[batch_size, seq_length, d_model]`.
fn first_token(hidden: Tensor<3>) -> Tensor<2> {
    hidden.narrow(1, 0, 1).squeeze_dim(1)
}

impl Block {
    /// `Norm(x + Attention(x))`, and `Norm(x + FeedForward(x))` of that.
    fn forward(
        &self,
        hidden: Tensor<3>,
        visibility: Visibility,
        random: Option<Stream>,
    ) -> Tensor<3> {
        let place = |name: &str| random.map(|random| random.named(name));
        let attended =
            self.attention.forward(hidden.clone(), visibility, place("attention_weights"));
        let attended = self.dropout.forward(attended, place("attention"));
        let hidden = self.attention_norm.forward(hidden + attended);
        let fed = self.feed_forward.forward(hidden.clone());
        self.feed_forward_norm.forward(hidden + self.dropout.forward(fed, place("feed_forward")))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::parameter_count;

    use super::*;

    fn bert() -> Bert {
        BertConfig::small().init(Stream::new(1), &test_device())
    }

    #[test]
    fn the_last_hidden_state_is_the_encoding() {
        laws::hidden_states_end_in_the_encoding(&bert(), 11, &test_device());
    }

    #[test]
    fn the_published_models_have_their_parameters() {
        // With the pooler, which the sizes of the paper count too.
        let known = [
            ("bert-tiny", 4_385_920),
            ("bert-mini", 11_170_560),
            ("bert-small", 28_763_648),
            ("bert-medium", 41_373_184),
            ("bert-base-uncased", 109_482_240),
            ("bert-large-uncased", 335_141_888),
            ("bert-base-cased", 108_310_272),
            ("bert-large-cased", 333_579_264),
            ("bert-base-chinese", 102_267_648),
            ("bert-base-multilingual-cased", 177_853_440),
            ("bert-base-multilingual-uncased", 167_356_416),
        ];
        let found = BertConfig::presets().map(|(name, config)| (name, config.parameter_count()));
        assert_eq!(found, known);
    }

    #[test]
    fn every_head_of_the_published_models_has_its_parameters() {
        fn count<H: Head>(name: &str) -> usize {
            let presets = BertConfig::presets();
            let (_, config) = presets.iter().find(|(preset, _)| *preset == name).unwrap();
            // Made when asked for, and never asked for.
            parameter_count(&config.init_for::<H>(Stream::new(1), &test_device()))
        }
        for (name, pretraining, words, classes) in [
            ("bert-tiny", 4_433_468, 4_416_698, 4_386_178),
            ("bert-mini", 11_267_900, 11_201_594, 11_171_074),
            ("bert-small", 29_058_876, 28_795_194, 28_764_674),
            ("bert-medium", 41_668_412, 41_404_730, 41_374_210),
            ("bert-base-uncased", 110_106_428, 109_514_298, 109_483_778),
            ("bert-large-uncased", 336_226_108, 335_174_458, 335_143_938),
        ] {
            assert_eq!(count::<PreTrainingHead>(name), pretraining, "{name}");
            assert_eq!(count::<WordHead>(name), words, "{name}");
            assert_eq!(count::<ClassificationHead>(name), classes, "{name}");
            // Two scores of the pooled vector, as a classifier of two classes; one; two of every token.
            assert_eq!(count::<PairHead>(name), classes, "{name}");
            let d_model = (classes - count_of(name)) / 2 - 1;
            assert_eq!(count::<ChoiceHead>(name), classes - d_model - 1, "{name}");
            let pooler = d_model * d_model + d_model;
            assert_eq!(count::<TokenClassificationHead>(name), classes - pooler, "{name}");
            assert_eq!(count::<AnswerHead>(name), classes - pooler, "{name}");
        }
        for (name, pretraining) in [
            ("bert-base-cased", 108_932_934),
            ("bert-base-chinese", 102_882_442),
            ("bert-base-multilingual-cased", 178_566_653),
            ("bert-base-multilingual-uncased", 168_055_961),
            ("bert-large-cased", 334_661_958),
        ] {
            assert_eq!(count::<PreTrainingHead>(name), pretraining, "{name}");
        }
    }

    /// The parameters of a published model without a head.
    fn count_of(name: &str) -> usize {
        let presets = BertConfig::presets();
        let (_, config) = presets.iter().find(|(preset, _)| *preset == name).unwrap();
        config.parameter_count() as usize
    }

    #[test]
    fn its_parameters_are_known_before_there_is_a_model() {
        assert_eq!(parameter_count(&bert()) as u64, BertConfig::small().parameter_count());
        let config = BertConfig::small().with_labels(["a", "b", "c"]);
        for (name, architecture) in Architecture::NAMES {
            let model = config.init_any(architecture, Stream::new(1), &test_device());
            let found = config.parameter_count_for(architecture);
            assert_eq!(parameter_count(&model) as u64, found, "{name}");
        }
        let huge = BertConfig { n_layers: usize::MAX, ..BertConfig::small() };
        assert_eq!(huge.parameter_count(), u64::MAX);
        assert_eq!(huge.parameter_count_for(Architecture::MaskedLm), u64::MAX);
    }

    #[test]
    fn a_padding_changes_nothing_for_the_tokens() {
        let (device, bert) = (test_device(), bert());
        let rows: [&[u32]; 2] = [&[1, 2, 3, 4, 5], &[6, 7, 8]];
        let segments: [&[u32]; 2] = [&[0, 0, 1, 1, 1], &[0, 1, 1]];
        let batch = TokenBatch::padded(&rows, &device).with_segments(&segments);
        let together = bert.encode(&batch);
        for (row, (tokens, segments)) in rows.iter().zip(segments).enumerate() {
            let alone = TokenBatch::padded(&[tokens], &device).with_segments(&[segments]);
            let found = together.clone().narrow(0, row, 1).narrow(1, 0, tokens.len());
            let difference = (found - bert.encode(&alone)).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-5, "row {row} differs by {difference}");
        }
        let noise = TensorData::from([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]);
        let noisy = TokenBatch { tokens: Tensor::from_data(noise, &device), ..batch };
        let noisy = bert.encode(&noisy).narrow(0, 1, 1).narrow(1, 0, 3);
        let plain = together.narrow(0, 1, 1).narrow(1, 0, 3);
        assert_eq!(noisy.into_data(), plain.into_data());
    }

    /// What the first of four tokens is encoded as, where the last is this one of this segment.
    fn first_before(last: u32, segment: u32) -> TensorData {
        let batch = TokenBatch::from_rows(&[&[1, 2, 3, last]], &test_device());
        let batch = batch.with_segments(&[&[0, 0, 1, segment]]);
        bert().encode(&batch).narrow(1, 0, 1).into_data()
    }

    #[test]
    fn a_token_sees_what_follows_it() {
        assert_eq!(first_before(4, 1), first_before(4, 1));
        assert_ne!(first_before(4, 1), first_before(5, 1));
    }

    #[test]
    fn a_token_is_another_one_in_the_other_segment_and_without_segments_all_are_in_the_first() {
        assert_ne!(first_before(4, 1), first_before(4, 0));
        let plain = TokenBatch::from_rows(&[&[1, 2, 3, 4]], &test_device());
        let zeros = plain.clone().with_segments(&[&[0, 0, 0, 0]]);
        assert_eq!(bert().encode(&plain).into_data(), bert().encode(&zeros).into_data());
    }

    #[test]
    fn one_word_at_two_places_has_two_vectors_by_its_position_alone() {
        let (device, mut bert) = (test_device(), bert());
        let batch = TokenBatch::from_rows(&[&[3, 3]], &device);
        let places = |bert: &Bert| {
            let states = bert.hidden_states(&batch).remove(0);
            [0, 1].map(|place| states.clone().narrow(1, place, 1).into_data())
        };
        let [first, second] = places(&bert);
        assert_ne!(first, second);
        bert.positions.table = bert.positions.table.map(|table| table.map(|t| t.zeros_like()));
        let [first, second] = places(&bert);
        assert_eq!(first, second);
    }

    #[test]
    fn dropout_acts_only_with_a_stream() {
        let (device, model) = (test_device(), bert());
        let hidden = |dropout: Option<Stream>| {
            let batch = TokenBatch { dropout, ..TokenBatch::from_rows(&[&[1, 2, 3]], &device) };
            model.encode(&batch).into_data()
        };
        let stream = Some(Stream::new(1));
        assert_eq!(hidden(None), hidden(None));
        assert_eq!(hidden(stream), hidden(stream));
        assert_ne!(hidden(stream), hidden(None));
        assert_ne!(hidden(stream), hidden(Some(Stream::new(2))));
    }

    #[test]
    #[should_panic(expected = "are not for this model")]
    fn rows_padded_on_the_left_are_refused() {
        bert().encode(&TokenBatch::left_padded(&[&[1, 2], &[3]], &test_device()));
    }
}
