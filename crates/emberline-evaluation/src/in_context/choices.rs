//! Which of some answers a model prefers: there are several ways to compare answers of different lengths, and of
//! different probability whatever was asked.

use emberline_generation::LogLikelihood;

/// What is known of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredChoice {
    /// `Σ log p(token)`, after the question.
    pub log_likelihood: LogLikelihood,
    /// Whether greedy decoding writes it.
    pub is_greedy: bool,
    /// The characters of the answer, a blank before it aside.
    pub n_characters: usize,
    /// `log p` after what stands before any answer ([`Task::answer_context`](super::Task::answer_context)).
    pub after_answer_context: Option<f64>,
    /// `log p` after nothing but the start of a text.
    pub alone: Option<f64>,
}

/// What the best answer has the most of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChoiceScore {
    /// `log p(c | x)`; lm-evaluation-harness calls the share of right answers `acc`.
    Sum,
    /// `log p(c | x) / tokens`, as of GPT-3 for most tasks.
    PerToken,
    /// `log p(c | x) / characters`: `acc_norm` of lm-evaluation-harness.
    PerCharacter,
    /// `log p(c | x) − log p(c | "Answer:")`, as of GPT-3 for ARC, OpenBookQA and RACE.
    Calibrated,
    /// `log p(c | x) − log p(c)`: `acc_mutual_info` of lm-evaluation-harness.
    MutualInformation,
}

impl ChoiceScore {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Sum, Self::PerToken, Self::PerCharacter, Self::Calibrated, Self::MutualInformation];

    /// The name of the share of right answers by it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "acc",
            Self::PerToken => "acc_per_token",
            Self::PerCharacter => "acc_norm",
            Self::Calibrated => "acc_calibrated",
            Self::MutualInformation => "acc_mutual_info",
        }
    }

    /// The score of an answer; `None` where what it is compared with was not asked.
    pub fn of(self, choice: &ScoredChoice) -> Option<f64> {
        let LogLikelihood { sum, n_tokens } = choice.log_likelihood;
        match self {
            Self::Sum => Some(sum),
            Self::PerToken => Some(sum / n_tokens as f64),
            Self::PerCharacter => Some(sum / choice.n_characters as f64),
            Self::Calibrated => choice.after_answer_context.map(|other| sum - other),
            Self::MutualInformation => choice.alone.map(|other| sum - other),
        }
    }

    /// The index of the best answer, the first of equals; `None` where one has no score.
    pub fn best(self, choices: &[ScoredChoice]) -> Option<usize> {
        let scores: Vec<f64> =
            choices.iter().map(|choice| self.of(choice)).collect::<Option<_>>()?;
        (0..scores.len()).reduce(|best, next| if scores[next] > scores[best] { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(sum: f64, n_tokens: usize, n_characters: usize, other: [f64; 2]) -> ScoredChoice {
        ScoredChoice {
            log_likelihood: LogLikelihood { sum, n_tokens },
            is_greedy: false,
            n_characters,
            after_answer_context: Some(other[0]),
            alone: Some(other[1]),
        }
    }

    #[test]
    fn each_score_has_its_own_best() {
        let choices = [
            choice(-3.0, 1, 2, [-1.0, -1.0]),
            choice(-4.0, 4, 4, [-2.5, -2.0]),
            choice(-5.0, 3, 9, [-3.0, -2.5]),
            choice(-6.0, 2, 5, [-5.5, -3.0]),
            choice(-7.0, 2, 5, [-6.0, -6.9]),
        ];
        assert_eq!(ChoiceScore::ALL.map(|score| score.best(&choices).unwrap()), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_was_not_asked_has_no_best() {
        let bare = ScoredChoice { alone: None, ..choice(-1.0, 1, 1, [-1.0; 2]) };
        assert_eq!(ChoiceScore::MutualInformation.best(&[bare]), None);
        assert_eq!(ChoiceScore::Calibrated.best(&[bare, bare]), Some(0));
        assert_eq!(ChoiceScore::Sum.best(&[]), None);
    }
}
