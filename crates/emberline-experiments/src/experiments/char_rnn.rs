//! The cells before and after the LSTM on its task: the plain one (Elman, 1990) and the GRU (Cho and others, 2014),
//! each as wide as makes its parameters those of `char-lstm`, with the same data and updates.

use emberline_models::rnn_language_model::CellKind;

use super::char_lstm::char_lstm;
use crate::tasks::language_modelling::LanguageModellingConfig;

/// The plain recurrent cell, with tanh. It needs no other learning rate or clipping than the LSTM here: the norm of
/// its gradients stays near 0.5, far below what is clipped.
pub fn char_rnn() -> LanguageModellingConfig {
    with_cell("char-rnn", CellKind::Rnn, 550)
}

/// The GRU in torch's form.
pub fn char_gru() -> LanguageModellingConfig {
    with_cell("char-gru", CellKind::Gru, 302)
}

fn with_cell(experiment: &str, cell: CellKind, d_hidden: usize) -> LanguageModellingConfig {
    let mut config = char_lstm();
    config.experiment = experiment.into();
    config.model.cell = cell;
    config.model.d_hidden = d_hidden;
    config
}

#[cfg(test)]
mod tests {
    use emberline_text::{Corpus, Tokenizer};

    use super::*;
    use crate::datasets;

    #[test]
    fn three_cells_have_equal_parameters_and_an_equal_budget() {
        let file = datasets::find(&mut char_lstm().data.text, "txt").unwrap();
        let vocab_size = Tokenizer::characters(&Corpus::from_file(file).unwrap()).vocab_size();
        let parameters = |config: &LanguageModellingConfig| {
            config.model.for_vocabulary(vocab_size).parameter_count() as f64
        };
        let lstm = char_lstm();
        for other in [char_rnn(), char_gru()] {
            let ratio = parameters(&other) / parameters(&lstm);
            assert!((ratio - 1.0).abs() < 0.01, "{}: {ratio}", other.experiment);
            assert_eq!((&other.data, other.training.steps), (&lstm.data, lstm.training.steps));
        }
    }
}
