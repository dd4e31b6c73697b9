//! Outputs, final states and all gradients are those of torch, or of the published equations where torch has
//! no such cell.

use burn::tensor::Tensor;
use emberline_core::Stream;
use emberline_recurrent::tensorflow::TensorFlowLstm;
use emberline_recurrent::{
    Activation, BidirectionalState, CellState, GruConfig, HiddenState, LstmOptions, LstmState,
    Merge, RecurrentLayer, RecurrentState, ResetGate, RnnConfig, Stack, StackState, UpdateGate,
};

use crate::fixture::Fixture;

/// A state as one of the matrices that torch holds all layers and directions in.
trait TorchState: RecurrentState {
    /// Takes the next ones.
    fn take(next: &mut dyn FnMut() -> LstmState) -> Self;

    /// Puts its own at the end, forward first.
    fn put(self, hidden: &mut Vec<Tensor<2>>, cell: &mut Vec<Tensor<2>>);
}

impl TorchState for HiddenState {
    fn take(next: &mut dyn FnMut() -> LstmState) -> Self {
        Self { hidden: next().hidden }
    }

    fn put(self, hidden: &mut Vec<Tensor<2>>, _cell: &mut Vec<Tensor<2>>) {
        hidden.push(self.hidden);
    }
}

impl TorchState for LstmState {
    fn take(next: &mut dyn FnMut() -> LstmState) -> Self {
        next()
    }

    fn put(self, hidden: &mut Vec<Tensor<2>>, cell: &mut Vec<Tensor<2>>) {
        hidden.push(self.hidden);
        cell.push(self.cell);
    }
}

impl<S: TorchState + CellState> TorchState for BidirectionalState<S> {
    fn take(next: &mut dyn FnMut() -> LstmState) -> Self {
        Self { forward: S::take(next), reverse: S::take(next) }
    }

    fn put(self, hidden: &mut Vec<Tensor<2>>, cell: &mut Vec<Tensor<2>>) {
        self.forward.put(hidden, cell);
        self.reverse.put(hidden, cell);
    }
}

fn agrees<L: RecurrentLayer>(fixture: &Fixture, stack: Stack<L>)
where
    L::State: TorchState,
{
    let stack = fixture.filled(stack);
    let input = fixture.tracked::<3>("input").expect("an input");
    let (hidden, cell) = (fixture.tracked::<3>("h0"), fixture.tracked::<3>("c0"));
    let start = hidden.as_ref().map(|hidden| {
        let mut index = 0;
        let mut next = || {
            let of = |states: &Tensor<3>| states.clone().narrow(0, index, 1).squeeze_dim::<2>(0);
            let cell = of(cell.as_ref().unwrap_or(hidden));
            let state = LstmState { hidden: of(hidden), cell };
            index += 1;
            state
        };
        StackState(stack.layers.iter().map(|_| L::State::take(&mut next)).collect())
    });
    let lengths = fixture.lengths();
    let (output, finals) = stack.forward(input.clone(), start, lengths.as_deref(), None);
    let (mut hidden_finals, mut cell_finals) = (Vec::new(), Vec::new());
    for state in finals.0 {
        state.put(&mut hidden_finals, &mut cell_finals);
    }
    fixture.check("output", output.clone().into_data());
    let mut loss = (output * fixture.tensor("w_out")).sum();
    for (finals, name, weights) in [(hidden_finals, "h_n", "w_h"), (cell_finals, "c_n", "w_c")] {
        if !finals.is_empty() {
            let finals: Tensor<3> = Tensor::stack(finals, 0);
            fixture.check(name, finals.clone().into_data());
            loss = loss + (finals * fixture.tensor(weights)).sum();
        }
    }
    let gradients = loss.backward();
    fixture.check_gradient("input", &input, &gradients);
    for (name, start) in [("h0", hidden), ("c0", cell)] {
        if let Some(start) = start {
            fixture.check_gradient(name, &start, &gradients);
        }
    }
    fixture.check_gradients(&stack, &gradients);
}

/// Of parameters that the fixture replaces.
fn random() -> Stream {
    Stream::new(0)
}

fn rnn(case: &str, activation: Activation) {
    for fixture in Fixture::both(case) {
        let config = RnnConfig { activation, ..fixture.rnn() };
        agrees(&fixture, config.init(random(), &fixture.device));
    }
}

fn bidirectional_rnn(case: &str, merge: Merge) {
    for fixture in Fixture::both(case) {
        let layers = fixture.rnn().init_bidirectional(merge, random(), &fixture.device);
        agrees(&fixture, layers);
    }
}

fn gru(case: &str, reset: ResetGate, update: UpdateGate) {
    for fixture in Fixture::both(case) {
        let config = GruConfig { reset, update, ..fixture.gru() };
        agrees(&fixture, config.init(random(), &fixture.device));
    }
}

fn bidirectional_gru(case: &str, reset: ResetGate, merge: Merge) {
    for fixture in Fixture::both(case) {
        let config = GruConfig { reset, ..fixture.gru() };
        agrees(&fixture, config.init_bidirectional(merge, random(), &fixture.device));
    }
}

fn lstm(case: &str) {
    for fixture in Fixture::both(case) {
        agrees(&fixture, fixture.lstm().init(random(), &fixture.device));
    }
}

fn bidirectional_lstm(case: &str, merge: Merge) {
    for fixture in Fixture::both(case) {
        let layers = fixture.lstm().init_bidirectional(merge, random(), &fixture.device);
        agrees(&fixture, layers);
    }
}

#[test]
fn an_rnn_with_either_activation_agrees_with_torch() {
    rnn("rnn_tanh", Activation::Tanh);
    rnn("rnn_relu", Activation::Relu);
}

#[test]
fn an_rnn_over_rows_that_end_early_agrees_with_packed_sequences_of_torch() {
    bidirectional_rnn("rnn_lengths", Merge::Concat);
}

#[test]
fn a_deep_gru_agrees_with_torch() {
    gru("gru_layers", ResetGate::After, UpdateGate::Keeps);
}

#[test]
fn a_deep_bidirectional_gru_agrees_with_torch() {
    bidirectional_gru("gru_bidirectional", ResetGate::After, Merge::Concat);
}

#[test]
fn a_gru_over_rows_that_end_early_agrees_with_packed_sequences_of_torch() {
    bidirectional_gru("gru_lengths", ResetGate::After, Merge::Concat);
}

#[test]
fn a_gru_of_sizes_that_fill_no_register_agrees_with_torch() {
    gru("gru_odd_sizes", ResetGate::After, UpdateGate::Keeps);
}

#[test]
fn a_gru_over_one_step_of_one_row_agrees_with_torch() {
    gru("gru_one_step", ResetGate::After, UpdateGate::Keeps);
}

#[test]
fn a_gru_that_resets_before_the_product_agrees_with_the_equations() {
    gru("gru_before", ResetGate::Before, UpdateGate::Keeps);
    bidirectional_gru("gru_before_lengths", ResetGate::Before, Merge::Concat);
}

#[test]
fn a_gru_whose_update_gate_admits_agrees_with_the_equations() {
    gru("gru_before_admits", ResetGate::Before, UpdateGate::Admits);
    gru("gru_after_admits", ResetGate::After, UpdateGate::Admits);
}

#[test]
fn a_deep_lstm_agrees_with_torch() {
    lstm("lstm_three_layers");
}

#[test]
fn an_lstm_over_one_step_of_one_row_agrees_with_torch() {
    lstm("lstm_one_step");
}

#[test]
fn an_lstm_that_starts_from_zeros_agrees_with_torch() {
    lstm("lstm_zero_state");
}

#[test]
fn an_lstm_of_sizes_that_fill_no_register_agrees_with_torch() {
    lstm("lstm_odd_sizes");
}

#[test]
fn an_lstm_with_saturated_gates_agrees_with_torch() {
    lstm("lstm_saturated");
}

#[test]
fn an_lstm_over_rows_that_end_early_agrees_with_packed_sequences_of_torch() {
    lstm("lstm_lengths");
    bidirectional_lstm("lstm_bidirectional_lengths", Merge::Concat);
}

#[test]
fn a_deep_bidirectional_lstm_agrees_with_torch() {
    bidirectional_lstm("lstm_bidirectional", Merge::Concat);
}

#[test]
fn a_projected_lstm_agrees_with_torch() {
    lstm("lstm_projected");
    bidirectional_lstm("lstm_projected_lengths", Merge::Concat);
}

#[test]
fn a_clipped_lstm_agrees_with_the_equations() {
    lstm("lstm_clipped");
}

#[test]
fn merges_of_one_layer_modules_of_torch_agree_layer_upon_layer() {
    bidirectional_lstm("lstm_sum", Merge::Sum);
    bidirectional_gru("gru_mean", ResetGate::After, Merge::Mean);
    bidirectional_rnn("rnn_product", Merge::Product);
}

#[test]
fn the_sum_of_one_layer_is_torchs_concatenation_folded() {
    for fixture in Fixture::both("rnn_lengths") {
        let layers = |merge: Merge| {
            let layers = fixture.rnn().init_bidirectional(merge, random(), &fixture.device);
            let (lengths, state) = (fixture.lengths(), None);
            let layers = fixture.filled(layers);
            layers.forward(fixture.tensor("input"), state, lengths.as_deref(), None).0
        };
        let concatenated = layers(Merge::Concat);
        let [batch_size, seq_length, width] = concatenated.dims();
        let folded = concatenated.reshape([batch_size, seq_length, 2, width / 2]);
        let folded = folded.sum_dim(2).squeeze_dim::<3>(2).into_data();
        assert_eq!(layers(Merge::Sum).into_data(), folded);
    }
}

#[test]
fn an_lstm_in_tensorflows_layout_agrees_with_the_equations() {
    for fixture in Fixture::both("lstm_tensorflow") {
        let tensor = |name: &str| fixture.tensors[name].clone();
        let layer = TensorFlowLstm {
            kernel: tensor("kernel"),
            bias: tensor("bias"),
            projection: Some(tensor("projection_kernel")),
        };
        let options = LstmOptions {
            cell_clip: fixture.number("cell_clip"),
            projection_clip: fixture.number("projection_clip"),
        };
        let cell = layer.into_cell(options, &fixture.device).unwrap();
        let stack = Stack::new(vec![cell], 0.0);
        let (output, state) = stack.forward(fixture.tensor("input"), None, None, None);
        fixture.check("output", output.into_data());
        fixture.check("h_n", state.0[0].hidden.clone().unsqueeze::<3>().into_data());
        fixture.check("c_n", state.0[0].cell.clone().unsqueeze::<3>().into_data());
    }
}
