//! The command line of `vectors`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What can be done with vectors of words.
#[derive(Debug, Subcommand)]
pub enum VectorsVerb {
    /// Train word2vec on a text or a folder of texts, a sentence a line
    #[command(after_help = "Examples:\n  \
        cargo xtask vectors train corpus.txt --output vectors.bin\n  \
        cargo xtask vectors train corpus.txt --output vectors.bin --cbow --set window=8 --set negative=10\n  \
        cargo xtask vectors train corpus.txt --output vectors.bin --checkpoints kept --resume")]
    Train(TrainArguments),
    /// The words that are most like a word
    #[command(after_help = "Example: cargo xtask vectors nearest vectors.bin king --count 5")]
    Nearest(NearestArguments),
    /// What is to C as B is to A
    #[command(after_help = "Example: cargo xtask vectors analogy vectors.bin man king woman")]
    Analogy(AnalogyArguments),
    /// Scores by questions of analogy and by pairs of words
    #[command(after_help = "Example: cargo xtask vectors evaluate vectors.bin \
        --questions questions-words.txt --pairs wordsim353.tsv --pairs simlex999.txt")]
    Evaluate(EvaluateArguments),
    /// Write vectors in another format, which the name of the file tells
    #[command(after_help = "Example: cargo xtask vectors convert glove.6B.50d.txt glove.bin")]
    Convert(ConvertArguments),
    /// A map of words, as SVG: their two principal components, or t-SNE
    #[command(after_help = "Examples:\n  \
        cargo xtask vectors plot vectors.bin king queen man woman --output map.svg\n  \
        cargo xtask vectors plot vectors.bin one two three red green blue king queen --method t-sne --output map.svg")]
    Plot(PlotArguments),
}

#[derive(Debug, Args)]
pub struct TrainArguments {
    /// A text, or a folder of texts
    pub corpus: PathBuf,
    /// The file to write: .bin, .vec, .txt, .glove or .safetensors
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// CBOW instead of skip-gram
    #[arg(long)]
    pub cbow: bool,
    /// Change a value of the config; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The seed of everything random
    #[arg(long)]
    pub seed: Option<u64>,
    /// As the C program, step by step on one thread, instead of the exact gradient
    #[arg(long, conflicts_with_all = ["checkpoints", "threads", "seed"])]
    pub faithful: bool,
    /// How many threads; the vectors do not depend on it [default: one for each processor]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Where to keep what training needs to go on, from each epoch and from Ctrl-C
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
    /// Go on from the latest of --checkpoints
    #[arg(long, requires = "checkpoints", conflicts_with_all = ["overrides", "cbow", "seed", "start"])]
    pub resume: bool,
    /// Start from a checkpoint of another training, with its words and its config
    #[arg(long, value_name = "DIR", conflicts_with_all = ["overrides", "cbow", "seed", "faithful"])]
    pub start: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct NearestArguments {
    /// A file of vectors, of any format
    pub vectors: PathBuf,
    /// The word
    pub word: String,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub count: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct AnalogyArguments {
    /// A file of vectors, of any format
    pub vectors: PathBuf,
    /// A
    pub a: String,
    /// B
    pub b: String,
    /// C
    pub c: String,
    /// How many answers
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub count: usize,
    /// Multiply the cosines (3CosMul) instead of adding them
    #[arg(long)]
    pub multiplicative: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "tests", args = ["questions", "pairs"])]
pub struct EvaluateArguments {
    /// A file of vectors, of any format
    pub vectors: PathBuf,
    /// Questions of analogy, as questions-words.txt
    #[arg(long, value_name = "FILE")]
    pub questions: Option<PathBuf>,
    /// Pairs of words with a number, as WordSim-353 and SimLex-999; may be repeated
    #[arg(long, value_name = "FILE")]
    pub pairs: Vec<PathBuf>,
    /// Know only the first N words
    #[arg(long, value_name = "N", default_value_t = 300_000)]
    pub vocabulary: usize,
    /// Multiply the cosines (3CosMul) instead of adding them
    #[arg(long)]
    pub multiplicative: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ConvertArguments {
    /// A file of vectors, of any format
    pub vectors: PathBuf,
    /// The file to write: .bin, .vec, .txt, .glove or .safetensors
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct PlotArguments {
    /// A file of vectors, of any format
    pub vectors: PathBuf,
    /// The words, three or more
    #[arg(required = true, num_args = 3.., value_name = "WORD")]
    pub words: Vec<String>,
    /// What becomes of the distances
    #[arg(long, value_enum, default_value_t = MapMethod::Pca)]
    pub method: MapMethod,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// How words come to lie in a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MapMethod {
    /// Along the two directions in which they differ most
    Pca,
    /// Neighbours near each other, whatever becomes of the rest; seven words or more
    TSne,
}
