//! The embedding table of every model.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_core::Stream;

/// A vector for each token: the product of its one-hot vector with a matrix, without the product.
#[derive(Module, Debug)]
pub struct Embedding {
    /// The vectors as rows, `[vocab_size, d_embedding]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Rows of the normal distribution with the given standard deviation.
    pub fn init(
        vocab_size: usize,
        d_embedding: usize,
        deviation: f64,
        random: Stream,
        device: &Device,
    ) -> Self {
        let values = random.named("weight").normals(vocab_size * d_embedding, deviation);
        let weight = TensorData::new(values, [vocab_size, d_embedding]);
        Self { weight: Param::from_data(weight, device) }
    }

    /// Looks the tokens up.
    ///
    /// # Shapes
    /// - tokens: `[batch_size, seq_length]`
    /// - output: `[batch_size, seq_length, d_embedding]`
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        burn::tensor::module::embedding(self.weight.val(), tokens)
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_rows_of_the_table_and_their_gradients_add_up() {
        let device = crate::test_device().autodiff();
        let mut embedding = Embedding::init(3, 2, 1.0, Stream::new(0), &device);
        embedding.weight = Param::from_data([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device);
        let vectors = embedding.forward(Tensor::from_data([[2, 0, 2]], &device));
        let expected = TensorData::from([[[5.0f32, 6.0], [1.0, 2.0], [5.0, 6.0]]]);
        vectors.clone().into_data().assert_eq(&expected, true);
        let gradient = embedding.weight.val().grad(&vectors.sum().backward()).unwrap();
        let expected = TensorData::from([[1.0f32, 1.0], [0.0, 0.0], [2.0, 2.0]]);
        gradient.into_data().assert_eq(&expected, true);
    }
}
