//! The GRU whose reset gate acts on the state before the product, as in Cho and others (2014).

use super::backward::StepBack;
use super::block::{BackwardBlock, ForwardBlock};
use super::forward::Step;
use super::product::Product;
use super::steps::before;
use super::{Inputs, update_sign};
use crate::flex::Real;
use crate::flex::lanes::{LANES, load, store};
use crate::flex::matrix::Matrix;
use crate::flex::simd::{self, Kernel};
use crate::recurrent::UpdateGate;

pub(super) struct Forward<'a, T> {
    /// U of the reset and the update gate.
    gates: Product<'a, T>,
    /// U of the new state.
    new: Product<'a, T>,
    bias: Vec<T>,
    sign: T,
}

impl<'a, T: Real> Forward<'a, T> {
    pub(super) fn new<'m>(
        inputs: &Inputs<'m, T>,
        update: UpdateGate,
        product: impl Fn(Matrix<'m, T>) -> Product<'a, T>,
    ) -> Self {
        let (matrix, gates) = (inputs.weight_hidden(), 2 * inputs.d_hidden);
        Self {
            gates: product(matrix.columns(0..gates)),
            new: product(matrix.columns(gates..matrix.columns)),
            bias: inputs.bias(),
            sign: update_sign(update),
        }
    }
}

impl<T: Real> Step<T> for Forward<'_, T> {
    fn step(&self, block: &mut ForwardBlock<T>, active: usize, at: usize) {
        let ForwardBlock { rows, hidden, sums, scratch, d_hidden: width } = block;
        let width = *width;
        self.gates.assign(active, (hidden, 0), (sums, 0));
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(Reset {
                gates: &mut row.gates[at * 3 * width..][..2 * width],
                sums: sums.row(index),
                bias: &self.bias,
                hidden: hidden.row(index),
                kept: scratch.row_mut(index),
                sign: self.sign,
            });
            row.save_extra(at, scratch.row(index));
        }
        self.new.assign(active, (scratch, 0), (sums, 2 * width));
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(Update {
                gates: &mut row.gates[(at * 3 + 1) * width..][..2 * width],
                sums: &sums.row(index)[2 * width..],
                bias: &self.bias[2 * width..],
                hidden: hidden.row_mut(index),
            });
        }
    }
}

/// From sums to the reset and the update gate, and to what the reset gate keeps of the state.
struct Reset<'a, T> {
    gates: &'a mut [T],
    sums: &'a [T],
    bias: &'a [T],
    hidden: &'a [T],
    kept: &'a mut [T],
    sign: T,
}

impl<T: Real> Kernel for Reset<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.hidden.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let [mut r, mut z] = std::array::from_fn(|gate| {
                let at = gate * width + first;
                let mut sum = load(&self.gates[at..], lanes);
                let (recurrent, bias) =
                    (load(&self.sums[at..], lanes), load(&self.bias[at..], lanes));
                for lane in 0..LANES {
                    sum[lane] = sum[lane] + recurrent[lane] + bias[lane];
                }
                sum
            });
            let mut kept = load(&self.hidden[first..], lanes);
            for lane in 0..LANES {
                r[lane] = r[lane].sigmoid::<FMA>();
                z[lane] = (self.sign * z[lane]).sigmoid::<FMA>();
                kept[lane] = r[lane] * kept[lane];
            }
            store(&mut self.gates[first..], &r, lanes);
            store(&mut self.gates[width + first..], &z, lanes);
            store(&mut self.kept[first..], &kept, lanes);
        }
    }
}

/// From the update gate and the sum of the new state, side by side in `gates`, to the next state.
struct Update<'a, T> {
    gates: &'a mut [T],
    sums: &'a [T],
    bias: &'a [T],
    hidden: &'a mut [T],
}

impl<T: Real> Kernel for Update<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.hidden.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let [z, mut n] =
                std::array::from_fn(|gate| load(&self.gates[gate * width + first..], lanes));
            let (sums, bias) = (load(&self.sums[first..], lanes), load(&self.bias[first..], lanes));
            let mut h = load(&self.hidden[first..], lanes);
            for lane in 0..LANES {
                n[lane] = (n[lane] + sums[lane] + bias[lane]).tanh::<FMA>();
                h[lane] = z[lane].mul_add::<FMA>(h[lane] - n[lane], n[lane]);
            }
            store(&mut self.gates[width + first..], &n, lanes);
            store(&mut self.hidden[first..], &h, lanes);
        }
    }
}

pub(super) struct Backward<T: 'static> {
    gates: Product<'static, T>,
    new: Product<'static, T>,
    sign: T,
}

impl<T: Real> Backward<T> {
    pub(super) fn new(inputs: &Inputs<T>, update: UpdateGate) -> Self {
        let (matrix, gates) = (inputs.weight_hidden(), 2 * inputs.d_hidden);
        Self {
            gates: Product::packed(matrix.columns(0..gates).transposed()),
            new: Product::packed(matrix.columns(gates..matrix.columns).transposed()),
            sign: update_sign(update),
        }
    }
}

impl<T: Real> StepBack<T> for Backward<T> {
    fn step_back(&self, block: &mut BackwardBlock<T>, active: usize, at: usize) {
        let BackwardBlock {
            rows,
            direction,
            d_hidden: width,
            hidden_gradient,
            sums_gradient,
            scratch,
        } = block;
        let (width, direction) = (*width, *direction);
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(UpdateBack {
                gates: &mut row.gates[(at * 3 + 1) * width..][..2 * width],
                before: before(row.outputs, row.hidden, (at, row.length), direction),
                sums_gradient: &mut sums_gradient.row_mut(index)[width..],
                hidden_gradient: hidden_gradient.row_mut(index),
                sign: self.sign,
            });
        }
        self.new.assign(active, (sums_gradient, 2 * width), (scratch, 0));
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(ResetBack {
                gates: &mut row.gates[at * 3 * width..][..width],
                before: before(row.outputs, row.hidden, (at, row.length), direction),
                kept_gradient: scratch.row(index),
                sums_gradient: &mut sums_gradient.row_mut(index)[..width],
                hidden_gradient: hidden_gradient.row_mut(index),
            });
        }
        self.gates.add(active, (sums_gradient, 0), (hidden_gradient, 0));
    }
}

/// From the gradient of the state to those of the update gate and the new state, side by side in `gates`
/// and `sums_gradient`; what passes the update gate stays in `hidden_gradient`.
struct UpdateBack<'a, T> {
    gates: &'a mut [T],
    before: &'a [T],
    sums_gradient: &'a mut [T],
    hidden_gradient: &'a mut [T],
    sign: T,
}

impl<T: Real> Kernel for UpdateBack<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.before.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let [mut z, mut n] =
                std::array::from_fn(|gate| load(&self.gates[gate * width + first..], lanes));
            let (before, mut d) =
                (load(&self.before[first..], lanes), load(&self.hidden_gradient[first..], lanes));
            for lane in 0..LANES {
                let d_z = d[lane] * (before[lane] - n[lane]);
                let d_n = d[lane] * (T::ONE - z[lane]);
                d[lane] = d[lane] * z[lane];
                n[lane] = d_n * (T::ONE - n[lane] * n[lane]);
                z[lane] = self.sign * d_z * z[lane] * (T::ONE - z[lane]);
            }
            for (gate, values) in [z, n].iter().enumerate() {
                store(&mut self.gates[gate * width + first..], values, lanes);
                store(&mut self.sums_gradient[gate * width + first..], values, lanes);
            }
            store(&mut self.hidden_gradient[first..], &d, lanes);
        }
    }
}

/// From the gradient of what the reset gate kept to its own; the state's share is added to `hidden_gradient`.
struct ResetBack<'a, T> {
    gates: &'a mut [T],
    before: &'a [T],
    kept_gradient: &'a [T],
    sums_gradient: &'a mut [T],
    hidden_gradient: &'a mut [T],
}

impl<T: Real> Kernel for ResetBack<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.before.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let (mut r, before) =
                (load(&self.gates[first..], lanes), load(&self.before[first..], lanes));
            let (kept_gradient, mut d) = (
                load(&self.kept_gradient[first..], lanes),
                load(&self.hidden_gradient[first..], lanes),
            );
            for lane in 0..LANES {
                d[lane] = kept_gradient[lane].mul_add::<FMA>(r[lane], d[lane]);
                r[lane] = kept_gradient[lane] * before[lane] * r[lane] * (T::ONE - r[lane]);
            }
            store(&mut self.gates[first..], &r, lanes);
            store(&mut self.sums_gradient[first..], &r, lanes);
            store(&mut self.hidden_gradient[first..], &d, lanes);
        }
    }
}
