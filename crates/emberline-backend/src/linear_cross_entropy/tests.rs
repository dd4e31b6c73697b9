use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use emberline_core::HeadWeights;

use super::{CrossEntropyOptions, LabelSmoothing, linear_cross_entropy};

const FORMS: [Option<LabelSmoothing>; 4] = [
    None,
    Some(LabelSmoothing::Uniform(0.1)),
    Some(LabelSmoothing::Others(0.1)),
    Some(LabelSmoothing::OthersBut { smoothing: 0.1, padding: 0 }),
];

/// The loss of scores that are given: the head is the identity.
fn loss_of_scores<const V: usize>(
    scores: &[[f64; V]],
    targets: &[i32],
    options: CrossEntropyOptions,
) -> f64 {
    let device = crate::test_device();
    let rows = TensorData::new(scores.as_flattened().to_vec(), [scores.len(), V]);
    let hidden = Tensor::<2>::from_data(rows, (&device, DType::F64));
    let identity = Tensor::<2>::eye(V, &device).cast(DType::F64);
    let head = HeadWeights::own(identity, None);
    linear_cross_entropy(hidden, head, classes(targets, &device), options).into_scalar::<f64>()
}

fn classes(targets: &[i32], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(targets, device)
}

#[test]
fn uniform_scores_lose_the_logarithm_of_the_classes() {
    let loss = loss_of_scores(&[[2.0; 5]; 3], &[0, 2, 4], CrossEntropyOptions::default());
    assert!((loss - 3.0 * 5.0f64.ln()).abs() < 1e-12, "{loss}");
}

/// Scores whose softmax is 1/6, 1/3, 1/2, and ε = 0.2.
#[test]
fn three_classes_lose_what_each_form_says() {
    let scores = [[1.0f64.ln(), 2.0f64.ln(), 3.0f64.ln()]];
    let [one, two, three] = [6.0f64.ln(), 3.0f64.ln(), 2.0f64.ln()];
    let forms = [
        (None, two),
        // 1/15, 13/15, 1/15.
        (Some(LabelSmoothing::Uniform(0.2)), (one + 13.0 * two + three) / 15.0),
        // 0.1, 0.8, 0.1.
        (
            Some(LabelSmoothing::Others(0.2)),
            0.1 * one + 0.8 * two + 0.1 * three + 0.8 * 0.8f64.ln() + 0.2 * 0.1f64.ln(),
        ),
        // 0, 0.8, 0.2.
        (
            Some(LabelSmoothing::OthersBut { smoothing: 0.2, padding: 0 }),
            0.8 * two + 0.2 * three + 0.8 * 0.8f64.ln() + 0.2 * 0.2f64.ln(),
        ),
    ];
    for (smoothing, expected) in forms {
        let options = CrossEntropyOptions { smoothing, ..Default::default() };
        let loss = loss_of_scores(&scores, &[1], options);
        assert!((loss - expected).abs() < 1e-12, "{smoothing:?}: {loss} and {expected}");
    }
}

#[test]
fn a_divergence_is_zero_at_its_own_distribution() {
    let options = |smoothing| CrossEntropyOptions { smoothing: Some(smoothing), ignored: None };
    let scores = [[0.1f64.ln(), 0.1f64.ln(), 0.8f64.ln()]];
    let loss = loss_of_scores(&scores, &[2], options(LabelSmoothing::Others(0.2)));
    assert!(loss.abs() < 1e-12, "{loss}");
    let scores = [[-1e3, 0.2f64.ln(), 0.8f64.ln()]];
    let but = LabelSmoothing::OthersBut { smoothing: 0.2, padding: 0 };
    let loss = loss_of_scores(&scores, &[2], options(but));
    assert!(loss.abs() < 1e-12, "{loss}");
}

#[test]
fn a_smoothing_of_zero_is_none() {
    let scores = [[0.3, -1.0, 2.0, 0.7], [1.0, 1.5, -0.5, 0.0]];
    let zero = [
        LabelSmoothing::Uniform(0.0),
        LabelSmoothing::Others(0.0),
        LabelSmoothing::OthersBut { smoothing: 0.0, padding: 3 },
    ];
    let loss = loss_of_scores(&scores, &[2, 0], CrossEntropyOptions::default());
    for smoothing in zero {
        let options = CrossEntropyOptions { smoothing: Some(smoothing), ..Default::default() };
        assert_eq!(loss_of_scores(&scores, &[2, 0], options), loss);
    }
}

#[test]
fn ignored_rows_add_nothing() {
    let scores = [[0.3, -1.0, 2.0], [9.0, 1.5, -0.5], [0.1, 0.2, 0.4]];
    for smoothing in FORMS {
        let options = CrossEntropyOptions { ignored: Some(-100), smoothing };
        let some = loss_of_scores(&scores, &[2, -100, 1], options);
        let without = loss_of_scores(&[scores[0], scores[2]], &[2, 1], options);
        assert!((some - without).abs() < 1e-12, "{smoothing:?}");
        assert_eq!(loss_of_scores(&scores, &[-100; 3], options), 0.0);
    }
}

#[test]
fn targets_that_are_padding_are_ignored() {
    let smoothing = Some(LabelSmoothing::OthersBut { smoothing: 0.1, padding: 1 });
    let options = CrossEntropyOptions { smoothing, ignored: None };
    let scores = [[0.3, -1.0, 2.0], [9.0, 1.5, -0.5]];
    let some = loss_of_scores(&scores, &[2, 1], options);
    assert_eq!(some, loss_of_scores(&scores[..1], &[2], options));
}

#[test]
fn a_score_that_is_no_number_is_never_hidden() {
    for smoothing in FORMS {
        let options = CrossEntropyOptions { smoothing, ignored: None };
        for place in 0..3 {
            let mut scores = [[0.0, 1.0, 2.0]];
            scores[0][place] = f64::NAN;
            assert!(loss_of_scores(&scores, &[1], options).is_nan(), "{smoothing:?} at {place}");
        }
    }
}

#[test]
#[should_panic(expected = "a label smoothing of 1")]
fn a_smoothing_of_one_is_refused() {
    let options =
        CrossEntropyOptions { smoothing: Some(LabelSmoothing::Uniform(1.0)), ..Default::default() };
    loss_of_scores(&[[0.0; 3]], &[0], options);
}

#[test]
#[should_panic(expected = "label smoothing over 2 classes")]
fn two_classes_are_too_few_beside_padding() {
    let smoothing = Some(LabelSmoothing::OthersBut { smoothing: 0.1, padding: 0 });
    loss_of_scores(&[[0.0; 2]], &[1], CrossEntropyOptions { smoothing, ..Default::default() });
}
