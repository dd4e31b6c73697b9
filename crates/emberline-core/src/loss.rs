//! A loss as named sums, divided by their counts only where the whole update is known.

use burn::tensor::Tensor;

/// How many items a term of a loss sums over: predicted tokens, sentence pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// The name of the term.
    pub term: &'static str,
    /// The number of items in this batch.
    pub count: f64,
}

impl Count {
    /// What the sum is divided by: the count, which may be a fraction where items are weighted, or 1
    /// for a term without an item, which then adds nothing rather than 0 / 0.
    pub fn divisor(&self) -> f64 {
        if self.count == 0.0 { 1.0 } else { self.count }
    }
}

/// One sum of a loss.
#[derive(Clone, Debug)]
pub struct Term {
    /// What is summed, such as `"next_token"`.
    pub name: &'static str,
    /// The weight of this term's mean in the whole loss.
    pub weight: f64,
    /// The sum over the items of the batch, `[1]`.
    pub sum: Tensor<1>,
}

/// The loss of one batch: `Σ weight · sum / count`, where the count is the whole update's.
///
/// Sums add up over the batches of an update and means do not, so this form makes accumulated
/// gradients equal to those of the big batch, and BERT's two losses keep their own denominators.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The terms, in a fixed order.
    pub terms: Vec<Term>,
}

impl Loss {
    /// A loss of one term of weight 1.
    pub fn single(name: &'static str, sum: Tensor<1>) -> Self {
        Self { terms: vec![Term { name, weight: 1.0, sum }] }
    }

    /// The value to differentiate, `[1]`: each sum divided by its count in `counts`.
    ///
    /// # Panics
    /// If a term has no count, or the loss has no term.
    pub fn total(&self, counts: &[Count]) -> Tensor<1> {
        self.terms
            .iter()
            .map(|term| {
                let count = counts
                    .iter()
                    .find(|count| count.term == term.name)
                    .unwrap_or_else(|| panic!("term {} has no count", term.name));
                term.sum.clone() * (term.weight / count.divisor())
            })
            .reduce(|a, b| a + b)
            .expect("a loss has at least one term")
    }
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    fn sum(value: f32) -> Tensor<1> {
        Tensor::from_data([value], &test_device())
    }

    #[test]
    fn each_sum_is_divided_by_its_own_count_and_weighted() {
        let loss = Loss {
            terms: vec![
                Term { name: "masked_token", weight: 1.0, sum: sum(12.0) },
                Term { name: "next_sentence", weight: 0.5, sum: sum(8.0) },
            ],
        };
        let counts = [
            Count { term: "next_sentence", count: 2.0 },
            Count { term: "masked_token", count: 6.0 },
        ];
        assert_eq!(loss.total(&counts).into_scalar::<f32>(), 12.0 / 6.0 + 0.5 * 8.0 / 2.0);
    }

    #[test]
    fn a_term_without_an_item_adds_nothing() {
        let counts = [Count { term: "masked_token", count: 0.0 }];
        let loss = Loss::single("masked_token", sum(0.0));
        assert_eq!(loss.total(&counts).into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn a_weighted_count_below_one_divides_too() {
        let counts = [Count { term: "next_token", count: 0.25 }];
        let loss = Loss::single("next_token", sum(2.0));
        assert_eq!(loss.total(&counts).into_scalar::<f32>(), 8.0);
    }

    #[test]
    #[should_panic(expected = "term next_token has no count")]
    fn a_term_without_a_count_is_refused() {
        Loss::single("next_token", sum(1.0)).total(&[]);
    }
}
