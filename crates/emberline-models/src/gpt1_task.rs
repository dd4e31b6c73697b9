//! GPT with the head of a task (Radford, Narasimhan, Salimans, Sutskever: "Improving language understanding by generative
//! pre-training", 2018, sections 3.2 and 3.3).
//!
//! Against [`Gpt1`] there is one linear layer more, and no other change from task to task: whatever a task is about is
//! written as a text that ends in a token of its own, and the vector of that token is what the layer reads. The model is
//! still one of language, and learns both at once.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_backend::{Dropout, Linear};
use emberline_checkpoint::{PublishedNames, Stored};
use emberline_core::parameters::lazy;
use emberline_core::task::Group;
use emberline_core::{
    Causal, EncoderTaskModel, HeadWeights, Stream, TaskModel, TokenBatch, TokenEncoder,
    VocabularyHead,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::gpt1::{Gpt1, Gpt1Config};
use crate::published::{InvalidConfig, require, require_dropouts};

/// The dropout that a published config may name.
const DROPOUT: &str = "summary_first_dropout";

/// A GPT and its task, as its config.json holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpt1TaskConfig {
    /// The model below the head, whose vocabulary has the tokens of the task too.
    #[serde(flatten)]
    pub gpt: Gpt1Config,
    /// What is scored.
    pub task: Task,
    /// The token that the head reads at.
    pub extract_token: u32,
    /// The probability with which what the head reads is dropped in training.
    #[serde(rename = "summary_first_dropout", default = "default_dropout")]
    pub head_dropout: f64,
}

/// What is scored, and what a group of rows is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// A row: one text, or two that are told apart by a delimiter, such as a premise and a hypothesis.
    Classification {
        /// The number of classes.
        n_classes: usize,
    },
    /// Two rows, a pair of texts in both orders, since neither comes first. Their vectors are added.
    Similarity {
        /// The number of classes.
        n_classes: usize,
    },
    /// As many rows as there are answers, a question with each, of which each gets one score.
    MultipleChoice {
        /// The number of answers to each question.
        n_choices: usize,
    },
}

/// A decoder without a source, and a linear layer that reads one of its vectors.
#[derive(Module, Debug)]
pub struct Gpt1Task {
    /// The model of language.
    pub gpt: Gpt1,
    /// Of what the head reads.
    pub dropout: Dropout,
    /// What the scores come from.
    pub head: Head,
    /// What is scored.
    #[module(skip)]
    pub task: Task,
    /// The token that the head reads at.
    #[module(skip)]
    pub extract_token: u32,
}

/// A linear layer to the scores.
#[derive(Module, Debug)]
pub enum Head {
    /// `[d_model, n_classes]`, without a bias.
    Classes(Linear),
    /// `[d_model, 1]`, with a bias, which changes no choice.
    Choice(Linear),
}

fn default_dropout() -> f64 {
    0.1
}

impl Task {
    /// The rows of a group.
    pub fn rows_in_group(self) -> usize {
        match self {
            Self::Classification { .. } => 1,
            Self::Similarity { .. } => 2,
            Self::MultipleChoice { n_choices } => n_choices,
        }
    }

    /// The scores of a group.
    pub fn n_classes(self) -> usize {
        match self {
            Self::Classification { n_classes } | Self::Similarity { n_classes } => n_classes,
            Self::MultipleChoice { n_choices } => n_choices,
        }
    }

    /// The class of `transformers` that has these parameters.
    fn class(self) -> &'static str {
        match self {
            Self::Classification { .. } | Self::Similarity { .. } => {
                "OpenAIGPTForSequenceClassification"
            }
            Self::MultipleChoice { .. } => "OpenAIGPTDoubleHeadsModel",
        }
    }
}

impl Gpt1TaskConfig {
    /// A task for a model. `gpt` has as many tokens as the model and the task together.
    pub fn new(mut gpt: Gpt1Config, task: Task, extract_token: u32) -> Self {
        let fields = &mut gpt.other.0;
        // These are fields of their own here.
        let dropout = fields.remove(DROPOUT).and_then(|value| value.as_f64());
        fields.retain(|name, _| name != "task" && name != "extract_token");
        fields.insert("architectures".to_string(), json!([task.class()]));
        Self { gpt, task, extract_token, head_dropout: dropout.unwrap_or_else(default_dropout) }
    }

    /// Whether a model can be made of it; the error names the first field that cannot be.
    ///
    /// # Errors
    /// [`InvalidConfig`].
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.gpt.validate()?;
        let n_classes = self.task.n_classes();
        require(n_classes > 0, "task", "of at least 1 class", n_classes)?;
        let (token, vocab_size) = (self.extract_token, self.gpt.vocab_size);
        let expected = format!("below the {vocab_size} tokens");
        require((token as usize) < vocab_size, "extract_token", expected, token)?;
        require_dropouts(&[(DROPOUT, self.head_dropout)])
    }

    /// A model without any pretraining.
    ///
    /// # Panics
    /// As [`Gpt1Config::init`].
    pub fn init(&self, random: Stream, device: &Device) -> Gpt1Task {
        self.init_on(self.gpt.init(random.named("gpt"), device), random, device)
    }

    /// The head of the task on a model that is trained already. Tokens that it does not have, which are those of the task,
    /// are appended to its vocabulary, with vectors of the normal distribution as at the beginning of pretraining.
    ///
    /// # Panics
    /// If the model has more tokens than the config, or another width.
    pub fn init_on(&self, gpt: Gpt1, random: Stream, device: &Device) -> Gpt1Task {
        let Gpt1Config { vocab_size, d_model, deviation, .. } = self.gpt;
        let [n_known, width] = gpt.embedding.weight.lazy_shape().dims();
        assert_eq!(width, d_model, "the width of a pretrained model");
        assert!(n_known <= vocab_size, "{n_known} tokens of a model for {vocab_size}");
        let mut gpt = gpt;
        if n_known < vocab_size {
            let n_new = vocab_size - n_known;
            let rows = random.named("tokens").normals(n_new * d_model, deviation);
            gpt.embedding.weight = with_rows(gpt.embedding.weight, rows);
        }
        let random = random.named("head");
        let head = |d_output: usize| {
            let weight = move || random.named("weight").normals(d_model * d_output, deviation);
            Linear::new(lazy([d_model, d_output], device, weight), None)
        };
        let head = match self.task {
            Task::Classification { n_classes } | Task::Similarity { n_classes } => {
                Head::Classes(head(n_classes))
            }
            Task::MultipleChoice { .. } => {
                let bias = lazy([1], device, || vec![0.0]);
                Head::Choice(Linear::new(head(1).weight, Some(bias)))
            }
        };
        Gpt1Task {
            gpt,
            dropout: Dropout::new(self.head_dropout),
            head,
            task: self.task,
            extract_token: self.extract_token,
        }
    }

    /// The parameters of the model, which is not made for it; `u64::MAX` if there are more.
    ///
    /// # Panics
    /// As [`Gpt1Config::parameter_count`].
    pub fn parameter_count(&self) -> u64 {
        let d_model = self.gpt.d_model as u64;
        let head = match self.task {
            Task::Classification { n_classes } | Task::Similarity { n_classes } => {
                d_model.saturating_mul(n_classes as u64)
            }
            Task::MultipleChoice { .. } => d_model.saturating_add(1),
        };
        self.gpt.parameter_count().saturating_add(head)
    }
}

/// A table with rows below its own.
fn with_rows(table: Param<Tensor<2>>, rows: Vec<f32>) -> Param<Tensor<2>> {
    table.map(|table| {
        let [_, width] = table.dims();
        let n_rows = rows.len() / width;
        let rows = TensorData::new(rows, [n_rows, width]);
        let rows = Tensor::from_data(rows, (&table.device(), table.dtype()));
        let has_gradients = table.device().is_autodiff();
        let table = Tensor::cat(vec![table.detach(), rows], 0).detach();
        if has_gradients { table.require_grad() } else { table }
    })
}

impl TokenEncoder for Gpt1Task {
    fn encode(&self, batch: &TokenBatch) -> Tensor<3> {
        self.gpt.encode(batch)
    }

    fn d_model(&self) -> usize {
        self.gpt.d_model()
    }
}

impl VocabularyHead for Gpt1Task {
    fn head_weights(&self) -> HeadWeights {
        self.gpt.head_weights()
    }
}

impl Causal for Gpt1Task {}

impl TaskModel for Gpt1Task {
    type Item = Group;

    fn logits(&self, batch: &TokenBatch) -> Tensor<2> {
        self.logits_of(batch, self.encode(batch))
    }

    fn n_classes(&self) -> usize {
        self.task.n_classes()
    }
}

impl EncoderTaskModel for Gpt1Task {
    /// # Panics
    /// If a row has no extract token, or the rows are not whole groups.
    fn logits_of(&self, batch: &TokenBatch, hidden: Tensor<3>) -> Tensor<2> {
        let [batch_size, seq_length, d_model] = hidden.dims();
        let rows_in_group = self.task.rows_in_group();
        let n_groups = batch_size / rows_in_group;
        assert_eq!(n_groups * rows_in_group, batch_size, "rows in groups of {rows_in_group}");
        let vectors = hidden.reshape([batch_size * seq_length, d_model]);
        let extracted = vectors.select(0, self.extract_places(batch)); // [batch_size, d_model]
        let groups = extracted.reshape([n_groups, rows_in_group, d_model]);
        let random = batch.dropout.map(|random| random.named("head"));
        match &self.head {
            Head::Classes(head) => {
                let sums = groups.sum_dim(1).reshape([n_groups, d_model]);
                head.forward(self.dropout.forward(sums, random))
            }
            Head::Choice(head) => {
                // What is dropped of one answer is dropped of all, as in the published code: they are compared.
                let kept = self.dropout.forward(groups.clone().narrow(1, 0, 1).ones_like(), random);
                head.forward(groups * kept).reshape([n_groups, rows_in_group])
            }
        }
    }
}

impl Gpt1Task {
    /// Where the head reads each row: at the first extract token of its text.
    fn extract_places(&self, batch: &TokenBatch) -> Tensor<1, Int> {
        let [_, seq_length] = batch.dims();
        let tokens: Vec<i64> = batch.tokens.to_data().iter().collect();
        let place = |(row, range): (usize, Range<usize>)| {
            let mut places = range.map(|position| row * seq_length + position);
            let place = places.find(|place| tokens[*place] == i64::from(self.extract_token));
            place.unwrap_or_else(|| panic!("row {row} has no extract token {}", self.extract_token))
        };
        let places = batch.ranges().into_iter().enumerate().map(place);
        let places: Vec<i32> = places.map(|place| place as i32).collect();
        Tensor::from_data(places.as_slice(), &batch.tokens.device())
    }

    /// The name of a parameter in files: that of `transformers`, in `OpenAIGPTForSequenceClassification` or, of a choice,
    /// in `OpenAIGPTDoubleHeadsModel`.
    ///
    /// The former reads the last token of a row, which the extract token is, and so scores as this model does.
    pub fn stored_name(path: &str) -> Stored {
        match path.split_once('.') {
            Some(("gpt", path)) => Gpt1::stored_name(path),
            _ => match path {
                "head.Classes.weight" => Stored::transposed("score.weight"),
                "head.Choice.weight" => Stored::transposed("multiple_choice_head.summary.weight"),
                "head.Choice.bias" => Stored::same("multiple_choice_head.summary.bias"),
                _ => Stored::same(path),
            },
        }
    }

    /// In which ways published files differ: not in the names of the head.
    pub const PUBLISHED_NAMES: PublishedNames = Gpt1::PUBLISHED_NAMES;
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;
    use emberline_core::laws;
    use emberline_core::parameters::{parameter_count, parameters};

    use super::*;

    const START: u32 = 11;
    const DELIMITER: u32 = 12;
    const EXTRACT: u32 = 13;
    const CLASSES: Task = Task::Classification { n_classes: 4 };
    const PAIRS: Task = Task::Similarity { n_classes: 4 };
    const CHOICES: Task = Task::MultipleChoice { n_choices: 3 };

    fn config(task: Task) -> Gpt1TaskConfig {
        let gpt = Gpt1Config {
            vocab_size: 14,
            n_positions: 10,
            d_model: 6,
            n_layers: 2,
            n_heads: 3,
            deviation: 0.5,
            ..Gpt1Config::default()
        };
        Gpt1TaskConfig::new(gpt, task, EXTRACT)
    }

    fn model(task: Task) -> Gpt1Task {
        config(task).init(Stream::new(1), &test_device())
    }

    fn scores(model: &Gpt1Task, rows: &[&[u32]]) -> Vec<f32> {
        let logits = model.logits(&TokenBatch::padded(rows, &test_device()));
        let [n_groups, n_classes] = logits.dims();
        let task = model.task;
        assert_eq!((n_groups, n_classes), (rows.len() / task.rows_in_group(), task.n_classes()));
        logits.into_data().iter().collect()
    }

    fn near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
        }
    }

    #[test]
    fn it_is_a_causal_model_of_language_too() {
        let device = test_device();
        let model = model(CLASSES);
        laws::causal(&model, &device);
        laws::rows_are_independent(&model, &device);
        assert_eq!(VocabularyHead::vocab_size(&model), 14);
    }

    #[test]
    fn a_group_of_rows_has_the_scores_of_its_task() {
        let rows: [&[u32]; 6] = [
            &[START, 1, EXTRACT],
            &[START, 2, 3, EXTRACT],
            &[START, 4, EXTRACT],
            &[START, 5, DELIMITER, 6, EXTRACT],
            &[START, 7, EXTRACT],
            &[START, 8, 9, 10, EXTRACT],
        ];
        for (task, n_scores) in [(CLASSES, 24), (PAIRS, 12), (CHOICES, 6)] {
            assert_eq!(scores(&model(task), &rows).len(), n_scores);
        }
    }

    #[test]
    fn the_head_reads_the_first_extract_token() {
        let model = model(CLASSES);
        let of = |row: &[u32]| scores(&model, &[row]);
        let row = of(&[START, 1, 2, EXTRACT]);
        near(&of(&[START, 1, 2, EXTRACT, 5, EXTRACT, EXTRACT]), &row);
        assert_ne!(of(&[START, 1, 5, EXTRACT]), row);
        // That of a longer row is further back, and what stands in the padding is none.
        let both = scores(&model, &[&[START, 1, 2, EXTRACT], &[START, 1, 2, 3, 4, EXTRACT]]);
        near(&both[..4], &row);
        let device = test_device();
        let tokens = [[START as i32, 1, 2, EXTRACT as i32, EXTRACT as i32]];
        let padded = TokenBatch {
            lengths: Some(vec![4]),
            ..TokenBatch::new(Tensor::from_data(tokens, &device))
        };
        near(&model.logits(&padded).into_data().iter().collect::<Vec<f32>>(), &row);
    }

    #[test]
    #[should_panic(expected = "row 1 has no extract token 13")]
    fn a_row_without_an_extract_token_is_refused() {
        scores(&model(CLASSES), &[&[START, EXTRACT], &[START, 1]]);
    }

    #[test]
    #[should_panic(expected = "rows in groups of 2")]
    fn half_a_pair_is_refused() {
        let row: &[u32] = &[START, EXTRACT];
        scores(&model(PAIRS), &[row; 3]);
    }

    #[test]
    fn swapping_a_pair_leaves_its_scores() {
        let model = model(PAIRS);
        let [one, other]: [&[u32]; 2] =
            [&[START, 1, 2, DELIMITER, 3, EXTRACT], &[START, 3, DELIMITER, 1, 2, EXTRACT]];
        let scored = scores(&model, &[one, other]);
        near(&scores(&model, &[other, one]), &scored);
        // One order alone, twice, is something else.
        let difference = scores(&model, &[one, one])[0] - scored[0];
        assert!(difference.abs() > 1e-3, "{difference}");
    }

    #[test]
    fn the_score_of_an_answer_depends_on_no_other_answer() {
        let model = model(CHOICES);
        let rows: [&[u32]; 3] = [&[START, 1, EXTRACT], &[START, 2, EXTRACT], &[START, 3, EXTRACT]];
        let [a, b, c] = rows;
        let scored = scores(&model, &[a, b, c]);
        near(&scores(&model, &[c, a, b]), &[scored[2], scored[0], scored[1]]);
    }

    #[test]
    fn equal_answers_are_dropped_alike() {
        let config = Gpt1TaskConfig { head_dropout: 0.5, ..config(CHOICES) };
        let gpt = Gpt1Config {
            residual_dropout: 0.0,
            embedding_dropout: 0.0,
            attention_dropout: 0.0,
            ..config.gpt
        };
        let model = Gpt1TaskConfig { gpt, ..config }.init(Stream::new(1), &test_device());
        let row: &[u32] = &[START, 1, EXTRACT];
        let batch = TokenBatch {
            dropout: Some(Stream::new(1)),
            ..TokenBatch::padded(&[row; 6], &test_device())
        };
        let scores: Vec<f32> = model.logits(&batch).into_data().iter().collect();
        assert!(scores[0] == scores[1] && scores[3] == scores[5], "{scores:?}");
        assert_ne!(scores[0], scores[3]);
    }

    #[test]
    fn a_pretrained_model_gets_the_tokens_of_the_task() {
        let device = test_device();
        let config = config(CLASSES);
        let before = Gpt1Config { vocab_size: 11, ..config.gpt.clone() };
        let gpt = before.init(Stream::new(2), &device);
        let table = |gpt: &Gpt1| gpt.embedding.weight.val().into_data();
        let known: Vec<f32> = table(&gpt).iter().collect();
        let model = config.init_on(gpt, Stream::new(3), &device);
        let found: Vec<f32> = table(&model.gpt).iter().collect();
        assert_eq!(found.len(), 14 * 6);
        assert_eq!(found[..66], known[..]);
        assert!(found[66..].iter().all(|number| *number != 0.0));
        assert_eq!(parameter_count(&model) as u64, config.parameter_count());
    }

    #[test]
    fn its_parameters_are_known_and_have_the_names_of_transformers() {
        for (task, names) in [
            (CLASSES, vec!["score.weight"]),
            (PAIRS, vec!["score.weight"]),
            (
                CHOICES,
                vec!["multiple_choice_head.summary.weight", "multiple_choice_head.summary.bias"],
            ),
        ] {
            let model = model(task);
            assert_eq!(parameter_count(&model) as u64, config(task).parameter_count());
            let all = parameters(&model);
            let found: Vec<_> = all.iter().map(|p| Gpt1Task::stored_name(&p.path).name).collect();
            let heads: Vec<_> =
                found.iter().filter(|name| !name.starts_with("transformer.")).collect();
            assert_eq!(heads, names);
            assert_eq!(found[0], "transformer.tokens_embed.weight");
        }
    }

    #[test]
    fn a_config_keeps_its_fields_apart() {
        for task in [CLASSES, PAIRS, CHOICES] {
            let mut gpt = config(task).gpt;
            gpt.other.0.insert(DROPOUT.to_string(), json!(0.25));
            gpt.other.0.insert("n_special".to_string(), json!(3));
            let config = Gpt1TaskConfig::new(gpt, task, EXTRACT);
            assert_eq!((config.head_dropout, config.validate()), (0.25, Ok(())));
            let written = serde_json::to_string(&config).unwrap();
            assert_eq!(written.matches(DROPOUT).count(), 1);
            let read: Gpt1TaskConfig = serde_json::from_str(&written).unwrap();
            assert_eq!(read, config);
            assert_eq!(read.gpt.other.0["n_special"], 3);
        }
        let wrong = Gpt1TaskConfig { extract_token: 14, ..config(CLASSES) };
        let complaint = "extract_token must be below the 14 tokens, but is 14";
        assert_eq!(wrong.validate().unwrap_err().to_string(), complaint);
        let none = config(Task::Classification { n_classes: 0 }).validate().unwrap_err();
        assert_eq!(none.to_string(), "task must be of at least 1 class, but is 0");
    }
}
