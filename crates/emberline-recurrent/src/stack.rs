//! The deep network (Schmidhuber, 1992; El Hihi and Bengio, 1995): the input of a layer is the output of the
//! one below.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use emberline_backend::Dropout;
use emberline_backend::recurrent::FedStep;
use emberline_core::{Cache, Carry, Stream};

use crate::bidirectional::{Bidirectional, Merge};
use crate::cell::{FedCell, RecurrentCell};
use crate::layer::RecurrentLayer;
use crate::state::{CellState, RecurrentState};

/// Several layers, with dropout between them.
#[derive(Module, Debug)]
pub struct Stack<L: RecurrentLayer> {
    /// The layers, the one nearest to the input first.
    pub layers: Vec<L>,
    /// Applied to the outputs of every layer but the last.
    pub dropout: Dropout,
}

/// The states of the layers of a [`Stack`].
#[derive(Clone, Debug)]
pub struct StackState<S>(
    /// One state a layer, the one nearest to the input first.
    pub Vec<S>,
);

impl<L: RecurrentLayer> Stack<L> {
    /// Puts layers on top of each other.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn new(layers: Vec<L>, dropout: f64) -> Self {
        assert!(!layers.is_empty(), "a stack has at least one layer");
        Self { layers, dropout: Dropout::new(dropout) }
    }

    /// Runs the layers over a sequence, from `state` or from zeros.
    ///
    /// With `lengths`, row r ends after `lengths[r]` steps. Dropout draws from `random`; without it
    /// nothing is dropped.
    ///
    /// # Shapes
    /// - input: `[batch_size, seq_length, d_input]`
    /// - output: `[batch_size, seq_length, d_output]`, of the last layer
    ///
    /// # Panics
    /// If the state has another number of layers, or as [`RecurrentLayer::sequence`].
    pub fn forward(
        &self,
        input: Tensor<3>,
        state: Option<StackState<L::State>>,
        lengths: Option<&[usize]>,
        random: Option<Stream>,
    ) -> (Tensor<3>, StackState<L::State>) {
        let [batch_size, ..] = input.dims();
        let state = state.unwrap_or_else(|| self.zero_state(batch_size));
        assert_eq!(state.0.len(), self.layers.len(), "a state for each layer");
        let mut hidden = input;
        let mut finals = Vec::with_capacity(self.layers.len());
        for (index, (layer, state)) in self.layers.iter().zip(state.0).enumerate() {
            if index > 0 {
                hidden = self.dropout.forward(hidden, random.map(|random| random.at(index as u64)));
            }
            let (outputs, state) = layer.sequence(hidden, state, lengths);
            finals.push(state);
            hidden = outputs;
        }
        (hidden, StackState(finals))
    }

    /// The width of the output.
    pub fn d_output(&self) -> usize {
        self.last_layer().d_output()
    }

    /// The state at the start of a sequence, on the device and of the element type of the weights.
    pub fn zero_state(&self, batch_size: usize) -> StackState<L::State> {
        StackState(self.layers.iter().map(|layer| layer.zero_state(batch_size)).collect())
    }

    /// What a final state says of a whole row, `[batch_size, d_output]`: the last layer's output at the
    /// row's last valid step, and of a reverse direction at its first.
    ///
    /// # Panics
    /// If the state has no layer.
    pub fn last_output(&self, state: &StackState<L::State>) -> Tensor<2> {
        self.last_layer().last_output(state.0.last().expect("a state for each layer"))
    }

    fn last_layer(&self) -> &L {
        self.layers.last().expect("a stack has at least one layer")
    }
}

impl<C: FedCell> Stack<C> {
    /// The layers step by step, for a model that makes a part of each input of the step before.
    ///
    /// # Shapes
    /// - known: the rest of all inputs, `[batch_size, n_steps, d_known]`
    ///
    /// # Panics
    /// If shapes do not fit.
    pub fn fed(&self, known: Tensor<3>) -> FedStack<C::State> {
        let n_steps = known.dims()[1];
        let (first, others) = self.layers.split_first().expect("a stack has at least one layer");
        let mut layers = vec![first.fed(Some(known), n_steps)];
        layers.extend(others.iter().map(|layer| layer.fed(None, n_steps)));
        FedStack { layers, dropout: self.dropout.clone() }
    }
}

/// The layers of a [`Stack`], taken step by step.
pub struct FedStack<S> {
    layers: Vec<FedStep<S>>,
    dropout: Dropout,
}

impl<S: CellState> FedStack<S> {
    /// One step: the last layer's output, and the states after it. The input is `[known; fed]`, what is known that of the
    /// position. Dropout draws from `random`; without it nothing is dropped.
    ///
    /// # Shapes
    /// - fed: `[batch_size, d_fed]`
    /// - output: `[batch_size, d_output]`
    ///
    /// # Panics
    /// If shapes do not fit, or the state has another number of layers.
    pub fn step(
        &self,
        position: usize,
        fed: Tensor<2>,
        state: StackState<S>,
        random: Option<Stream>,
    ) -> (Tensor<2>, StackState<S>) {
        assert_eq!(state.0.len(), self.layers.len(), "a state for each layer");
        let mut hidden = fed;
        let mut finals = Vec::with_capacity(self.layers.len());
        for (index, (layer, state)) in self.layers.iter().zip(state.0).enumerate() {
            if index > 0 {
                hidden = self.dropout.forward(hidden, random.map(|random| random.at(index as u64)));
            }
            let state = layer(position, hidden, state);
            hidden = state.hidden();
            finals.push(state);
        }
        (hidden, StackState(finals))
    }
}

/// Layers of cells that a function makes for a width of the input.
pub(crate) fn layers<C: RecurrentCell>(
    n_layers: usize,
    d_input: usize,
    random: Stream,
    cell: impl Fn(usize, Stream) -> C,
) -> Vec<C> {
    let mut layers: Vec<C> = Vec::new();
    for index in 0..n_layers {
        let d_input = layers.last().map_or(d_input, RecurrentCell::d_output);
        layers.push(cell(d_input, random.at(index as u64)));
    }
    layers
}

/// Bidirectional layers of cells that a function makes for a width of the input.
pub(crate) fn bidirectional_layers<C: RecurrentCell>(
    n_layers: usize,
    d_input: usize,
    merge: Merge,
    random: Stream,
    cell: impl Fn(usize, Stream) -> C,
) -> Vec<Bidirectional<C>> {
    let mut layers: Vec<Bidirectional<C>> = Vec::new();
    for index in 0..n_layers {
        let d_input = layers.last().map_or(d_input, RecurrentLayer::d_output);
        let random = random.at(index as u64);
        let forward = cell(d_input, random.named("forward"));
        let reverse = cell(d_input, random.named("reverse"));
        layers.push(Bidirectional { forward, reverse, merge });
    }
    layers
}

impl<S: RecurrentState> Carry for StackState<S> {
    fn detach(self) -> Self {
        Self(self.0.into_iter().map(Carry::detach).collect())
    }

    fn to_data(&self) -> Vec<TensorData> {
        self.0.iter().flat_map(Carry::to_data).collect()
    }

    fn from_data(data: Vec<TensorData>, device: &Device) -> Option<Self> {
        if data.is_empty() || !data.len().is_multiple_of(S::TENSORS) {
            return None;
        }
        let layers = data.chunks(S::TENSORS).map(|layer| S::from_data(layer.to_vec(), device));
        layers.collect::<Option<Vec<_>>>().map(Self)
    }
}

impl<S: RecurrentState> Cache for StackState<S> {
    fn select_rows(self, rows: &[usize]) -> Self {
        Self(self.0.into_iter().map(|state| state.select_rows(rows)).collect())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;
    use emberline_backend::recurrent::LstmState;
    use emberline_backend::test_device;

    use super::*;
    use crate::{GruConfig, LstmConfig, ResetGate};

    #[test]
    fn dropout_acts_between_layers_and_only_with_a_stream() {
        let device = test_device();
        let input = Tensor::<3>::ones([2, 3, 4], &device);
        let outputs = |n_layers: usize, dropout: f64, random: Option<Stream>| {
            let config = LstmConfig { dropout, ..LstmConfig::new(4, 5, n_layers) };
            let stack = config.init(Stream::new(0), &device);
            stack.forward(input.clone(), None, None, random).0.into_data()
        };
        let stream = Some(Stream::new(9));
        assert_eq!(outputs(2, 0.5, None), outputs(2, 0.0, None));
        assert_eq!(outputs(1, 0.5, stream), outputs(1, 0.0, None));
        assert_ne!(outputs(2, 0.5, stream), outputs(2, 0.0, None));
    }

    #[test]
    fn a_state_survives_as_data_and_its_rows_can_be_picked() {
        let device = test_device();
        let stack = LstmConfig::new(4, 5, 2).init(Stream::new(0), &device);
        let values = Stream::new(1).normals(2 * 3 * 4, 1.0);
        let input = Tensor::<3>::from_data(TensorData::new(values, [2, 3, 4]), &device);
        let (_, state) = stack.forward(input, None, None, None);
        let data = state.to_data();
        let back = StackState::<LstmState>::from_data(data.clone(), &device).unwrap();
        assert_eq!(back.to_data(), data);
        assert!(StackState::<LstmState>::from_data(data[..3].to_vec(), &device).is_none());
        let picked = back.select_rows(&[1, 1, 0]);
        let expected = state.0[1].cell.clone().slice([1..2, 0..5]).into_data();
        assert_eq!(picked.0[1].cell.clone().slice([1..2, 0..5]).into_data(), expected);
        assert_eq!(picked.0[1].cell.dims(), [3, 5]);
    }

    #[test]
    fn what_a_final_state_says_is_the_last_layers_output_at_the_end_of_each_row() {
        let device = test_device();
        let stack = LstmConfig::new(4, 5, 2).init(Stream::new(0), &device);
        let values = Stream::new(1).normals(2 * 3 * 4, 1.0);
        let input = Tensor::<3>::from_data(TensorData::new(values, [2, 3, 4]), &device);
        let (outputs, state) = stack.forward(input, None, Some(&[2, 3]), None);
        let last = stack.last_output(&state).into_data();
        let expected = [(0, 1), (1, 2)]
            .map(|(row, step)| outputs.clone().slice([row..row + 1, step..step + 1]));
        let expected = Tensor::cat(expected.to_vec(), 0).reshape([2, 5]);
        assert_eq!(last, expected.into_data());
    }

    /// Whether steps with inputs in two parts are the layers over both parts, in values and gradients.
    fn fed_is_whole<C: FedCell>(stack: &Stack<C>, n_steps: usize) {
        let device = test_device().autodiff();
        let numbers = |seed, width| {
            let values = Stream::new(seed).normals(3 * n_steps * width, 1.0);
            let data = TensorData::new(values, [3, n_steps, width]);
            Tensor::<3>::from_data(data, &device).require_grad()
        };
        let (known, fed) = (numbers(1, 4), numbers(2, 2));
        let whole = Tensor::cat(vec![known.clone(), fed.clone()], 2);
        let (expected, expected_state) = stack.forward(whole, None, None, None);

        let steps = stack.fed(known.clone());
        let (mut state, mut outputs) = (stack.zero_state(3), Vec::new());
        for position in 0..n_steps {
            let fed = fed.clone().narrow(1, position, 1).squeeze_dim(1);
            let output;
            (output, state) = steps.step(position, fed, state, None);
            outputs.push(output);
        }
        let found = Tensor::stack::<3>(outputs, 1);
        let values = |outputs: Tensor<3>, state: StackState<C::State>| {
            let mut values = vec![outputs.to_data()];
            values.extend(state.to_data());
            let gradients = outputs.square().sum().backward();
            values.extend([&known, &fed].map(|input| input.grad(&gradients).unwrap().into_data()));
            values
        };
        for (found, expected) in values(found, state).iter().zip(values(expected, expected_state)) {
            found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn layers_that_are_fed_step_by_step_are_the_layers_over_whole_inputs() {
        let device = test_device().autodiff();
        let random = Stream::new(0);
        // So few steps are taken as they come, more with what is known computed before.
        for n_steps in [2, 6] {
            for reset in [ResetGate::Before, ResetGate::After] {
                let config = GruConfig { reset, ..GruConfig::new(6, 5, 2) };
                fed_is_whole(&config.init(random, &device), n_steps);
            }
            for d_projection in [None, Some(3)] {
                let config = LstmConfig { d_projection, ..LstmConfig::new(6, 5, 2) };
                fed_is_whole(&config.init(random, &device), n_steps);
            }
        }
    }

    #[test]
    fn dropout_between_layers_that_are_fed_draws_from_the_stream_of_the_step() {
        let device = test_device();
        let config = LstmConfig { dropout: 0.5, ..LstmConfig::new(6, 5, 2) };
        let stack = config.init(Stream::new(0), &device);
        let step = |random| {
            let steps = stack.fed(Tensor::ones([2, 5, 4], &device));
            let fed = Tensor::ones([2, 2], &device);
            steps.step(3, fed, stack.zero_state(2), random).0.into_data()
        };
        assert_eq!(step(Some(Stream::new(1))), step(Some(Stream::new(1))));
        assert_ne!(step(Some(Stream::new(1))), step(Some(Stream::new(2))));
        assert_ne!(step(Some(Stream::new(1))), step(None));
    }

    #[test]
    #[should_panic(expected = "a state for each layer")]
    fn a_state_of_another_depth_is_refused() {
        let device = test_device();
        let [deep, flat] =
            [2, 1].map(|n_layers| LstmConfig::new(4, 5, n_layers).init(Stream::new(0), &device));
        deep.forward(Tensor::zeros([1, 2, 4], &device), Some(flat.zero_state(1)), None, None);
    }
}
