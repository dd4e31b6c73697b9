//! State dicts of torch go in and out bit for bit, those of another module are refused by name; and states
//! survive a file.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use emberline_backend::test_device;
use emberline_checkpoint::{
    CheckpointError, Mismatch, Misshapen, Weights, load_tensors, load_weights, save_tensors,
    save_weights,
};
use emberline_recurrent::{
    AnyConfig, AnyState, Carry, CellKind, LstmConfig, Merge, StackState, Stream, torch,
};

use crate::fixture::Fixture;

/// The state dict that the fixture was made of, in f32.
fn state_dict(case: &str) -> BTreeMap<String, TensorData> {
    let [_, fixture] = Fixture::both(case);
    let is_parameter = |name: &str| name.starts_with("weight_") || name.starts_with("bias_");
    fixture.tensors.into_iter().filter(|(name, _)| is_parameter(name)).collect()
}

fn load<M: Module>(
    module: M,
    tensors: &BTreeMap<String, TensorData>,
) -> Result<M, CheckpointError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("torch.safetensors");
    save_tensors(&path, tensors.clone().into_iter().collect()).unwrap();
    load_weights(module, &Weights::open(&path).unwrap(), &torch::stored_name)
}

fn survives<M: Module>(module: M, case: &str) {
    let (folder, tensors) = (tempfile::tempdir().unwrap(), state_dict(case));
    let loaded = load(module, &tensors).unwrap();
    let path = folder.path().join("ours.safetensors");
    save_weights(&loaded, &path, &torch::stored_name).unwrap();
    let back: BTreeMap<String, TensorData> = load_tensors(&path).unwrap().into_iter().collect();
    assert_eq!(back, tensors, "{case}");
}

fn mismatch<M: Module>(module: M, tensors: &BTreeMap<String, TensorData>) -> Mismatch {
    match load(module, tensors) {
        Err(CheckpointError::Mismatch(mismatch)) => *mismatch,
        other => panic!("a mismatch was expected, not {:?}", other.map(drop)),
    }
}

fn lstm_layers(n_layers: usize) -> emberline_recurrent::Lstm {
    LstmConfig::new(7, 5, n_layers).init(Stream::new(0), &test_device())
}

#[test]
fn a_state_dict_of_every_module_is_read_and_written_bit_for_bit() {
    let (random, device, merge) = (Stream::new(0), test_device(), Merge::Concat);
    let config = |case: &str| {
        let [_, fixture] = Fixture::both(case);
        fixture
    };
    survives(config("rnn_tanh").rnn().init(random, &device), "rnn_tanh");
    survives(config("gru_layers").gru().init(random, &device), "gru_layers");
    survives(config("lstm_three_layers").lstm().init(random, &device), "lstm_three_layers");
    let rnn = config("rnn_lengths").rnn().init_bidirectional(merge, random, &device);
    survives(rnn, "rnn_lengths");
    let gru = config("gru_bidirectional").gru().init_bidirectional(merge, random, &device);
    survives(gru, "gru_bidirectional");
    let case = "lstm_projected_lengths";
    survives(config(case).lstm().init_bidirectional(merge, random, &device), case);
    let any = AnyConfig { cell: CellKind::Gru, d_input: 7, d_hidden: 5, n_layers: 2, dropout: 0.0 };
    survives(any.init_bidirectional(merge, random, &device), "gru_bidirectional");
}

#[test]
fn the_state_dict_of_another_cell_is_refused_with_every_shape() {
    let mismatch = mismatch(lstm_layers(3), &state_dict("gru_layers"));
    assert_eq!(mismatch.misshapen.len(), 12);
    assert!(mismatch.missing.is_empty() && mismatch.unexpected.is_empty());
    let first =
        Misshapen { tensor: "weight_ih_l0".into(), expected: vec![20, 7], found: vec![15, 7] };
    assert_eq!(mismatch.misshapen[0], first);
}

#[test]
fn the_state_dict_of_another_size_is_refused_with_every_shape() {
    let narrow = LstmConfig::new(7, 4, 3).init(Stream::new(0), &test_device());
    assert_eq!(mismatch(narrow, &state_dict("lstm_three_layers")).misshapen.len(), 12);
}

#[test]
fn layers_and_directions_that_only_one_side_has_are_named() {
    let names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"];
    let of = |place: &str| names.map(|name| format!("{name}_{place}"));

    let missing = mismatch(lstm_layers(4), &state_dict("lstm_three_layers")).missing;
    assert_eq!(missing, of("l3"));
    let mut unexpected = mismatch(lstm_layers(2), &state_dict("lstm_three_layers")).unexpected;
    unexpected.sort();
    let mut expected = of("l2");
    expected.sort();
    assert_eq!(unexpected, expected);

    let config = LstmConfig::new(7, 5, 1);
    let both = config.init_bidirectional(Merge::Concat, Stream::new(0), &test_device());
    let missing = mismatch(both, &state_dict("lstm_zero_state")).missing;
    assert_eq!(missing, of("l0_reverse"));
}

#[test]
fn a_projection_that_only_one_side_has_is_named() {
    let missing = {
        let config = LstmConfig { d_projection: Some(5), ..LstmConfig::new(7, 5, 3) };
        let layers = config.init(Stream::new(0), &test_device());
        mismatch(layers, &state_dict("lstm_three_layers")).missing
    };
    assert_eq!(missing, ["weight_hr_l0", "weight_hr_l1", "weight_hr_l2"]);
    let unexpected = mismatch(lstm_layers(2), &state_dict("lstm_projected")).unexpected;
    assert_eq!(unexpected, ["weight_hr_l0", "weight_hr_l1"]);
}

#[test]
fn a_state_survives_a_file_with_and_without_memory_cells() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path().join("state.safetensors"), test_device());
    for cell in [CellKind::Rnn, CellKind::Gru, CellKind::Lstm] {
        let config = AnyConfig { cell, d_input: 2, d_hidden: 3, n_layers: 2, dropout: 0.0 };
        let layers = config.init(Stream::new(1), &device);
        let (_, state) = layers.forward(Tensor::ones([1, 4, 2], &device), None, None, None);
        let data = state.to_data();
        let named = data.iter().cloned().enumerate().map(|(i, data)| (format!("{i}"), data));
        save_tensors(&path, named.collect()).unwrap();
        let read = load_tensors(&path).unwrap().into_iter().map(|(_, data)| data).collect();
        let back = StackState::<AnyState>::from_data(read, &device).unwrap();
        assert_eq!(back.to_data(), data, "{cell:?}");
    }
}
