//! `emberline evaluate --task`: how well a model does what its prompt tells, and files of it in the layout of
//! lm-evaluation-harness.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use emberline_checkpoint::write_atomically;
use emberline_evaluation::in_context::{
    Answer, AskConfig, Draw, FewShot, Item, Metric, Sample, Task, TaskReport, bigbench_task,
    completion_task, evaluate_task_knowing, toml_task,
};
use emberline_text::Corpus;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::cli::{AskingArguments, EvaluateArguments};
use crate::datasets::sha256;
use crate::evaluate::Report;
use crate::failure::Failure;
use crate::known_answers::Kept;
use crate::model_directory::{Loaded, with_model};
use crate::terminal;

/// What the tables of lm-evaluation-harness call an answer that nothing was cut out of.
const FILTER: &str = "none";

/// Asks all tasks, and writes what was found if that is wanted.
pub fn run(
    loaded: &Loaded,
    directory: &Path,
    start_token: Option<u32>,
    arguments: &EvaluateArguments,
) -> Result<Report, Failure> {
    let AskingArguments {
        num_fewshot,
        same_examples,
        seed,
        limit,
        strict,
        num_beams,
        cache,
        output,
    } = &arguments.asking;
    if *num_beams == 0 || *limit == Some(0) {
        return Err(Failure::usage("--num-beams and --limit are at least 1"));
    }
    let draw = if *same_examples { Draw::Once } else { Draw::EachItem };
    let config = AskConfig {
        few_shot: FewShot { n_shots: *num_fewshot, draw, seed: *seed },
        limit: *limit,
        max_positions: loaded.n_positions,
        is_strict: *strict,
        start_token,
        n_beams: *num_beams,
        batch_size: arguments.batch_size,
        ..AskConfig::default()
    };
    let mut kept = match cache {
        Some(folder) => Kept::open(folder, directory, loaded)?,
        None => Kept::default(),
    };
    let n_kept = kept.known.len();
    let began = SystemTime::now();
    let mut found: Vec<(Task, TaskReport)> = Vec::new();
    for file in &arguments.file.tasks {
        let task = read(file, *seed)?;
        if found.iter().any(|(other, _)| other.name == task.name) {
            return Err(Failure::usage(format!("two tasks are called {}", task.name)));
        }
        terminal::note(format!("{}, {} items", task.name, task.items.len()));
        let Loaded { model, tokenizer, device, .. } = loaded;
        let report = with_model!(model, model => {
            evaluate_task_knowing(model, tokenizer, &task, &config, device, &mut kept.known)
        });
        let report = report.with_context(|| format!("{} cannot be asked", file.display()))?;
        kept.save()?;
        for note in notes(&report, *num_fewshot) {
            terminal::note(note);
        }
        found.push((task, report));
    }
    if cache.is_some() {
        let n_new = kept.known.len() - n_kept;
        terminal::note(format!("{n_kept} answers were kept, {n_new} are new"));
    }
    let layout = Layout { directory, config: &config, began };
    let json = layout.results(&found);
    if let Some(output) = output {
        layout.write(output, &json, &found)?;
    }
    let rows = found.iter().flat_map(|(_, report)| rows(report)).collect();
    Ok(Report { rows, json })
}

/// Reads a task by the kind of its file.
fn read(file: &Path, seed: u64) -> Result<Task> {
    let corpus = Corpus::from_file(file)?;
    let (name, text) = (corpus.name(), corpus.text());
    let file_name = file.file_name().map_or_else(String::new, |name| name.display().to_string());
    let kind = file_name.strip_suffix(".gz").unwrap_or(&file_name);
    match kind.rsplit_once('.') {
        Some((_, "json")) => Ok(bigbench_task(name, text, seed)?),
        Some((task, "jsonl")) => Ok(Task { name: task.into(), ..completion_task(name, text)? }),
        Some((_, "toml")) => Ok(toml_task(name, text)?),
        _ => bail!("{name}: expected a .json of BIG-bench, a .jsonl or a .toml"),
    }
}

/// What did not fit.
fn notes(report: &TaskReport, n_shots: usize) -> Vec<String> {
    let mut notes = Vec::new();
    match report.n_with_fewer(n_shots) {
        0 => {}
        n => notes.push(format!(
            "{n} prompts have fewer than {n_shots} examples, for they were too long"
        )),
    }
    match report.n_truncated() {
        0 => {}
        n => notes.push(format!("{n} prompts are too long: their beginnings were not read")),
    }
    notes
}

fn rows(report: &TaskReport) -> Vec<(String, String)> {
    let row = |Metric { name, mean, error, n_items }: &Metric| {
        (report.task.clone(), format!("{name:<16} {mean:.4} ± {error:.4}, of {n_items} items"))
    };
    report.metrics.iter().map(row).collect()
}

/// How lm-evaluation-harness writes what was found.
struct Layout<'a> {
    directory: &'a Path,
    config: &'a AskConfig,
    began: SystemTime,
}

impl Layout<'_> {
    fn results(&self, found: &[(Task, TaskReport)]) -> Value {
        let of_tasks = |value: &dyn Fn(&Task, &TaskReport) -> Value| -> Value {
            let entries =
                found.iter().map(|(task, report)| (task.name.clone(), value(task, report)));
            Value::Object(entries.collect())
        };
        let FewShot { n_shots, seed, .. } = self.config.few_shot;
        let took = self.began.elapsed().unwrap_or(Duration::ZERO).as_secs_f64();
        let date = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        json!({
            "results": of_tasks(&|task, report| metrics(task, report)),
            "group_subtasks": of_tasks(&|_, _| json!([])),
            "configs": of_tasks(&|task, _| json!({
                "task": task.name,
                "description": task.description,
                "fewshot_delimiter": task.separator,
                "num_fewshot": n_shots,
            })),
            "versions": of_tasks(&|_, _| Value::Null),
            "n-shot": of_tasks(&|_, _| json!(n_shots)),
            "higher_is_better": of_tasks(&|_, report| {
                let better = report.metrics.iter().map(|metric| (metric.name.into(), json!(true)));
                Value::Object(better.collect())
            }),
            "n-samples": of_tasks(&|task, report| json!({
                "original": task.items.len(),
                "effective": report.samples.len(),
            })),
            "config": {
                "model": "emberline",
                "model_args": format!("pretrained={}", self.directory.display()),
                "batch_size": self.config.batch_size,
                "limit": self.config.limit,
                "bootstrap_iters": self.config.n_resamples,
                "fewshot_seed": seed,
            },
            "date": date.as_secs_f64(),
            "total_evaluation_time_seconds": took.to_string(),
            "model_name": self.directory.display().to_string(),
            "model_name_sanitized": self.model_name(),
        })
    }

    /// `OUTPUT/MODEL/results_DATE.json`, and `samples_TASK_DATE.jsonl` of each task.
    fn write(&self, output: &Path, results: &Value, found: &[(Task, TaskReport)]) -> Result<()> {
        let folder = output.join(self.model_name());
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let began = Timestamp::try_from(self.began).context("the clock cannot be read")?;
        let date = began.strftime("%Y-%m-%dT%H-%M-%S.%6f");
        let text = serde_json::to_vec_pretty(results)?;
        write_atomically(folder.join(format!("results_{date}.json")), &text)?;
        for (task, report) in found {
            let lines = report.samples.iter().map(|one| sample(task, one).to_string() + "\n");
            let name: String = task
                .name
                .chars()
                .map(|sign| if sign.is_alphanumeric() { sign } else { '_' })
                .collect();
            let file = folder.join(format!("samples_{name}_{date}.jsonl"));
            write_atomically(file, lines.collect::<String>().as_bytes())?;
        }
        Ok(())
    }

    /// The path of the model as the name of a folder.
    fn model_name(&self) -> String {
        let mut name = String::new();
        for sign in self.directory.display().to_string().chars() {
            if !"\"<>:/|\\?*[]".contains(sign) {
                name.push(sign);
            } else if !name.ends_with("__") {
                name.push_str("__");
            }
        }
        name
    }
}

fn metrics(task: &Task, report: &TaskReport) -> Value {
    let mut all = Map::new();
    all.insert("alias".into(), json!(task.name));
    all.insert("sample_len".into(), json!(report.samples.len()));
    for Metric { name, mean, error, .. } in &report.metrics {
        all.insert(format!("{name},{FILTER}"), json!(mean));
        all.insert(format!("{name}_stderr,{FILTER}"), json!(error));
    }
    Value::Object(all)
}

/// A line of a file of samples.
fn sample(task: &Task, sample: &Sample) -> Value {
    let item = &task.items[sample.item];
    let (arguments, target): (Vec<[String; 2]>, Value) = match item {
        Item::Choice { choices, .. } => {
            let best = choices.iter().position(|choice| choice.grade > 0.0);
            let rows = choices.iter().map(|choice| [sample.prompt.clone(), choice.text.clone()]);
            (rows.collect(), json!(best))
        }
        Item::Partial { contexts, ending, right } => {
            let rows = contexts
                .iter()
                .map(|context| [[sample.prompt.as_str(), context].concat(), ending.clone()]);
            (rows.collect(), json!(right))
        }
        Item::Text { targets, .. } => {
            let until = json!({ "until": task.stop_strings, "max_gen_toks": task.max_new_tokens });
            (vec![[sample.prompt.clone(), until.to_string()]], json!(targets[0]))
        }
    };
    let answers: Vec<Value> = match &sample.answer {
        Answer::Scored(choices) => {
            let answer =
                choices.iter().map(|choice| json!([choice.log_likelihood.sum, choice.is_greedy]));
            answer.collect()
        }
        Answer::Written(text) => vec![json!(text)],
    };
    let mut line = json!({
        "doc_id": sample.item,
        "doc": item,
        "target": target,
        "arguments": arguments,
        "resps": answers.iter().map(|answer| json!([answer])).collect::<Vec<_>>(),
        "filtered_resps": answers,
        "filter": FILTER,
        "metrics": sample.values.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "doc_hash": sha256(json!(item).to_string().as_bytes()),
        "prompt_hash": sha256(arguments[0][0].as_bytes()),
        "target_hash": sha256(target.to_string().as_bytes()),
    });
    for (name, value) in &sample.values {
        line[*name] = json!(value);
    }
    line
}
