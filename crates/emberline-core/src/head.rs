//! The weights of a head over a vocabulary.

use burn::tensor::{Tensor, module};

/// `scores = hidden W + b`.
#[derive(Clone, Debug)]
pub struct HeadWeights {
    /// W, `[d_model, vocab_size]`; or, where it is tied, the embedding table, `[vocab_size, d_model]`.
    pub weight: Tensor<2>,
    /// Whether the weight is the embedding table, whose rows are the columns of W.
    pub is_tied: bool,
    /// b, `[vocab_size]`.
    pub bias: Option<Tensor<1>>,
}

impl HeadWeights {
    /// A weight `[d_model, vocab_size]` of the head alone.
    pub fn own(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { weight, is_tied: false, bias }
    }

    /// The embedding table, `[vocab_size, d_model]`.
    pub fn tied(table: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        Self { weight: table, is_tied: true, bias }
    }

    /// The scores.
    ///
    /// # Shapes
    /// - hidden: `[n, d_model]`
    /// - output: `[n, vocab_size]`
    pub fn forward(self, hidden: Tensor<2>) -> Tensor<2> {
        let weight = if self.is_tied { self.weight.transpose() } else { self.weight };
        module::linear(hidden, weight, self.bias)
    }

    /// The width of what is scored.
    pub fn d_model(&self) -> usize {
        self.weight.dims()[usize::from(self.is_tied)]
    }

    /// The number of tokens that are scored.
    pub fn vocab_size(&self) -> usize {
        self.weight.dims()[usize::from(!self.is_tied)]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use emberline_backend::test_device;

    use super::*;

    #[test]
    fn a_tied_head_is_the_transposed_table() {
        let device = test_device();
        let table = Tensor::<2>::from_data([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device);
        let bias = Tensor::<1>::from_data([0.5, 0.0, -0.5], &device);
        let tied = HeadWeights::tied(table.clone(), Some(bias.clone()));
        let own = HeadWeights::own(table.transpose(), Some(bias));
        assert_eq!((tied.d_model(), tied.vocab_size()), (2, 3));
        assert_eq!((own.d_model(), own.vocab_size()), (2, 3));
        let hidden = Tensor::<2>::from_data([[1.0, 10.0]], &device);
        let expected = TensorData::from([[21.5f32, 43.0, 64.5]]);
        tied.forward(hidden.clone()).into_data().assert_eq(&expected, true);
        own.forward(hidden).into_data().assert_eq(&expected, true);
    }
}
