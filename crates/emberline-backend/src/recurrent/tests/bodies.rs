//! What holds of the native bodies, and of both, for every layer.

use burn::tensor::{Tensor, TensorData};

use super::layers::{
    Arguments, FULL, LAYERS, Layer, N_ARGUMENTS, RAGGED, READINGS, SEQ_LENGTH, arguments, objective,
};
use crate::recurrent::Reading;

/// Outputs, final states, and the gradients of the arguments that are asked for and used.
fn values_and_gradients(
    layer: Layer,
    arguments: &Arguments,
    reading: Reading,
    is_native: bool,
) -> Vec<TensorData> {
    let results = layer.run(arguments, reading, is_native);
    let mut found = vec![results.0.to_data()];
    found.extend(results.1.iter().map(Tensor::to_data));
    found.extend(gradients(arguments, results).into_iter().flatten());
    found
}

fn gradients(
    arguments: &Arguments,
    results: (Tensor<3>, Vec<Tensor<2>>),
) -> Vec<Option<TensorData>> {
    arguments.gradients(&objective(results).backward())
}

fn tracked(layer: Layer) -> Arguments {
    arguments(layer, &crate::test_device().autodiff()).tracked(|_| true)
}

#[test]
fn both_bodies_agree_in_values_and_gradients() {
    for layer in LAYERS {
        for reading in READINGS {
            let [native, portable] = [true, false]
                .map(|is_native| values_and_gradients(layer, &tracked(layer), reading, is_native));
            assert_eq!(native.len(), portable.len());
            for (index, (native, portable)) in native.iter().zip(portable).enumerate() {
                let close = native
                    .iter::<f64>()
                    .zip(portable.iter::<f64>())
                    .all(|(a, b)| (a - b).abs() < 1e-12);
                assert!(close, "{layer:?}, {reading:?}, result {index}:\n{native}\n{portable}");
            }
        }
    }
}

#[test]
fn gradients_are_the_finite_differences() {
    let device = crate::test_device();
    for layer in LAYERS {
        for reading in RAGGED {
            let tracked = tracked(layer);
            let gradients = gradients(&tracked, layer.run(&tracked, reading, true));
            for (argument, gradient) in gradients.iter().enumerate() {
                let Some(gradient) = gradient else { continue };
                for (index, expected) in gradient.iter::<f64>().enumerate().step_by(29) {
                    let value = |by: f64| {
                        let mut arguments = arguments(layer, &device);
                        arguments.shift(argument, index, by);
                        objective(layer.run(&arguments, reading, true)).into_scalar::<f64>()
                    };
                    let slope = (value(1e-5) - value(-1e-5)) / 2e-5;
                    assert!(
                        (slope - expected).abs() < 1e-7,
                        "{layer:?}, {reading:?}, argument {argument}, index {index}: {slope} {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_gradient_does_not_depend_on_what_else_is_asked_for() {
    let device = crate::test_device().autodiff();
    for layer in LAYERS {
        let all = tracked(layer);
        let all = gradients(&all, layer.run(&all, RAGGED[1], true));
        for (number, expected) in all.iter().enumerate() {
            let Some(expected) = expected else { continue };
            let arguments = arguments(layer, &device).tracked(|argument| argument == number);
            let mut found = gradients(&arguments, layer.run(&arguments, RAGGED[1], true));
            found.remove(number).unwrap().assert_eq(expected, true);
            assert!(found.iter().all(Option::is_none), "{layer:?}, argument {number}");
        }
        assert_eq!(all.len(), N_ARGUMENTS);
    }
}

#[test]
fn an_input_may_come_from_a_device_without_gradients() {
    for layer in LAYERS {
        let mut tracked = tracked(layer);
        let expected = gradients(&tracked, layer.run(&tracked, RAGGED[1], true));
        tracked.input = arguments(layer, &crate::test_device()).input;
        let found = gradients(&tracked, layer.run(&tracked, RAGGED[1], true));
        assert_eq!(found[1..], expected[1..], "{layer:?}");
    }
}

#[test]
fn padding_is_never_read_and_its_outputs_are_zero() {
    for layer in LAYERS {
        for reading in RAGGED {
            for is_native in [true, false] {
                let mut arguments = arguments(layer, &crate::test_device());
                let (expected, _) = layer.run(&arguments, reading, is_native);
                arguments.fill_padding(reading.lengths.unwrap(), f64::NAN);
                let (found, states) = layer.run(&arguments, reading, is_native);
                found.clone().into_data().assert_eq(&expected.into_data(), true);
                assert!(states.iter().all(|s| s.to_data().iter::<f64>().all(f64::is_finite)));
                let outputs = found.into_data().try_into_vec::<f64>().unwrap();
                let width = layer.d_output();
                // The third row has one step.
                let padding = &outputs[(2 * SEQ_LENGTH + 1) * width..3 * SEQ_LENGTH * width];
                assert!(padding.iter().all(|value| *value == 0.0), "{layer:?} {padding:?}");
            }
        }
    }
}

/// The same numbers, not side by side and not at the start of their storage.
fn view<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let width = tensor.dims()[D - 1];
    Tensor::cat(vec![tensor.clone() + 1.0, tensor], D - 1).narrow(D - 1, width, width)
}

#[test]
fn operands_may_be_views() {
    for layer in LAYERS {
        let expected = values_and_gradients(layer, &tracked(layer), RAGGED[1], true);
        let Arguments { input, matrices, biases } =
            arguments(layer, &crate::test_device().autodiff());
        let views = Arguments {
            input: view(input),
            matrices: matrices.map(view),
            biases: biases.map(view),
        };
        let found = values_and_gradients(layer, &views.tracked(|_| true), RAGGED[1], true);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            found.assert_eq(expected, true);
        }
    }
}

#[test]
fn one_row_and_its_first_steps_alone_have_the_same_bits() {
    // Two steps are too few for a matrix to be packed; five are not.
    let (row, n_steps) = (1, 2);
    for layer in LAYERS {
        let all = arguments(layer, &crate::test_device());
        let (expected, _) = layer.run(&all, FULL, true);
        let expected = expected.narrow(0, row, 1).narrow(1, 0, n_steps);
        let [weight_input, weight_hidden, hidden, memory, projection] = all.matrices;
        let alone = Arguments {
            input: all.input.narrow(0, row, 1).narrow(1, 0, n_steps),
            matrices: [
                weight_input,
                weight_hidden,
                hidden.narrow(0, row, 1),
                memory.narrow(0, row, 1),
                projection,
            ],
            biases: all.biases,
        };
        let (found, _) = layer.run(&alone, FULL, true);
        found.into_data().assert_eq(&expected.into_data(), true);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for layer in LAYERS {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| values_and_gradients(layer, &tracked(layer), RAGGED[1], true))
        };
        let one = run(1);
        // Fewer and more than there are rows.
        for threads in [3, 6] {
            for (expected, found) in one.iter().zip(run(threads)) {
                found.assert_eq(expected, true);
            }
        }
    }
}
