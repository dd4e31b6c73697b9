use burn::tensor::{DType, Device, Int, Tensor, TensorData, Tolerance};
use emberline_core::HeadWeights;

use super::{CrossEntropyOptions, Distribution, LabelSmoothing, linear_cross_entropy, portable};
use crate::testing::{agree, finite_differences, random};

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

/// Rows, width and classes: more rows than one chunk, more classes than one tile, and a part of each.
const SIZES: [usize; 3] = [21, 5, 230];

/// Every layout of a head, with and without bias, and every form of smoothing.
fn cases() -> impl Iterator<Item = (bool, bool, CrossEntropyOptions)> {
    (0..16).map(|index| {
        let options = CrossEntropyOptions { ignored: Some(3), smoothing: FORMS[index / 4] };
        (index % 2 == 0, index / 2 % 2 == 0, options)
    })
}

/// The shapes of hidden vectors, weight and bias.
fn shapes([n, d_model, vocab_size]: [usize; 3], has_bias: bool) -> Vec<Vec<usize>> {
    let mut shapes = vec![vec![n, d_model], vec![d_model, vocab_size]];
    shapes.extend(has_bias.then(|| vec![vocab_size]));
    shapes
}

fn head(flat: &[Tensor<1>], [_, d_model, vocab_size]: [usize; 3], is_tied: bool) -> HeadWeights {
    let shape = if is_tied { [vocab_size, d_model] } else { [d_model, vocab_size] };
    HeadWeights { weight: flat[1].clone().reshape(shape), is_tied, bias: flat.get(2).cloned() }
}

/// Targets through all classes, some of which are ignored.
fn some_targets([n, _, vocab_size]: [usize; 3], device: &Device) -> Tensor<1, Int> {
    let target = |row: usize| if row == 2 { 3 } else { row * 11 % vocab_size };
    let targets: Vec<i32> = (0..n).map(|row| target(row) as i32).collect();
    classes(&targets, device)
}

fn of_flat(
    flat: &[Tensor<1>],
    sizes: [usize; 3],
    is_tied: bool,
    options: CrossEntropyOptions,
) -> Tensor<1> {
    let hidden = flat[0].clone().reshape([sizes[0], sizes[1]]);
    let targets = some_targets(sizes, &flat[0].device());
    linear_cross_entropy(hidden, head(flat, sizes, is_tied), targets, options)
}

#[test]
fn both_bodies_agree_in_values_and_gradients() {
    for (is_tied, has_bias, options) in cases() {
        agree(&shapes(SIZES, has_bias), |flat| {
            let hidden = flat[0].clone().reshape([SIZES[0], SIZES[1]]);
            let targets = some_targets(SIZES, &flat[0].device());
            let distribution = Distribution::new(options.smoothing, SIZES[2]);
            let head = head(flat, SIZES, is_tied);
            let plain = portable(hidden, head, targets, options.ignored, distribution);
            (of_flat(flat, SIZES, is_tied, options) * 0.1, plain * 0.1)
        });
    }
}

#[test]
fn single_and_double_precision_agree() {
    for (is_tied, has_bias, options) in cases() {
        let run = |dtype: DType| {
            let device = crate::test_device().autodiff();
            let shapes = shapes(SIZES, has_bias);
            let flat = shapes.iter().enumerate().map(|(index, shape)| {
                random(&format!("{index}"), shape, &device).cast(dtype).require_grad()
            });
            let flat: Vec<_> = flat.collect();
            let loss = of_flat(&flat, SIZES, is_tied, options);
            let gradients = loss.backward();
            let mut found = vec![loss.into_data()];
            found
                .extend(flat.iter().map(|argument| argument.grad(&gradients).unwrap().into_data()));
            found
        };
        for (single, double) in run(DType::F32).iter().zip(run(DType::F64)) {
            let tolerance = Tolerance::absolute(2e-6).set_relative(2e-6);
            single.clone().convert::<f64>().assert_approx_eq::<f64>(&double, tolerance);
        }
    }
}

#[test]
fn gradients_are_the_finite_differences() {
    let sizes = [4, 3, 6];
    for (is_tied, has_bias, options) in cases() {
        finite_differences(&shapes(sizes, has_bias), |flat| of_flat(flat, sizes, is_tied, options));
    }
}

#[test]
fn a_head_that_is_a_view_is_what_it_shows() {
    let device = crate::test_device();
    let [n, d_model, vocab_size] = SIZES;
    let hidden = random("hidden", &[n, d_model], &device).reshape([d_model, n]).transpose();
    let table = random("table", &[vocab_size, d_model], &device).reshape([vocab_size, d_model]);
    let loss = |head| {
        let targets = some_targets(SIZES, &device);
        let options = CrossEntropyOptions::default();
        linear_cross_entropy(hidden.clone(), head, targets, options).into_scalar::<f64>()
    };
    let tied = loss(HeadWeights::tied(table.clone(), None));
    let own = loss(HeadWeights::own(table.transpose(), None));
    assert_eq!(tied, own);
}

#[test]
fn a_frozen_head_passes_gradients_on_and_gets_none() {
    let device = crate::test_device().autodiff();
    let [n, d_model, vocab_size] = SIZES;
    let gradient = |freezes: bool| {
        let hidden = random("h", &[n, d_model], &device).require_grad();
        let weight = random("w", &[d_model, vocab_size], &device);
        let weight = if freezes { weight } else { weight.require_grad() };
        let flat = [hidden, weight];
        let gradients = of_flat(&flat, SIZES, true, CrossEntropyOptions::default()).backward();
        assert_eq!(flat[1].grad(&gradients).is_none(), freezes);
        flat[0].grad(&gradients).unwrap().into_data()
    };
    gradient(true).assert_eq(&gradient(false), true);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let sizes = [21, 70, 460];
    for is_tied in [true, false] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let device = crate::test_device().autodiff();
                let shapes = shapes(sizes, true);
                let flat = shapes.iter().enumerate().map(|(index, shape)| {
                    let values = random(&format!("{index}"), shape, &device);
                    values.cast(DType::F32).require_grad()
                });
                let flat: Vec<_> = flat.collect();
                let smoothing = Some(LabelSmoothing::Uniform(0.1));
                let options = CrossEntropyOptions { smoothing, ignored: None };
                let loss = of_flat(&flat, sizes, is_tied, options);
                let gradients = loss.backward();
                let mut found = vec![loss.into_data()];
                found.extend(flat.iter().map(|t| t.grad(&gradients).unwrap().into_data()));
                found
            })
        };
        let one = run(1);
        for threads in [2, 3] {
            for (expected, found) in one.iter().zip(run(threads)) {
                expected.assert_eq(&found, true);
            }
        }
    }
}

#[test]
#[should_panic(expected = "a target of 5 among 5 classes")]
fn a_target_beyond_the_classes_is_refused() {
    loss_of_scores(&[[0.0; 5]], &[5], CrossEntropyOptions::default());
}
