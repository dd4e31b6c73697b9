use burn::tensor::{DType, Device, Tensor, TensorData};
use emberline_core::Stream;

use super::*;
use crate::testing::{agree, finite_differences, random};

const BATCH_SIZE: usize = 2;
const N_HEADS: usize = 2;
const D_KEY: usize = 5;
const D_VALUE: usize = 3;

/// Every mask alone and all together; rows with nothing to see among them.
fn masks(key_length: usize) -> Vec<Visibility> {
    let keys = || Some(vec![1..key_length, 0..key_length / 2]);
    vec![
        Visibility::default(),
        Visibility::causal(),
        Visibility { band: Some(3), ..Visibility::causal() },
        Visibility { keys: keys(), ..Visibility::default() },
        Visibility { keys: Some(vec![0..0, 0..key_length]), ..Visibility::default() },
        Visibility { causal: true, band: Some(2), keys: keys() },
    ]
}

fn all_options(key_length: usize) -> Vec<AttentionOptions> {
    let plain = |visibility| AttentionOptions { visibility, ..Default::default() };
    let mut options: Vec<_> = masks(key_length).into_iter().map(plain).collect();
    let dropout = Some((0.4, Stream::new(5)));
    options.push(AttentionOptions { dropout, ..plain(Visibility::causal()) });
    options.push(AttentionOptions { scale: Some(1.3), ..plain(Visibility::default()) });
    options
}

fn shapes(query_length: usize, key_length: usize) -> [Vec<usize>; 3] {
    [
        vec![BATCH_SIZE, N_HEADS, query_length, D_KEY],
        vec![BATCH_SIZE, N_HEADS, key_length, D_KEY],
        vec![BATCH_SIZE, N_HEADS, key_length, D_VALUE],
    ]
}

fn shaped(flat: &[Tensor<1>], lengths: (usize, usize)) -> [Tensor<4>; 3] {
    let shapes = shapes(lengths.0, lengths.1);
    std::array::from_fn(|i| {
        flat[i].clone().reshape(<[usize; 4]>::try_from(shapes[i].clone()).unwrap())
    })
}

#[test]
fn both_bodies_agree_in_values_and_gradients() {
    // More queries than a block, more keys than a panel, and fewer queries than keys.
    for lengths in [(40, 40), (1, 7), (6, 6), (3, 9)] {
        for options in all_options(lengths.1) {
            agree(&shapes(lengths.0, lengths.1), |flat| {
                let [query, key, value] = shaped(flat, lengths);
                let native = attention(query.clone(), key.clone(), value.clone(), options.clone());
                let plain = portable::attention(query, key, value, &options);
                let n = native.dims().iter().product::<usize>();
                (native.reshape([n]), plain.reshape([n]))
            });
        }
    }
}

#[test]
fn heads_that_are_views_are_read_where_they_are() {
    let lengths = (35, 35);
    let [of_query, of_key, of_value] = shapes(lengths.0, lengths.1);
    // A head of a token beside the others of that token; the keys are those of a longer past.
    let token = |shape: &[usize], more: usize| vec![shape[0], shape[2] + more, shape[1], shape[3]];
    let stored = [token(&of_query, 0), token(&of_key, 4), token(&of_value, 0)];
    agree(&stored, |flat| {
        let view = |index: usize| {
            let shape = <[usize; 4]>::try_from(stored[index].clone()).unwrap();
            flat[index].clone().reshape(shape).swap_dims(1, 2)
        };
        let (query, key, value) = (view(0), view(1).narrow(2, 3, lengths.1), view(2));
        let options = AttentionOptions { visibility: Visibility::causal(), ..Default::default() };
        let native = attention(query.clone(), key.clone(), value.clone(), options.clone());
        let plain = portable::attention(query, key, value, &options);
        let n = native.dims().iter().product::<usize>();
        (native.reshape([n]), plain.reshape([n]))
    });
}

#[test]
fn the_heads_of_a_token_come_out_side_by_side() {
    let device = crate::test_device();
    let heads = Tensor::<4>::ones([2, 3, 5, 4], &device);
    let output = attention(heads.clone(), heads.clone(), heads, AttentionOptions::default());
    let tokens = output.swap_dims(1, 2);
    let side_by_side = tokens.clone().reshape([2, 5, 12]);
    assert_eq!(crate::storage_address(&tokens), crate::storage_address(&side_by_side));
}

#[test]
fn gradients_are_the_finite_differences() {
    for options in all_options(4) {
        finite_differences(&shapes(4, 4), |flat| {
            let [query, key, value] = shaped(flat, (4, 4));
            let output = attention(query, key, value, options.clone());
            let n = output.dims().iter().product::<usize>();
            output.reshape([n])
        });
    }
}

fn single(values: Vec<f32>, shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[test]
fn equal_scores_give_the_mean_of_the_values_that_are_seen() {
    let device = crate::test_device();
    let query = Tensor::zeros([1, 1, 3, 2], &device);
    let value = single(vec![1.0, 2.0, 6.0], [1, 1, 3, 1], &device);
    let options = AttentionOptions { visibility: Visibility::causal(), ..Default::default() };
    let output = attention(query.clone(), query, value, options).into_data();
    for (found, expected) in output.iter::<f32>().zip([1.0, 1.5, 3.0]) {
        assert!((found - expected).abs() < 1e-6, "{output}");
    }
}

#[test]
fn a_query_that_sees_nothing_gets_zeros_and_no_nan() {
    let device = crate::test_device().autodiff();
    let query = Tensor::<4>::ones([1, 1, 2, 2], &device).require_grad();
    let options = AttentionOptions { visibility: Visibility::lengths(&[0]), ..Default::default() };
    let output = attention(query.clone(), query.clone(), query.clone(), options);
    assert!(output.to_data().iter::<f32>().all(|value| value == 0.0));
    let gradient = query.grad(&output.sum().backward()).unwrap().into_data();
    assert!(gradient.iter::<f32>().all(|value| value == 0.0));
}

#[test]
fn what_is_hidden_changes_no_bit() {
    let device = crate::test_device();
    let tensors = |name: &str| random(name, &[5 * D_KEY], &device).reshape([1, 1, 5, D_KEY]);
    let (query, key, value) = (tensors("q"), tensors("k"), tensors("v"));
    let options = AttentionOptions { visibility: Visibility::causal(), ..Default::default() };
    let first = |key: Tensor<4>, value: Tensor<4>| {
        let output = attention(query.clone(), key, value, options.clone());
        output.narrow(2, 0, 4).into_data()
    };
    let last = |tensor: &Tensor<4>| tensor.clone().slice_fill([0..1, 0..1, 4..5], 1e3);
    first(key.clone(), value.clone()).assert_eq(&first(last(&key), last(&value)), true);
}

#[test]
fn scores_far_apart_do_not_overflow() {
    let device = crate::test_device();
    let query = single(vec![1e4], [1, 1, 1, 1], &device);
    let key = single(vec![1e4, -1e4], [1, 1, 2, 1], &device);
    let value = single(vec![3.0, 5.0], [1, 1, 2, 1], &device);
    let output = attention(query, key, value, AttentionOptions::default());
    assert_eq!(output.into_scalar::<f32>(), 3.0);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let device = crate::test_device().autodiff();
            let name = |i: usize| format!("{i}");
            let flat: Vec<_> = shapes(40, 40)
                .iter()
                .enumerate()
                .map(|(i, shape)| random(&name(i), shape, &device).require_grad())
                .collect();
            let [query, key, value] = shaped(&flat, (40, 40));
            let output = attention(query, key, value, all_options(40)[5].clone());
            let gradients = output.clone().sum().backward();
            let mut found = vec![output.into_data()];
            found.extend(flat.iter().map(|t| t.grad(&gradients).unwrap().into_data()));
            found
        })
    };
    for (one, three) in run(1).iter().zip(run(3)) {
        assert_eq!(one.dtype(), DType::F64);
        one.assert_eq(&three, true);
    }
}
