//! The GRU whose reset gate acts after the product with the state, as in torch.

use super::backward::StepBack;
use super::block::{BackwardBlock, ForwardBlock};
use super::forward::Step;
use super::product::Product;
use super::steps::before;
use super::{Inputs, update_sign};
use crate::flex::Real;
use crate::flex::lanes::{LANES, load, store};
use crate::flex::simd::{self, Kernel};
use crate::recurrent::UpdateGate;

pub(super) struct Forward<'a, T> {
    recurrent: Product<'a, T>,
    /// Both biases of the gates, and that of the input for the new state.
    bias: Vec<T>,
    /// The bias that the reset gate acts on.
    bias_new: &'a [T],
    sign: T,
}

impl<'a, T: Real> Forward<'a, T> {
    pub(super) fn new(inputs: &Inputs<'a, T>, update: UpdateGate) -> Self {
        let new = 2 * inputs.d_hidden;
        let mut bias = inputs.bias();
        bias[new..].copy_from_slice(&inputs.bias_input[new..]);
        Self {
            recurrent: Product::new(inputs.weight_hidden(), inputs.seq_length),
            bias,
            bias_new: &inputs.bias_hidden[new..],
            sign: update_sign(update),
        }
    }
}

impl<T: Real> Step<T> for Forward<'_, T> {
    fn step(&self, block: &mut ForwardBlock<T>, active: usize, at: usize) {
        let ForwardBlock { rows, hidden, sums, d_hidden: width, .. } = block;
        self.recurrent.assign(active, (hidden, 0), (sums, 0));
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(Gates {
                gates: &mut row.gates[at * 3 * *width..][..3 * *width],
                sums: sums.row_mut(index),
                bias: &self.bias,
                bias_new: self.bias_new,
                hidden: hidden.row_mut(index),
                sign: self.sign,
            });
            row.save_extra(at, &sums.row(index)[2 * *width..]);
        }
    }
}

/// One step of one row: from sums to gates and to the next state, in place. Leaves in the last third of `sums`
/// what the reset gate acts on.
struct Gates<'a, T> {
    gates: &'a mut [T],
    sums: &'a mut [T],
    bias: &'a [T],
    bias_new: &'a [T],
    hidden: &'a mut [T],
    sign: T,
}

impl<T: Real> Kernel for Gates<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.hidden.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let [mut r, mut z, mut n] = std::array::from_fn(|gate| {
                let at = gate * width + first;
                let mut sum = load(&self.gates[at..], lanes);
                let bias = load(&self.bias[at..], lanes);
                for lane in 0..LANES {
                    sum[lane] += bias[lane];
                }
                sum
            });
            let [r_sum, z_sum, mut n_sum] =
                std::array::from_fn(|gate| load(&self.sums[gate * width + first..], lanes));
            let bias_new = load(&self.bias_new[first..], lanes);
            let mut h = load(&self.hidden[first..], lanes);
            for lane in 0..LANES {
                n_sum[lane] += bias_new[lane];
                r[lane] = (r[lane] + r_sum[lane]).sigmoid::<FMA>();
                z[lane] = (self.sign * (z[lane] + z_sum[lane])).sigmoid::<FMA>();
                n[lane] = r[lane].mul_add::<FMA>(n_sum[lane], n[lane]).tanh::<FMA>();
                h[lane] = z[lane].mul_add::<FMA>(h[lane] - n[lane], n[lane]);
            }
            for (gate, values) in [r, z, n].iter().enumerate() {
                store(&mut self.gates[gate * width + first..], values, lanes);
            }
            store(&mut self.sums[2 * width + first..], &n_sum, lanes);
            store(&mut self.hidden[first..], &h, lanes);
        }
    }
}

pub(super) struct Backward<T: 'static> {
    recurrent: Product<'static, T>,
    sign: T,
}

impl<T: Real> Backward<T> {
    pub(super) fn new(inputs: &Inputs<T>, update: UpdateGate) -> Self {
        let transposed = inputs.weight_hidden().transposed();
        Self { recurrent: Product::packed(transposed), sign: update_sign(update) }
    }
}

impl<T: Real> StepBack<T> for Backward<T> {
    fn step_back(&self, block: &mut BackwardBlock<T>, active: usize, at: usize) {
        let BackwardBlock {
            rows, direction, d_hidden: width, hidden_gradient, sums_gradient, ..
        } = block;
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(GatesBack {
                gates: &mut row.gates[at * 3 * *width..][..3 * *width],
                extra: &mut row.extra[at * *width..][..*width],
                before: before(row.outputs, row.hidden, (at, row.length), *direction),
                sums_gradient: sums_gradient.row_mut(index),
                hidden_gradient: hidden_gradient.row_mut(index),
                sign: self.sign,
            });
        }
        self.recurrent.add(active, (sums_gradient, 0), (hidden_gradient, 0));
    }
}

/// One step of one row, backwards. The gates become their gradients, `extra` that of what the reset gate
/// acts on, and `hidden_gradient` what passes the update gate.
struct GatesBack<'a, T> {
    gates: &'a mut [T],
    extra: &'a mut [T],
    before: &'a [T],
    sums_gradient: &'a mut [T],
    hidden_gradient: &'a mut [T],
    sign: T,
}

impl<T: Real> Kernel for GatesBack<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.before.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let [mut r, mut z, mut n] =
                std::array::from_fn(|gate| load(&self.gates[gate * width + first..], lanes));
            let mut reset = load(&self.extra[first..], lanes);
            let before = load(&self.before[first..], lanes);
            let mut d = load(&self.hidden_gradient[first..], lanes);
            for lane in 0..LANES {
                let d_z = d[lane] * (before[lane] - n[lane]);
                let d_n = d[lane] * (T::ONE - z[lane]) * (T::ONE - n[lane] * n[lane]);
                let d_r = d_n * reset[lane];
                d[lane] = d[lane] * z[lane];
                reset[lane] = d_n * r[lane];
                n[lane] = d_n;
                r[lane] = d_r * r[lane] * (T::ONE - r[lane]);
                z[lane] = self.sign * d_z * z[lane] * (T::ONE - z[lane]);
            }
            for (gate, values) in [r, z, n].iter().enumerate() {
                store(&mut self.gates[gate * width + first..], values, lanes);
            }
            for (gate, values) in [r, z, reset].iter().enumerate() {
                store(&mut self.sums_gradient[gate * width + first..], values, lanes);
            }
            store(&mut self.extra[first..], &reset, lanes);
            store(&mut self.hidden_gradient[first..], &d, lanes);
        }
    }
}
