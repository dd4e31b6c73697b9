//! The bidirectional layer (Schuster and Paliwal: "Bidirectional recurrent neural networks", 1997).
//!
//! Against a layer that reads forward, every output knows what follows it too. The price is that no output
//! exists before the last step was read: such a layer tags and classifies, and cannot generate.
//!
//! ```text
//! →h_t = f(x_t, →h_{t-1})      ←h_t = f'(x_t, ←h_{t+1})      y_t = merge(→h_t, ←h_t)
//! ```
//!
//! In the paper y is a linear map of both. Adding them is that map with two identity matrices, and
//! concatenating them leaves the map to the next layer.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::recurrent::{Direction, Reading};
use emberline_core::{Cache, Carry};
use serde::{Deserialize, Serialize};

use crate::cell::RecurrentCell;
use crate::layer::RecurrentLayer;
use crate::state::{CellState, RecurrentState};

/// Two cells that read the same rows, one from each end.
#[derive(Module, Debug)]
pub struct Bidirectional<C: RecurrentCell> {
    /// Reads from the first step to a row's last.
    pub forward: C,
    /// Reads from a row's own last step to its first.
    pub reverse: C,
    /// What becomes of the two outputs of a step.
    #[module(skip)]
    pub merge: Merge,
}

/// How the outputs of the two directions become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// `→h + ←h`.
    Sum,
    /// `[→h; ←h]`, twice as wide (torch; Bahdanau and others, 2015).
    Concat,
    /// `(→h + ←h) / 2`.
    Mean,
    /// `→h ⊙ ←h`.
    Product,
}

/// The states of the two directions of a [`Bidirectional`] layer.
#[derive(Clone, Debug)]
pub struct BidirectionalState<S> {
    /// After a row's last step, or before its first.
    pub forward: S,
    /// After a row's first step, or before its last.
    pub reverse: S,
}

impl Merge {
    /// The width of two merged outputs of a width.
    pub fn d_output(self, d_output: usize) -> usize {
        match self {
            Self::Concat => 2 * d_output,
            Self::Sum | Self::Mean | Self::Product => d_output,
        }
    }

    /// Merges along the last axis.
    ///
    /// # Shapes
    /// - forward, reverse: `[..., d_output]`
    /// - output: `[..., d_output]`, twice as wide for [`Concat`](Self::Concat)
    pub fn merge<const D: usize>(self, forward: Tensor<D>, reverse: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Sum => forward + reverse,
            Self::Concat => Tensor::cat(vec![forward, reverse], D - 1),
            Self::Mean => (forward + reverse) / 2.0,
            Self::Product => forward * reverse,
        }
    }
}

impl<C: RecurrentCell> RecurrentLayer for Bidirectional<C> {
    type State = BidirectionalState<C::State>;

    fn d_output(&self) -> usize {
        self.merge.d_output(self.forward.d_output())
    }

    fn zero_state(&self, batch_size: usize) -> Self::State {
        BidirectionalState {
            forward: self.forward.zero_state(batch_size),
            reverse: self.reverse.zero_state(batch_size),
        }
    }

    fn sequence(
        &self,
        input: Tensor<3>,
        state: Self::State,
        lengths: Option<&[usize]>,
    ) -> (Tensor<3>, Self::State) {
        let reading = |direction| Reading { lengths, direction };
        let (outputs, forward) =
            self.forward.sequence(input.clone(), state.forward, reading(Direction::Forward));
        let (reverse_outputs, reverse) =
            self.reverse.sequence(input, state.reverse, reading(Direction::Reverse));
        (self.merge.merge(outputs, reverse_outputs), BidirectionalState { forward, reverse })
    }

    fn last_output(&self, state: &Self::State) -> Tensor<2> {
        self.merge.merge(state.forward.hidden(), state.reverse.hidden())
    }
}

impl<S: CellState> RecurrentState for BidirectionalState<S> {
    const TENSORS: usize = 2 * S::TENSORS;
}

impl<S: CellState> Carry for BidirectionalState<S> {
    fn detach(self) -> Self {
        Self { forward: self.forward.detach(), reverse: self.reverse.detach() }
    }

    fn to_data(&self) -> Vec<TensorData> {
        [self.forward.to_data(), self.reverse.to_data()].concat()
    }

    fn from_data(mut data: Vec<TensorData>, device: &Device) -> Option<Self> {
        if data.len() != Self::TENSORS {
            return None;
        }
        let reverse = S::from_data(data.split_off(S::TENSORS), device)?;
        Some(Self { forward: S::from_data(data, device)?, reverse })
    }
}

impl<S: CellState> Cache for BidirectionalState<S> {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self { forward: self.forward.select_rows(rows), reverse: self.reverse.select_rows(rows) }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;
    use emberline_backend::recurrent::LstmState;
    use emberline_backend::test_device;
    use emberline_core::Stream;

    use super::*;
    use crate::{GruConfig, LstmConfig, RnnConfig, StackState};

    fn numbers(shape: [usize; 3], device: &Device) -> Tensor<3> {
        let values = Stream::new(1).normals(shape.iter().product(), 1.0);
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    #[test]
    fn each_merge_is_what_it_is_called() {
        let device = test_device();
        let [forward, reverse] =
            [[[1.0, -2.0]], [[3.0, 5.0]]].map(|values| Tensor::<2>::from_data(values, &device));
        let merged = |merge: Merge| merge.merge(forward.clone(), reverse.clone()).into_data();
        assert_eq!(merged(Merge::Sum), TensorData::from([[4.0f32, 3.0]]));
        assert_eq!(merged(Merge::Concat), TensorData::from([[1.0f32, -2.0, 3.0, 5.0]]));
        assert_eq!(merged(Merge::Mean), TensorData::from([[2.0f32, 1.5]]));
        assert_eq!(merged(Merge::Product), TensorData::from([[3.0f32, -10.0]]));
    }

    #[test]
    fn only_concatenation_widens_the_next_layer() {
        let device = test_device();
        let width = |merge: Merge| {
            let layers = GruConfig::new(3, 4, 2).init_bidirectional(merge, Stream::new(0), &device);
            let (outputs, _) = layers.forward(numbers([1, 2, 3], &device), None, None, None);
            assert_eq!(outputs.dims()[2], layers.d_output());
            (layers.layers[1].forward.weight_input.dims()[0], layers.d_output())
        };
        assert_eq!(width(Merge::Concat), (8, 8));
        for merge in [Merge::Sum, Merge::Mean, Merge::Product] {
            assert_eq!(width(merge), (4, 4));
        }
    }

    #[test]
    fn the_reverse_direction_is_a_forward_cell_on_each_row_turned_around() {
        let device = test_device();
        let layers =
            RnnConfig::new(2, 3, 1).init_bidirectional(Merge::Concat, Stream::new(3), &device);
        let layer = &layers.layers[0];
        let input = numbers([2, 4, 2], &device);
        let lengths = [4, 2];
        let (outputs, state) = layers.forward(input.clone(), None, Some(&lengths), None);
        for (row, length) in lengths.into_iter().enumerate() {
            let row_input = input.clone().slice([row..row + 1, 0..length]).flip([1]);
            let zeros = RecurrentCell::zero_state(&layer.reverse, 1);
            let (expected, last) =
                RecurrentCell::sequence(&layer.reverse, row_input, zeros, Reading::default());
            let found = outputs.clone().slice([row..row + 1, 0..length, 3..6]);
            let tolerance = Tolerance::<f32>::absolute(1e-6);
            found.into_data().assert_approx_eq(&expected.flip([1]).into_data(), tolerance);
            let found = state.0[0].reverse.hidden.clone().narrow(0, row, 1);
            found.into_data().assert_approx_eq(&last.hidden.into_data(), tolerance);
        }
    }

    #[test]
    fn an_output_knows_what_follows_it() {
        let device = test_device();
        let layers =
            GruConfig::new(2, 3, 1).init_bidirectional(Merge::Sum, Stream::new(3), &device);
        let first = |input| layers.forward(input, None, None, None).0.narrow(1, 0, 1).into_data();
        let input = numbers([1, 4, 2], &device);
        let changed = input.clone().slice_fill([0..1, 3..4], 0.5);
        assert_ne!(first(input), first(changed));
    }

    #[test]
    fn a_state_survives_as_data_and_its_rows_can_be_picked() {
        type OneLayer = BidirectionalState<LstmState>;
        let device = test_device();
        let layers =
            LstmConfig::new(2, 3, 2).init_bidirectional(Merge::Sum, Stream::new(0), &device);
        let (_, state) = layers.forward(numbers([2, 3, 2], &device), None, None, None);
        let data = state.to_data();
        assert_eq!(data.len(), 8);
        let back = StackState::<OneLayer>::from_data(data.clone(), &device).unwrap();
        assert_eq!(back.to_data(), data);
        let picked = back.select_rows(&[1]).0[1].reverse.cell.to_data();
        assert_eq!(picked, state.0[1].reverse.cell.clone().narrow(0, 1, 1).into_data());
        assert!(OneLayer::from_data(data[..3].to_vec(), &device).is_none());
    }
}
