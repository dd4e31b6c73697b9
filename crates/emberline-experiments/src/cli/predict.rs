//! What `predict` can be asked.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use emberline_backend::device::DeviceName;

/// What is asked.
#[derive(Debug, Subcommand)]
pub enum PredictTask {
    /// The translation of each line
    Translation(PredictTranslationArguments),
    /// The words that may stand where a line has [MASK]
    #[command(
        after_help = "Example: cargo xtask predict fill-mask bert-base-uncased --text \"Paris is the [MASK] of France.\""
    )]
    FillMask(FillMaskArguments),
    /// The classes of each line, or of the two texts that it has with a tab between them
    #[command(
        after_help = "Example: cargo xtask predict text-classification DIR --file reviews.txt"
    )]
    TextClassification(TextClassificationArguments),
    /// The classes of the tokens of each line, or the names that they make
    #[command(
        after_help = "Example: cargo xtask predict token-classification DIR --aggregation first --text \"Ann Lee went to Rome.\""
    )]
    TokenClassification(TokenClassificationArguments),
    /// The answer to the question of each line, after which there is a tab and the text to look in
    #[command(
        after_help = "Example: cargo xtask predict question-answering DIR --context book.txt --text \"Who sat on the mat?\""
    )]
    QuestionAnswering(QuestionAnsweringArguments),
    /// The vectors of the tokens of each line; of a directory of sentence-transformers, the vector of the line
    #[command(
        after_help = "Example: cargo xtask predict feature-extraction all-MiniLM-L6-v2 --file sentences.txt"
    )]
    FeatureExtraction(FeatureExtractionArguments),
}

/// Lines for a model.
#[derive(Debug, Args)]
pub struct LineArguments {
    /// A run directory, a checkpoint or a model directory
    pub model: PathBuf,
    /// The line to read [default: those of stdin]
    #[arg(long)]
    pub text: Option<String>,
    /// Read every line of a file, or the `text` of each of a .jsonl
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub file: Option<PathBuf>,
    /// How many lines are read at a time
    #[arg(long, value_name = "N", default_value_t = 8, alias = "batch_size")]
    pub batch_size: usize,
    /// Where to compute: flex (the CPU), wgpu, vulkan, metal or cuda
    #[arg(long, value_name = "NAME", default_value_t = DeviceName::Flex)]
    pub device: DeviceName,
}

/// The same for a model with the head of a task.
#[derive(Debug, Args)]
pub struct HeadArguments {
    #[command(flatten)]
    pub lines: LineArguments,
    /// Refuse a directory that has not the head of the task, instead of telling that a new one of random numbers is taken
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
pub struct FillMaskArguments {
    #[command(flatten)]
    pub head: HeadArguments,
    /// How many words are told for each mask
    #[arg(long, value_name = "K", default_value_t = 5, alias = "top_k")]
    pub top_k: usize,
}

#[derive(Debug, Args)]
pub struct TextClassificationArguments {
    #[command(flatten)]
    pub head: HeadArguments,
    /// How many classes are told, the likeliest first
    #[arg(long, value_name = "K", default_value_t = 1, alias = "top_k")]
    pub top_k: usize,
}

#[derive(Debug, Args)]
pub struct TokenClassificationArguments {
    #[command(flatten)]
    pub head: HeadArguments,
    /// What is told: each token that is part of a name, or names of tokens, or of words of the class of their first token
    #[arg(long, value_name = "HOW", default_value = "none", alias = "aggregation_strategy")]
    pub aggregation: AggregationName,
    /// Read longer lines in windows that have N tokens in common, instead of cutting them; for names
    #[arg(long, value_name = "N")]
    pub stride: Option<usize>,
}

/// What the classes of tokens are put together to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AggregationName {
    /// Nothing
    None,
    /// Names of tokens
    Simple,
    /// Names of words, each of the class of its first token
    First,
}

#[derive(Debug, Args)]
pub struct QuestionAnsweringArguments {
    #[command(flatten)]
    pub head: HeadArguments,
    /// The text to look in, for lines that are questions alone
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
    /// How many answers are told; more than one as a list
    #[arg(long, value_name = "K", default_value_t = 1, alias = "top_k")]
    pub top_k: usize,
    /// The tokens of the longest answer
    #[arg(long, value_name = "N", default_value_t = 15, alias = "max_answer_len")]
    pub max_answer_tokens: usize,
    /// Allow that there is no answer, which is then an empty one
    #[arg(long, alias = "handle_impossible_answer")]
    pub may_be_none: bool,
    /// The tokens that windows of a long text have in common [default: 128, or half a window]
    #[arg(long, value_name = "N", alias = "doc_stride")]
    pub stride: Option<usize>,
}

#[derive(Debug, Args)]
pub struct FeatureExtractionArguments {
    #[command(flatten)]
    pub lines: LineArguments,
    /// Make one vector of those of the tokens [default: as modules.json says, or all vectors]
    #[arg(long, value_name = "HOW")]
    pub pooling: Option<PoolingName>,
    /// Divide it by its length
    #[arg(long, requires = "pooling")]
    pub normalize: bool,
}

/// What of the vectors of tokens becomes that of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PoolingName {
    /// Their mean
    Mean,
    /// That of [CLS]
    Cls,
    /// That of [CLS] behind the pooler
    Pooler,
}

#[derive(Debug, Args)]
pub struct PredictTranslationArguments {
    /// A run directory, a checkpoint or a model directory
    pub model: PathBuf,
    /// The lines to translate [default: those of stdin]
    #[arg(long)]
    pub text: Option<String>,
    /// How many hypotheses are followed at a time; 1 takes the most likely token at each step
    #[arg(long, value_name = "N", default_value_t = 4, alias = "num_beams")]
    pub num_beams: usize,
    /// Where to compute: flex (the CPU), wgpu, vulkan, metal or cuda
    #[arg(long, value_name = "NAME", default_value_t = DeviceName::Flex)]
    pub device: DeviceName,
    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,
}
