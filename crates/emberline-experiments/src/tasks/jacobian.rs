//! ∂y_p/∂x_t: how much of what stands at t an output at p depends on.

use burn::tensor::Tensor;

/// The Frobenius norm of ∂y_p/∂x_t for every t, where `outputs` makes the y of a row from its x alone; the mean over
/// the rows.
///
/// # Shapes
/// - vectors: `[rows, seq_length, d_input]`
/// - what `outputs` makes: `[rows, seq_length, d_output]`
pub fn jacobian_norms(
    vectors: Tensor<3>,
    position: usize,
    outputs: impl Fn(Tensor<3>) -> Tensor<3>,
) -> Vec<f64> {
    let [rows, seq_length, d_input] = vectors.dims();
    let vectors = vectors.detach();
    let mut squares = vec![0.0; rows * seq_length];
    let d_output = outputs(vectors.clone()).dims()[2];
    for component in 0..d_output {
        // Rows do not depend on each other, so that the sum over them has each row's own gradient.
        let input = vectors.clone().require_grad();
        let output = outputs(input.clone()).narrow(1, position, 1);
        let gradients = output.narrow(2, component, 1).sum().backward();
        let gradient = input.grad(&gradients).expect("the input is of the graph");
        let values: Vec<f64> = gradient.into_data().iter().collect();
        for (square, row) in squares.iter_mut().zip(values.chunks(d_input)) {
            *square += row.iter().map(|value| value * value).sum::<f64>();
        }
    }
    let mean = |step: usize| {
        let norms = (0..rows).map(|row| squares[row * seq_length + step].sqrt());
        norms.sum::<f64>() / rows as f64
    };
    (0..seq_length).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use emberline_backend::test_device;

    use super::*;

    #[test]
    fn norms_are_those_of_the_matrices_that_make_an_output() {
        let vectors = Tensor::<3>::ones([2, 4, 9], &test_device().autodiff());
        // Of the identity of width 9 the norm is 3: an output is its own x and a third of the first.
        let outputs = |x: Tensor<3>| x.clone() + x.narrow(1, 0, 1).repeat_dim(1, 4) / 3.0;
        assert_eq!(jacobian_norms(vectors.clone(), 1, outputs)[1..], [3.0, 0.0, 0.0]);
        let first = jacobian_norms(vectors, 1, outputs)[0];
        assert!((first - 1.0).abs() < 1e-6, "{first}");
    }
}
