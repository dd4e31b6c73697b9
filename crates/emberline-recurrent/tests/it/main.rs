//! Parity with `torch.nn.LSTM`: outputs, final states and gradients, from the fixtures that
//! `tests/fixtures/lstm.py` writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{Weights, load_tensors, load_weights, save_tensors, save_weights};
use emberline_core::Stream;
use emberline_core::parameters::parameters;
use emberline_recurrent::{Lstm, LstmCell, LstmConfig, LstmState, Stack, StackState, torch};

/// The tensors of a fixture by name, and the type to compute in.
struct Fixture {
    tensors: BTreeMap<String, TensorData>,
    dtype: DType,
    device: Device,
}

impl Fixture {
    fn read(name: &str, dtype: DType) -> Self {
        let suffix = if dtype == DType::F64 { "f64" } else { "f32" };
        let tensors = load_tensors(fixtures().join(format!("lstm_{name}_{suffix}.safetensors")));
        let tensors = tensors.expect("a committed fixture").into_iter().collect();
        Self { tensors, dtype, device: test_device().autodiff() }
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        Tensor::from_data(self.tensors[name].clone(), (&self.device, self.dtype))
    }

    fn n_layers(&self) -> usize {
        (0..).take_while(|l| self.tensors.contains_key(&format!("weight_ih_l{l}"))).count()
    }

    fn lstm(&self) -> Lstm {
        let layers = (0..self.n_layers()).map(|l| LstmCell {
            weight_input: Param::from_tensor(
                self.tensor::<2>(&format!("weight_ih_l{l}")).transpose(),
            ),
            weight_hidden: Param::from_tensor(
                self.tensor::<2>(&format!("weight_hh_l{l}")).transpose(),
            ),
            bias_input: Param::from_tensor(self.tensor(&format!("bias_ih_l{l}"))),
            bias_hidden: Param::from_tensor(self.tensor(&format!("bias_hh_l{l}"))),
        });
        Stack::new(layers.collect(), 0.0)
    }

    /// The given initial states, tracked; `None` where the fixture leaves them out.
    fn start(&self) -> Option<(Tensor<3>, Tensor<3>)> {
        let tracked = |name: &str| self.tensor::<3>(name).require_grad();
        self.tensors.contains_key("h0").then(|| (tracked("h0"), tracked("c0")))
    }

    fn lengths(&self) -> Option<Vec<usize>> {
        let lengths = self.tensors.get("lengths")?;
        Some(lengths.iter::<i64>().map(|length| length as usize).collect())
    }

    fn check(&self, name: &str, found: TensorData, tolerance: f64) {
        let expected = &self.tensors[name];
        assert_eq!(found.shape(), expected.shape(), "{name}");
        let largest = expected.iter::<f64>().fold(1.0f64, |most, value| most.max(value.abs()));
        for (index, (found, expected)) in
            found.iter::<f64>().zip(expected.iter::<f64>()).enumerate()
        {
            let difference = (found - expected).abs();
            assert!(
                difference <= tolerance * largest,
                "{name}[{index}] is {found} here and {expected} in torch"
            );
        }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn layer(states: &Tensor<3>, index: usize) -> Tensor<2> {
    let [_, batch_size, width] = states.dims();
    states.clone().narrow(0, index, 1).reshape([batch_size, width])
}

fn agrees_with_torch(name: &str) {
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-5)] {
        let fixture = Fixture::read(name, dtype);
        let lstm = fixture.lstm();
        let input = fixture.tensor::<3>("input").require_grad();
        let start = fixture.start();
        let state = start.as_ref().map(|(hidden, cell)| {
            let state = |l| LstmState { hidden: layer(hidden, l), cell: layer(cell, l) };
            StackState((0..fixture.n_layers()).map(state).collect())
        });
        let state = state.or_else(|| {
            // `forward` would start from zeros of the device's default type.
            let [batch_size, ..] = input.dims();
            let StackState(layers) = lstm.zero_state(batch_size, &fixture.device);
            let cast = |state: LstmState| LstmState {
                hidden: state.hidden.cast(dtype),
                cell: state.cell.cast(dtype),
            };
            Some(StackState(layers.into_iter().map(cast).collect()))
        });
        let lengths = fixture.lengths();
        let (output, finals) = lstm.forward(input.clone(), state, lengths.as_deref(), None);
        let hidden: Tensor<3> =
            Tensor::stack(finals.0.iter().map(|s| s.hidden.clone()).collect(), 0);
        let cell: Tensor<3> = Tensor::stack(finals.0.iter().map(|s| s.cell.clone()).collect(), 0);
        fixture.check("output", output.clone().into_data(), tolerance);
        fixture.check("h_n", hidden.clone().into_data(), tolerance);
        fixture.check("c_n", cell.clone().into_data(), tolerance);

        let loss = (output * fixture.tensor("w_out")).sum()
            + (hidden * fixture.tensor("w_h")).sum()
            + (cell * fixture.tensor("w_c")).sum();
        let gradients = loss.backward();
        fixture.check("grad.input", input.grad(&gradients).unwrap().into_data(), tolerance);
        if let Some((hidden, cell)) = start {
            fixture.check("grad.h0", hidden.grad(&gradients).unwrap().into_data(), tolerance);
            fixture.check("grad.c0", cell.grad(&gradients).unwrap().into_data(), tolerance);
        }
        for (l, cell) in lstm.layers.iter().enumerate() {
            let matrix =
                |p: &Param<Tensor<2>>| p.val().grad(&gradients).unwrap().transpose().into_data();
            let vector = |p: &Param<Tensor<1>>| p.val().grad(&gradients).unwrap().into_data();
            fixture.check(&format!("grad.weight_ih_l{l}"), matrix(&cell.weight_input), tolerance);
            fixture.check(&format!("grad.weight_hh_l{l}"), matrix(&cell.weight_hidden), tolerance);
            fixture.check(&format!("grad.bias_ih_l{l}"), vector(&cell.bias_input), tolerance);
            fixture.check(&format!("grad.bias_hh_l{l}"), vector(&cell.bias_hidden), tolerance);
        }
    }
}

#[test]
fn three_layers_with_given_states_agree_with_torch() {
    agrees_with_torch("three_layers");
}

#[test]
fn one_step_of_one_row_agrees_with_torch() {
    agrees_with_torch("one_step");
}

#[test]
fn a_start_from_zeros_agrees_with_torch() {
    agrees_with_torch("zero_state");
}

#[test]
fn sizes_that_fill_no_register_agree_with_torch() {
    agrees_with_torch("odd_sizes");
}

#[test]
fn saturated_gates_agree_with_torch() {
    agrees_with_torch("saturated");
}

#[test]
fn rows_that_end_early_agree_with_packed_sequences_of_torch() {
    agrees_with_torch("lengths");
}

#[test]
fn a_torch_state_dict_is_read_strictly_and_written_bit_for_bit() {
    let fixture = Fixture::read("three_layers", DType::F32);
    let config = LstmConfig { d_input: 7, d_hidden: 5, n_layers: 3, dropout: 0.0 };
    let fresh = config.init(Stream::new(0), &test_device());
    let folder = tempfile::tempdir().unwrap();
    let (read, written) =
        (folder.path().join("torch.safetensors"), folder.path().join("ours.safetensors"));

    let names: Vec<String> =
        parameters(&fresh).iter().map(|p| torch::lstm_name(&p.path).name).collect();
    let state_dict: Vec<(String, TensorData)> =
        names.iter().map(|name| (name.clone(), fixture.tensors[name].clone())).collect();
    save_tensors(&read, state_dict.clone()).unwrap();
    let loaded =
        load_weights(fresh.clone(), &Weights::open(&read).unwrap(), &torch::lstm_name).unwrap();
    save_weights(&loaded, &written, &torch::lstm_name).unwrap();
    let back: BTreeMap<String, TensorData> = load_tensors(&written).unwrap().into_iter().collect();
    assert_eq!(back, state_dict.iter().cloned().collect());

    save_tensors(&read, state_dict[1..].to_vec()).unwrap();
    let error = load_weights(fresh, &Weights::open(&read).unwrap(), &torch::lstm_name).unwrap_err();
    assert!(error.to_string().contains("weight_ih_l0"), "{error}");
}
