//! The plain recurrent cell.

use super::Inputs;
use super::backward::StepBack;
use super::block::{BackwardBlock, ForwardBlock};
use super::forward::Step;
use super::product::Product;
use crate::flex::Real;
use crate::flex::lanes::{LANES, load, store};
use crate::flex::simd::{self, Kernel};
use crate::recurrent::Activation;

pub(super) struct Forward<'a, T> {
    recurrent: Product<'a, T>,
    bias: Vec<T>,
    activation: Activation,
}

impl<'a, T: Real> Forward<'a, T> {
    pub(super) fn new(inputs: &Inputs<'a, T>, activation: Activation) -> Self {
        let recurrent = Product::new(inputs.weight_hidden(), inputs.seq_length);
        Self { recurrent, bias: inputs.bias(), activation }
    }
}

impl<T: Real> Step<T> for Forward<'_, T> {
    fn step(&self, block: &mut ForwardBlock<T>, active: usize, at: usize) {
        let ForwardBlock { rows, hidden, sums, d_hidden: width, .. } = block;
        self.recurrent.assign(active, (hidden, 0), (sums, 0));
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(Activate {
                gates: &mut row.gates[at * *width..][..*width],
                sums: sums.row(index),
                bias: &self.bias,
                hidden: hidden.row_mut(index),
                activation: self.activation,
            });
        }
    }
}

struct Activate<'a, T> {
    gates: &'a mut [T],
    sums: &'a [T],
    bias: &'a [T],
    hidden: &'a mut [T],
    activation: Activation,
}

impl<T: Real> Kernel for Activate<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.bias.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let mut h = load(&self.gates[first..], lanes);
            let (sums, bias) = (load(&self.sums[first..], lanes), load(&self.bias[first..], lanes));
            for lane in 0..LANES {
                h[lane] = h[lane] + sums[lane] + bias[lane];
            }
            match self.activation {
                Activation::Tanh => h.iter_mut().for_each(|h| *h = h.tanh::<FMA>()),
                Activation::Relu => h.iter_mut().for_each(|h| {
                    // Written so that a NaN goes through.
                    *h = if *h < T::ZERO { T::ZERO } else { *h }
                }),
            }
            store(&mut self.gates[first..], &h, lanes);
            store(&mut self.hidden[first..], &h, lanes);
        }
    }
}

pub(super) struct Backward<T: 'static> {
    recurrent: Product<'static, T>,
    activation: Activation,
}

impl<T: Real> Backward<T> {
    pub(super) fn new(inputs: &Inputs<T>, activation: Activation) -> Self {
        let transposed = inputs.weight_hidden().transposed();
        Self { recurrent: Product::packed(transposed), activation }
    }
}

impl<T: Real> StepBack<T> for Backward<T> {
    fn step_back(&self, block: &mut BackwardBlock<T>, active: usize, at: usize) {
        let BackwardBlock { rows, hidden_gradient, sums_gradient, d_hidden: width, .. } = block;
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(ActivateBack {
                gates: &mut row.gates[at * *width..][..*width],
                sums_gradient: sums_gradient.row_mut(index),
                hidden_gradient: hidden_gradient.row(index),
                activation: self.activation,
            });
        }
        self.recurrent.assign(active, (sums_gradient, 0), (hidden_gradient, 0));
    }
}

struct ActivateBack<'a, T> {
    gates: &'a mut [T],
    sums_gradient: &'a mut [T],
    hidden_gradient: &'a [T],
    activation: Activation,
}

impl<T: Real> Kernel for ActivateBack<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.hidden_gradient.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let (h, mut d) =
                (load(&self.gates[first..], lanes), load(&self.hidden_gradient[first..], lanes));
            for lane in 0..LANES {
                let slope = match self.activation {
                    Activation::Tanh => T::ONE - h[lane] * h[lane],
                    Activation::Relu => {
                        if h[lane] > T::ZERO {
                            T::ONE
                        } else {
                            T::ZERO
                        }
                    }
                };
                d[lane] = d[lane] * slope;
            }
            store(&mut self.gates[first..], &d, lanes);
            store(&mut self.sums_gradient[first..], &d, lanes);
        }
    }
}
