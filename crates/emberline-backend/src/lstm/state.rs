//! The state of an LSTM as something that training carries and generation picks rows from.

use burn::tensor::{Device, Int, Tensor, TensorData};
use emberline_core::{Cache, Carry};

use super::LstmState;

impl LstmState {
    /// The state at the start of a sequence.
    pub fn zeros(batch_size: usize, d_hidden: usize, device: &Device) -> Self {
        let zeros = Tensor::zeros([batch_size, d_hidden], device);
        Self { hidden: zeros.clone(), cell: zeros }
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
        if hidden.shape().rank() != 2 || hidden.shape() != cell.shape() {
            return None;
        }
        let tensor = |data: TensorData| {
            let options = (device, data.dtype());
            Tensor::from_data(data, options)
        };
        Some(Self { hidden: tensor(hidden), cell: tensor(cell) })
    }
}

impl Cache for LstmState {
    fn select_rows(self, rows: &[usize]) -> Self {
        let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let rows = Tensor::<1, Int>::from_data(rows.as_slice(), &self.hidden.device());
        Self { hidden: self.hidden.select(0, rows.clone()), cell: self.cell.select(0, rows) }
    }
}
