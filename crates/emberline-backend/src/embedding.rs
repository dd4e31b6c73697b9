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
