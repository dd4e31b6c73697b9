//! ∂h_T/∂x_t: how much of what was read t steps before its end a state still depends on.

use burn::tensor::{Int, Tensor};

use super::super::jacobian::jacobian_norms;
use super::learners::Learner;

/// The Frobenius norm of ∂h_T/∂x_t for T − t = 0, 1, 2, … to the first symbol, where h_T is the state after the
/// last symbol and x_t the vector of a symbol; the mean over the rows.
///
/// # Shapes
/// - symbols: `[rows, seq_length]`
pub fn gradient_norms(learner: &Learner, symbols: Tensor<2, Int>) -> Vec<f64> {
    let [_, seq_length] = symbols.dims();
    let states = |vectors| learner.states(vectors);
    let mut norms = jacobian_norms(learner.embed(symbols), seq_length - 1, states);
    norms.reverse();
    norms
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use emberline_backend::test_device;
    use emberline_core::Stream;
    use emberline_recurrent::{AnyCell, LstmCell, LstmState, Reading, RecurrentCell};

    use super::super::learners::{Memory, forced, learners};
    use super::*;

    const INPUT_GATE: usize = 0;

    fn lstm(memory: Memory, device: &Device) -> LstmCell {
        let AnyCell::Lstm(cell) = memory.cell(3, 4, Stream::new(1), device) else {
            panic!("{memory:?} is no LSTM")
        };
        cell
    }

    /// The gradient of the sum of the last cell with respect to the first, after some steps.
    fn cell_gradient(cell: &LstmCell, n_steps: usize, device: &Device) -> Vec<f32> {
        let input = Tensor::<3>::ones([1, n_steps, 3], device);
        let first = Tensor::<2>::full([1, 4], 0.5, device).require_grad();
        let start = LstmState { hidden: Tensor::zeros([1, 4], device), cell: first.clone() };
        let (_, last) = cell.sequence(input, start, Reading::default());
        let gradients = last.cell.sum().backward();
        first.grad(&gradients).unwrap().into_data().iter().collect()
    }

    #[test]
    fn a_forget_gate_forced_open_keeps_the_gradient_of_the_cell_over_a_thousand_steps() {
        let device = test_device().autodiff();
        // Nothing new is let in, and the hidden state has no say.
        let cell = forced(lstm(Memory::LstmOpen, &device), INPUT_GATE, -30.0);
        assert!(cell_gradient(&cell, 1000, &device).iter().all(|value| (value - 1.0).abs() < 1e-4));
    }

    #[test]
    fn a_forget_gate_forced_shut_leaves_nothing_of_the_cell_after_a_step() {
        let device = test_device().autodiff();
        let cell = forced(lstm(Memory::LstmShut, &device), INPUT_GATE, -30.0);
        assert!(cell_gradient(&cell, 1, &device).iter().all(|value| value.abs() < 1e-12));
    }

    #[test]
    fn the_gradient_of_the_plain_cell_decays_and_that_of_the_open_lstm_stays() {
        let config = crate::experiments::memory_horizon::memory_horizon();
        let device = test_device().autodiff();
        let model = learners(&config, Stream::new(1), &device);
        let symbols = Tensor::<2, Int>::ones([2, 31], &device.clone().inner());
        let distances = &config.data.distances;
        let decay = |memory| {
            let norms =
                gradient_norms(model.learner(memory as usize, 1, distances), symbols.clone());
            assert_eq!(norms.len(), 31);
            norms[30] / norms[0]
        };
        assert!(decay(Memory::Rnn) < 1e-4);
        assert!(decay(Memory::LstmShut) < 1e-4);
        assert!(decay(Memory::LstmOpen) > 0.1);
    }
}
