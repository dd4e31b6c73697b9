//! In-context learning (Brown et al.: "Language models are few-shot learners", 2020): a model is told a task by a text,
//! with a description, some examples or neither, and goes on with it. Nothing is trained: no weight changes.
//!
//! A [`Task`] has items, each with what is asked and what counts as an answer; [`evaluate_task`] writes a prompt for each
//! ([`FewShot`]), asks the model, and gives the share of right answers with its error ([`TaskReport`]).

mod bigbench;
mod choices;
mod completions;
mod error;
mod evaluation;
mod prompts;
mod report;
mod requests;
mod task;
mod toml_task;

pub use bigbench::bigbench_task;
pub use choices::{ChoiceScore, ScoredChoice};
pub use completions::completion_task;
pub use error::{InContextError, TaskError};
pub use evaluation::{AskConfig, evaluate_task, evaluate_task_knowing};
pub use prompts::{Draw, FewShot, Prompt};
pub use report::{Answer, Metric, Sample, TaskReport, bootstrap_error};
pub use requests::KnownAnswers;
pub use task::{Choice, Item, Task};
pub use toml_task::toml_task;
