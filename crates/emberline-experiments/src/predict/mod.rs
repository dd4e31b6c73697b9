//! `emberline predict`: a trained model answers, a line for each line.

mod texts;
mod translation;

use crate::cli::PredictTask;
use crate::failure::Outcome;

/// Prints what the model makes of the lines.
pub fn run(task: PredictTask) -> Outcome {
    match task {
        PredictTask::Translation(arguments) => translation::run(&arguments),
        PredictTask::FillMask(arguments) => texts::fill_mask(&arguments),
        PredictTask::TextClassification(arguments) => texts::text_classification(&arguments),
        PredictTask::TokenClassification(arguments) => texts::token_classification(&arguments),
        PredictTask::QuestionAnswering(arguments) => texts::question_answering(&arguments),
        PredictTask::FeatureExtraction(arguments) => texts::feature_extraction(&arguments),
    }
}
