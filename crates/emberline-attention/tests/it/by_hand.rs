//! The step that docs/lineage/08-attention.md works out by hand, in its digits.

use burn::tensor::Tensor;
use emberline_attention::scores::{ScoreConfig, ScoreKind};
use emberline_backend::test_device;
use emberline_core::Stream;

/// Weights and vector of the step, of the first words.
fn step(kind: ScoreKind, n_words: usize) -> [Vec<f32>; 2] {
    let device = test_device();
    let score = ScoreConfig { kind, d_query: 4, d_key: 4, d_alignment: 0 };
    let score = score.init(Stream::new(0), &device);
    let query = Tensor::<3>::from_data([[[2.0, 0.0, 1.0, 1.0]]], &device);
    let keys = [[[1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 1.0, 1.0], [0.0, 2.0, 0.0, 0.0]]];
    let values = [[[4.0, 0.0], [0.0, 4.0], [4.0, 4.0]]];
    let [keys, values] =
        [Tensor::<3>::from_data(keys, &device), Tensor::<3>::from_data(values, &device)];
    let memory = score.memory(keys, values, Some(&[n_words]));
    let (context, weights) = score.attend(query, &memory);
    [weights, context].map(|tensor| tensor.into_data().iter().collect())
}

/// Whether the numbers are those of the chapter, which are rounded to four digits.
fn assert_rounded(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 0.51e-4, "{found} for {expected}");
    }
}

#[test]
fn the_step_by_hand_has_the_digits_of_the_chapter() {
    let [weights, context] = step(ScoreKind::ScaledDot, 3);
    assert_rounded(&weights, &[0.2595, 0.7054, 0.0351]);
    assert_rounded(&context, &[1.1785, 2.9620]);
}

#[test]
fn the_step_by_hand_without_the_scale_all_but_copies_one_value() {
    let [weights, _] = step(ScoreKind::Dot, 3);
    assert_rounded(&weights, &[0.1189, 0.8789, 0.0022]);
}

#[test]
fn the_step_by_hand_with_a_padded_word_shares_the_whole_among_the_others() {
    let [weights, context] = step(ScoreKind::ScaledDot, 2);
    assert_rounded(&weights, &[0.2689, 0.7311, 0.0]);
    assert_rounded(&context, &[1.0758, 2.9242]);
}
