//! Every layer in each of its variants, and arguments for it.

use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use emberline_core::Stream;

use crate::recurrent::*;

pub(super) const BATCH_SIZE: usize = 4;
pub(super) const SEQ_LENGTH: usize = 5;
pub(super) const D_INPUT: usize = 3;
/// One group of the kernels' lanes, and a part of one.
pub(super) const D_HIDDEN: usize = 18;
pub(super) const D_PROJECTED: usize = 2;

#[derive(Clone, Copy, Debug)]
pub(super) enum Layer {
    Rnn(Activation),
    Gru(ResetGate, UpdateGate),
    Lstm(LstmOptions),
    Projected(LstmOptions),
}

pub(super) const NO_CLIP: LstmOptions = LstmOptions { cell_clip: None, projection_clip: None };
/// Some numbers of the tests are beyond these limits and some are not.
const CLIP: LstmOptions = LstmOptions { cell_clip: Some(0.3), projection_clip: Some(0.1) };
pub(super) const LAYERS: [Layer; 10] = [
    Layer::Rnn(Activation::Tanh),
    Layer::Rnn(Activation::Relu),
    Layer::Gru(ResetGate::After, UpdateGate::Keeps),
    Layer::Gru(ResetGate::After, UpdateGate::Admits),
    Layer::Gru(ResetGate::Before, UpdateGate::Keeps),
    Layer::Gru(ResetGate::Before, UpdateGate::Admits),
    Layer::Lstm(NO_CLIP),
    Layer::Lstm(CLIP),
    Layer::Projected(NO_CLIP),
    Layer::Projected(CLIP),
];

pub(super) const FULL: Reading = Reading { lengths: None, direction: Direction::Forward };
pub(super) const RAGGED: [Reading; 2] = [
    Reading { lengths: Some(&[2, 5, 1, 4]), direction: Direction::Forward },
    Reading { lengths: Some(&[2, 5, 1, 4]), direction: Direction::Reverse },
];
pub(super) const READINGS: [Reading; 4] =
    [FULL, Reading { lengths: None, direction: Direction::Reverse }, RAGGED[0], RAGGED[1]];

impl Layer {
    fn n_gates(self) -> usize {
        match self {
            Self::Rnn(_) => 1,
            Self::Gru(..) => 3,
            Self::Lstm(_) | Self::Projected(_) => 4,
        }
    }

    pub(super) fn d_output(self) -> usize {
        if let Self::Projected(_) = self { D_PROJECTED } else { D_HIDDEN }
    }

    /// Outputs and final states.
    pub(super) fn run(
        self,
        arguments: &Arguments,
        reading: Reading,
        is_native: bool,
    ) -> (Tensor<3>, Vec<Tensor<2>>) {
        let input = arguments.input.clone();
        let matrix = |index: usize| arguments.matrices[index].clone();
        let bias = |index: usize| arguments.biases[index].clone();
        let weights = CellWeights {
            input: matrix(0),
            hidden: matrix(1),
            bias_input: bias(0),
            bias_hidden: bias(1),
        };
        let state = HiddenState { hidden: matrix(2) };
        let with_memory = LstmState { hidden: matrix(2), cell: matrix(3) };
        let projection = matches!(self, Self::Projected(_)).then(|| matrix(4));
        match self {
            Self::Rnn(activation) => {
                let body = if is_native { rnn } else { portable::rnn };
                let (outputs, state) = body(input, state, weights, activation, reading);
                (outputs, vec![state.hidden])
            }
            Self::Gru(reset, update) => {
                let body = if is_native { gru } else { portable::gru };
                let (outputs, state) = body(input, state, weights, reset, update, reading);
                (outputs, vec![state.hidden])
            }
            Self::Lstm(options) | Self::Projected(options) => {
                let body = if is_native { lstm } else { portable::lstm };
                let (outputs, state) =
                    body(input, with_memory, weights, projection, options, reading);
                (outputs, vec![state.hidden, state.cell])
            }
        }
    }
}

/// What a layer is a function of. Counted through, the input comes first, then the matrices, then the biases.
pub(super) struct Arguments {
    pub(super) input: Tensor<3>,
    /// Input weights, hidden weights, hidden state, memory, projection; a layer uses those that it has.
    pub(super) matrices: [Tensor<2>; 5],
    /// Of the input, of the hidden state.
    pub(super) biases: [Tensor<1>; 2],
}

pub(super) const N_ARGUMENTS: usize = 8;

/// Numbers drawn by name, times ½.
pub(super) fn random<const D: usize>(name: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Stream::new(11).named(name).normals(shape.iter().product(), 0.5);
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F64))
}

pub(super) fn arguments(layer: Layer, device: &Device) -> Arguments {
    let columns = layer.n_gates() * D_HIDDEN;
    Arguments {
        input: random("input", [BATCH_SIZE, SEQ_LENGTH, D_INPUT], device),
        matrices: [
            random("weight_input", [D_INPUT, columns], device),
            random("weight_hidden", [layer.d_output(), columns], device),
            random("hidden", [BATCH_SIZE, layer.d_output()], device),
            random("memory", [BATCH_SIZE, D_HIDDEN], device),
            random("projection", [D_HIDDEN, D_PROJECTED], device),
        ],
        biases: [random("bias_input", [columns], device), random("bias_hidden", [columns], device)],
    }
}

impl Arguments {
    /// With gradients of the arguments that are asked for by their number.
    pub(super) fn tracked(self, is_asked_for: impl Fn(usize) -> bool) -> Self {
        let mut number = 0..;
        let mut asked = || is_asked_for(number.next().expect("numbers do not end"));
        Self {
            input: self.input.set_require_grad(asked()),
            matrices: self.matrices.map(|matrix| matrix.set_require_grad(asked())),
            biases: self.biases.map(|bias| bias.set_require_grad(asked())),
        }
    }

    /// The gradient of each argument that was asked for and is used.
    pub(super) fn gradients(&self, gradients: &Gradients) -> Vec<Option<TensorData>> {
        let mut found = vec![self.input.grad(gradients).map(Tensor::into_data)];
        found.extend(self.matrices.iter().map(|m| m.grad(gradients).map(Tensor::into_data)));
        found.extend(self.biases.iter().map(|b| b.grad(gradients).map(Tensor::into_data)));
        found
    }

    pub(super) fn fill_padding(&mut self, lengths: &[usize], value: f64) {
        for (row, length) in lengths.iter().enumerate() {
            let padding = [row..row + 1, *length..SEQ_LENGTH, 0..D_INPUT];
            if *length < SEQ_LENGTH {
                self.input = self.input.clone().slice_fill(padding, value);
            }
        }
    }

    /// Changes one number of an argument.
    pub(super) fn shift(&mut self, argument: usize, index: usize, by: f64) {
        fn shift<const D: usize>(tensor: &mut Tensor<D>, index: usize, by: f64) {
            let device = tensor.device();
            let mut values = tensor.to_data().try_into_vec::<f64>().unwrap();
            values[index] += by;
            let data = TensorData::new(values, tensor.shape());
            *tensor = Tensor::from_data(data, (&device, DType::F64));
        }
        match argument {
            0 => shift(&mut self.input, index, by),
            1..=5 => shift(&mut self.matrices[argument - 1], index, by),
            _ => shift(&mut self.biases[argument - 6], index, by),
        }
    }
}

/// A number that depends on every output and on the final states.
pub(super) fn objective((outputs, states): (Tensor<3>, Vec<Tensor<2>>)) -> Tensor<1> {
    let device = outputs.device();
    let mut sum = (outputs.clone() * random("o", outputs.dims(), &device)).sum();
    for (index, state) in states.into_iter().enumerate() {
        let factors = random(&format!("s{index}"), state.dims(), &device);
        sum = sum + (state * factors).sum();
    }
    sum
}
