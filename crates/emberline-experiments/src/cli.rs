//! The command line of the program `emberline`.

mod predict;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use emberline_backend::device::DeviceName;

pub use predict::{
    AggregationName, FeatureExtractionArguments, FillMaskArguments, HeadArguments, LineArguments,
    PoolingName, PredictTask, PredictTranslationArguments, QuestionAnsweringArguments,
    TextClassificationArguments, TokenClassificationArguments,
};

use crate::vectors::VectorsVerb;

/// Language models from one-hot words to GPT-3: trained, sampled, reported.
///
/// Results go to stdout and progress to stderr. Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted with a
/// checkpoint saved.
#[derive(Debug, Parser)]
#[command(name = "emberline", bin_name = "cargo xtask", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// The experiments: data, minutes, what each shows
    #[command(after_help = "Example: cargo xtask list --json")]
    List(ListArguments),
    /// Train and evaluate an experiment, ending with samples and a report
    #[command(after_help = "Examples:\n  \
        cargo xtask run char-lstm\n  \
        cargo xtask run char-lstm --set data.text=austen --set training.steps=500\n  \
        cargo xtask run name-classifier --set data.path=names.tsv --seed 2\n  \
        cargo xtask run memory-horizon --dry-run\n  \
        cargo xtask run char-lstm --resume\n  \
        cargo xtask run --config runs/char-lstm/1/config.toml")]
    Run(RunArguments),
    /// Continue a prompt with a trained model
    #[command(after_help = "Examples:\n  \
        cargo xtask generate runs/char-lstm/1 --prompt \"To be\" --temperature 0.7\n  \
        cargo xtask generate runs/char-lstm/1 --prompt \"ROMEO:\" --stop JULIET --num-return-sequences 3\n  \
        cargo xtask generate runs/char-lstm/1 --interactive --scores=2\n  \
        cargo xtask generate gpt2 --prompt \"Hello\" --int8 --perplexity-of my.txt\n  \
        cargo xtask generate gpt2 --prompts prompts.txt --slide --json")]
    Generate(GenerateArguments),
    /// How well a model tells what comes next in a text
    #[command(after_help = "Examples:\n  \
        cargo xtask evaluate gpt2 --text wiki.txt --stride 512 --start-token \"<|endoftext|>\"\n  \
        cargo xtask evaluate gpt2 --last-words lambada.jsonl --json\n  \
        cargo xtask evaluate gpt2 --task datasets/bigbench/odd_one_out.json --num-fewshot 3 --output scores")]
    Evaluate(EvaluateArguments),
    /// Ask a trained model about lines of text
    #[command(
        subcommand,
        after_help = "Examples:\n  \
            cargo xtask predict translation runs/bible-translate/1 --text \"God is love.\"\n  \
            cargo xtask predict fill-mask bert-base-uncased --text \"Paris is the [MASK] of France.\""
    )]
    Predict(PredictTask),
    /// What every layer of a model makes of some tokens, as a safetensors file
    #[command(
        after_help = "Example: cargo xtask activations gpt2 --tokens 15496,995 --output states.safetensors"
    )]
    Activations(ActivationsArguments),
    /// What a model takes before there is one: parameters, memory, work, time
    #[command(after_help = "Examples:\n  \
        cargo xtask plan gpt2 --batch-size 4 --seq-length 128\n  \
        cargo xtask plan gpt3-175b --tokens 300e9 --devices 1000 --tflops 30")]
    Plan(PlanArguments),
    /// Vectors of words: trained, asked, scored, converted, drawn
    #[command(
        subcommand,
        after_help = "Example: cargo xtask vectors train corpus.txt --output vectors.bin"
    )]
    Vectors(VectorsVerb),
    /// One self-contained report.html of one run, or of several compared
    #[command(
        after_help = "Example: cargo xtask report runs/char-rnn/1 runs/char-gru/1 runs/char-lstm/1 --output cells.html"
    )]
    Report(ReportArguments),
    /// Fetch a data set into the cache and check it
    #[command(after_help = "Example: cargo xtask data tinyshakespeare --from input.txt")]
    Data(DataArguments),
    /// What this machine can run
    #[command(after_help = "Example: cargo xtask doctor --device wgpu --json")]
    Doctor(DoctorArguments),
}

#[derive(Debug, Args)]
pub struct ListArguments {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RunArguments {
    /// The name of the experiment (`list` shows them)
    #[arg(required_unless_present_any = ["config", "resume"])]
    pub experiment: Option<String>,
    /// Where to compute: flex (the CPU), wgpu, vulkan, metal or cuda
    #[arg(long, value_name = "NAME")]
    pub device: Option<DeviceName>,
    /// Change a value of the config; may be repeated
    #[arg(long = "set", value_name = "PATH.TO.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Start from a config file instead of the preset
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The seed of everything random
    #[arg(long)]
    pub seed: Option<u64>,
    /// The run directory [default: the next free runs/EXPERIMENT/N]
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    pub out: Option<PathBuf>,
    /// The name of the run, for the directory runs/EXPERIMENT/NAME
    #[arg(long)]
    pub name: Option<String>,
    /// Go on with a run that stopped: the one at --out or --name, else the latest of the experiment
    #[arg(long, conflicts_with_all = ["config", "overrides", "seed", "skip_bad", "dry_run"])]
    pub resume: bool,
    /// Leave out bad lines of pairs and tell how many, instead of stopping at the first
    #[arg(long)]
    pub skip_bad: bool,
    /// Only tell parameters, memory and minutes, measured on a few updates
    #[arg(long)]
    pub dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Show burn-train's dashboard
    #[cfg(feature = "dashboard")]
    #[arg(long)]
    pub dashboard: bool,
}

#[derive(Debug, Args)]
pub struct GenerateArguments {
    /// A run directory, a checkpoint or a model directory
    pub model: PathBuf,
    /// The text to continue
    #[arg(long, default_value = "\n")]
    pub prompt: String,
    /// Continue every line of a file together, or of stdin if it is -
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "interactive", "num_beams"])]
    pub prompts: Option<PathBuf>,
    /// How many of them, and of the texts of a prompt, are written at a time
    #[arg(long, value_name = "N", default_value_t = 8, alias = "batch_size")]
    pub batch_size: usize,
    /// Go on from the last half of what the model reads when a text gets longer, instead of ending it
    #[arg(long, conflicts_with = "num_beams")]
    pub slide: bool,
    /// Continue every line of stdin, the n-th with seed + n - 1, until it ends
    #[arg(long, conflicts_with = "prompt")]
    pub interactive: bool,
    /// How many tokens to add
    #[arg(long, value_name = "N", default_value_t = 500, alias = "max_new_tokens")]
    pub max_new_tokens: usize,
    /// How many tokens to add before one that ends the text
    #[arg(long, value_name = "N", default_value_t = 0, alias = "min_new_tokens")]
    pub min_new_tokens: usize,
    /// End before this text, if the model writes it; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Divides the scores: below 1 bolder, above 1 wilder, 0 always the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    pub temperature: f64,
    /// Draw from the K most likely tokens only
    #[arg(long, value_name = "K", alias = "top_k")]
    pub top_k: Option<usize>,
    /// Draw from the most likely tokens that together have probability P
    #[arg(long, value_name = "P", alias = "top_p")]
    pub top_p: Option<f64>,
    /// The same, without the token that crosses P: the top-p of OpenAI's code for GPT-2
    #[arg(long, value_name = "P", conflicts_with = "top_p")]
    pub openai_top_p: Option<f64>,
    /// Search for the most likely text with N beams, instead of drawing
    #[arg(
        long,
        value_name = "N",
        alias = "num_beams",
        conflicts_with_all = ["temperature", "top_k", "top_p", "openai_top_p", "stop", "scores"]
    )]
    pub num_beams: Option<usize>,
    /// How many texts to write, each by draws of its own, or the best that the search finds
    #[arg(long, value_name = "N", default_value_t = 1, alias = "num_return_sequences")]
    pub num_return_sequences: usize,
    /// Above 1 makes tokens less likely that are in the text already, below 1 more likely
    #[arg(
        long,
        value_name = "X",
        default_value_t = 1.0,
        alias = "repetition_penalty",
        allow_negative_numbers = true
    )]
    pub repetition_penalty: f64,
    /// Never write N tokens in a row that are in the text already
    #[arg(long, value_name = "N", alias = "no_repeat_ngram_size")]
    pub no_repeat_ngram_size: Option<usize>,
    /// Never write this text; may be repeated
    #[arg(long, value_name = "TEXT", alias = "bad_words")]
    pub bad_words: Vec<String>,
    /// Tell the log-probability of each token, by the model and as drawn, and the K most likely ones
    #[arg(
        long,
        value_name = "K",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0"
    )]
    pub scores: Option<usize>,
    /// The seed of the draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Round the weights of a GPT to int8, which decodes faster, and tell what that costs in perplexity
    #[arg(long)]
    pub int8: bool,
    /// The text to tell it on [default: the prompt]
    #[arg(long, value_name = "FILE", requires = "int8", alias = "perplexity_of")]
    pub perplexity_of: Option<PathBuf>,
    /// Where to compute: flex (the CPU), wgpu, vulkan, metal or cuda
    #[arg(long, value_name = "NAME", default_value_t = DeviceName::Flex)]
    pub device: DeviceName,
    /// Print a JSON object for each text when it is done, instead of the text as it comes
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct EvaluateArguments {
    /// A run directory, a checkpoint or a model directory
    pub model: PathBuf,
    #[command(flatten)]
    pub file: EvaluatedFile,
    /// How many tokens the model reads at a time [default: its positions, or 1024 of a recurrent model]
    #[arg(long, value_name = "N", requires = "text")]
    pub window: Option<usize>,
    /// By how many tokens the next window is further on [default: half the window]
    #[arg(long, value_name = "N", requires = "text")]
    pub stride: Option<usize>,
    /// A token to read before each text, so that its first one is scored too: <|endoftext|> of GPT-2. In tasks, what an
    /// answer to nothing follows
    #[arg(long, value_name = "TOKEN", conflicts_with = "last_words", alias = "start_token")]
    pub start_token: Option<String>,
    #[command(flatten)]
    pub asking: AskingArguments,
    /// How many windows, passages or prompts are read at a time
    #[arg(long, value_name = "N", default_value_t = 8, alias = "batch_size")]
    pub batch_size: usize,
    /// Where to compute: flex (the CPU), wgpu, vulkan, metal or cuda
    #[arg(long, value_name = "NAME", default_value_t = DeviceName::Flex)]
    pub device: DeviceName,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What is evaluated, and how.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct EvaluatedFile {
    /// The perplexity of a text by overlapping windows; of a .jsonl the `text` of each line is one
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// How often the model writes the last word of a passage, as of LAMBADA: a passage a line, or a .jsonl
    #[arg(long, value_name = "FILE", alias = "last_words")]
    pub last_words: Option<PathBuf>,
    /// How often it answers a task right that its prompt tells: a .json of BIG-bench, a .jsonl of `context` and
    /// `completion`, or a .toml of your own; may be repeated
    #[arg(long = "task", value_name = "FILE", alias = "tasks")]
    pub tasks: Vec<PathBuf>,
}

/// How tasks are asked.
#[derive(Debug, Args)]
pub struct AskingArguments {
    /// How many examples a prompt has: none is zero-shot
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tasks", alias = "num_fewshot")]
    pub num_fewshot: usize,
    /// Draw the examples once for all items, whose prompts then begin alike
    #[arg(long, requires = "tasks", alias = "same_examples")]
    pub same_examples: bool,
    /// The seed of the draw
    #[arg(long, default_value_t = 1234, requires = "tasks")]
    pub seed: u64,
    /// Ask the first N items only
    #[arg(long, value_name = "N", requires = "tasks")]
    pub limit: Option<usize>,
    /// Fail where a prompt is too long, instead of leaving out its furthest examples
    #[arg(long, requires = "tasks")]
    pub strict: bool,
    /// How many hypotheses are followed at a time where an answer is written
    #[arg(long, value_name = "N", default_value_t = 1, requires = "tasks", alias = "num_beams")]
    pub num_beams: usize,
    /// Keep in DIR what the model answers, and do not ask it again what it was asked before
    #[arg(long, value_name = "DIR", requires = "tasks", alias = "use_cache")]
    pub cache: Option<PathBuf>,
    /// Write results and samples into a folder of DIR, in the layout of lm-evaluation-harness
    #[arg(long, value_name = "DIR", requires = "tasks", alias = "output_path")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ActivationsArguments {
    /// A model directory, which needs no tokenizer
    pub model: PathBuf,
    /// A row of token ids, with commas between them; may be repeated, shorter rows are padded on the right
    #[arg(long, value_name = "IDS", required_unless_present = "text")]
    pub tokens: Vec<String>,
    /// A text instead, which takes the tokenizer of the directory
    #[arg(long, conflicts_with = "tokens")]
    pub text: Option<String>,
    /// Which of two texts each token is of, for a BERT: 0 or 1, with commas between them, a row for each of tokens
    #[arg(long, value_name = "NUMBERS", conflicts_with = "text")]
    pub segments: Vec<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Where to compute: flex (the CPU), wgpu, vulkan, metal or cuda
    #[arg(long, value_name = "NAME", default_value_t = DeviceName::Flex)]
    pub device: DeviceName,
}

#[derive(Debug, Args)]
pub struct PlanArguments {
    /// A preset (openai-gpt, gpt2, gpt2-xl, gpt3-175b, bert-base-uncased, …), a config.json, or a directory with one
    pub model: String,
    /// The rows of an update
    #[arg(long, value_name = "N", default_value_t = 1, alias = "batch_size")]
    pub batch_size: u64,
    /// The tokens of a row [default: the positions of the model]
    #[arg(long, value_name = "N", alias = "seq_length")]
    pub seq_length: Option<u64>,
    /// The tokens to train on, for the days that it takes
    #[arg(long, value_name = "N")]
    pub tokens: Option<f64>,
    /// How many devices train
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub devices: u32,
    /// What each of them does in a second, in 10^12 floating point operations
    #[arg(long, value_name = "N", default_value_t = 0.1)]
    pub tflops: f64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ReportArguments {
    /// The run directories
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The file to write [default: report.html in the first run directory]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DataArguments {
    /// The name of the data set
    pub name: String,
    /// Take a local copy instead of fetching
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Only this device, which `cargo xtask` builds in
    #[arg(long, value_name = "NAME")]
    pub device: Option<DeviceName>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn pasted_flags_with_underscores_work() {
        let line = ["emberline", "generate", "dir", "--max_new_tokens", "5", "--top_k=3"];
        let Verb::Generate(arguments) = Cli::parse_from(line).verb else { panic!("not generate") };
        assert_eq!((arguments.max_new_tokens, arguments.top_k), (5, Some(3)));
        let line = "emberline generate dir --num_beams 4 --repetition_penalty 1.2 --no_repeat_ngram_size 3 \
            --bad_words a --bad_words b --min_new_tokens 2 --num_return_sequences 3";
        let Verb::Generate(arguments) = Cli::parse_from(line.split_whitespace()).verb else {
            panic!("not generate")
        };
        let GenerateArguments { num_beams, repetition_penalty, no_repeat_ngram_size, .. } =
            arguments;
        assert_eq!((num_beams, repetition_penalty), (Some(4), 1.2));
        assert_eq!((no_repeat_ngram_size, arguments.min_new_tokens), (Some(3), 2));
        assert_eq!((arguments.bad_words.len(), arguments.num_return_sequences), (2, 3));
    }

    #[test]
    fn a_search_does_not_draw() {
        for drawn in ["--temperature=1", "--top-k=3", "--top-p=0.5", "--stop=x", "--scores"] {
            let line = ["emberline", "generate", "dir", "--num-beams=2", drawn];
            assert!(Cli::try_parse_from(line).is_err(), "{drawn}");
        }
    }

    #[test]
    fn scores_may_have_a_number() {
        let scores = |flags: &[&str]| {
            let line = [&["emberline", "generate", "dir"], flags].concat();
            let Verb::Generate(arguments) = Cli::parse_from(line).verb else { panic!() };
            arguments.scores
        };
        assert_eq!(scores(&[]), None);
        assert_eq!(scores(&["--scores"]), Some(0));
        assert_eq!(scores(&["--scores=3"]), Some(3));
    }
}
