//! The states of recurrent layers as something that training carries and generation picks rows from.

use burn::tensor::{Device, Tensor, TensorCreationOptions, TensorData};
use emberline_core::{Cache, Carry};

/// What a plain recurrent layer or a GRU keeps from one step to the next.
#[derive(Clone, Debug)]
pub struct HiddenState {
    /// h, `[batch_size, d_hidden]`.
    pub hidden: Tensor<2>,
}

/// What an LSTM keeps from one step to the next.
#[derive(Clone, Debug)]
pub struct LstmState {
    /// h, `[batch_size, d_output]`.
    pub hidden: Tensor<2>,
    /// c, `[batch_size, d_hidden]`.
    pub cell: Tensor<2>,
}

impl HiddenState {
    /// The state at the start of a sequence.
    pub fn zeros(
        batch_size: usize,
        d_hidden: usize,
        options: impl Into<TensorCreationOptions>,
    ) -> Self {
        Self { hidden: Tensor::zeros([batch_size, d_hidden], options) }
    }
}

impl LstmState {
    /// The state at the start of a sequence.
    pub fn zeros(
        batch_size: usize,
        d_output: usize,
        d_hidden: usize,
        options: impl Into<TensorCreationOptions>,
    ) -> Self {
        let options = options.into();
        Self {
            hidden: Tensor::zeros([batch_size, d_output], options.clone()),
            cell: Tensor::zeros([batch_size, d_hidden], options),
        }
    }
}

impl Carry for HiddenState {
    fn detach(self) -> Self {
        Self { hidden: self.hidden.detach() }
    }

    fn to_data(&self) -> Vec<TensorData> {
        vec![self.hidden.to_data()]
    }

    fn from_data(data: Vec<TensorData>, device: &Device) -> Option<Self> {
        let [hidden] = <[TensorData; 1]>::try_from(data).ok()?;
        Some(Self { hidden: matrix(hidden, device)? })
    }
}

impl Carry for LstmState {
    fn detach(self) -> Self {
        Self { hidden: self.hidden.detach(), cell: self.cell.detach() }
    }

    fn to_data(&self) -> Vec<TensorData> {
        vec![self.hidden.to_data(), self.cell.to_data()]
    }

    fn from_data(data: Vec<TensorData>, device: &Device) -> Option<Self> {
        let [hidden, cell] = <[TensorData; 2]>::try_from(data).ok()?;
        let state = Self { hidden: matrix(hidden, device)?, cell: matrix(cell, device)? };
        (state.hidden.dims()[0] == state.cell.dims()[0]).then_some(state)
    }
}

impl Cache for HiddenState {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self { hidden: self.hidden.select_rows(rows) }
    }
}

impl Cache for LstmState {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self { hidden: self.hidden.select_rows(rows), cell: self.cell.select_rows(rows) }
    }
}

fn matrix(data: TensorData, device: &Device) -> Option<Tensor<2>> {
    let dtype = data.dtype();
    let is_matrix = dtype.is_float() && data.shape().rank() == 2;
    is_matrix.then(|| Tensor::from_data(data, (device, dtype)))
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_made_of_matrices_of_floats_alone() {
        let device = crate::test_device();
        let state = |data: TensorData| HiddenState::from_data(vec![data], &device);
        assert!(state(TensorData::from([[1.0f32, 2.0]])).is_some());
        assert!(state(TensorData::from([1.0f32, 2.0])).is_none());
        assert!(state(TensorData::from([[1i64, 2]])).is_none());
        let [one, two] = [[1, 2], [2, 2]].map(TensorData::zeros::<f32, [usize; 2]>);
        assert!(LstmState::from_data(vec![one.clone(), one.clone()], &device).is_some());
        assert!(LstmState::from_data(vec![one.clone(), two], &device).is_none());
        assert!(LstmState::from_data(vec![one], &device).is_none());
    }
}
