//! The LSTM cell.

use super::backward::StepBack;
use super::block::{BackwardBlock, ForwardBlock};
use super::forward::Step;
use super::product::Product;
use super::{Inputs, limits, steps};
use crate::flex::Real;
use crate::flex::lanes::{LANES, load, store};
use crate::flex::matrix::Matrix;
use crate::flex::simd::{self, Kernel};
use crate::recurrent::LstmOptions;

pub(super) struct Forward<'a, T> {
    recurrent: Product<'a, T>,
    projection: Option<Product<'a, T>>,
    bias: Vec<T>,
    options: LstmOptions,
}

impl<'a, T: Real> Forward<'a, T> {
    pub(super) fn new<'m>(
        inputs: &Inputs<'m, T>,
        options: LstmOptions,
        product: impl Fn(Matrix<'m, T>) -> Product<'a, T>,
    ) -> Self {
        Self {
            recurrent: product(inputs.weight_hidden()),
            projection: inputs.projection().map(product),
            bias: inputs.bias(),
            options,
        }
    }
}

impl<T: Real> Step<T> for Forward<'_, T> {
    fn step(&self, block: &mut ForwardBlock<T>, active: usize, at: usize) {
        let ForwardBlock { rows, hidden, sums, scratch, d_hidden: width } = block;
        self.recurrent.assign(active, (hidden, 0), (sums, 0));
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(Gates {
                gates: &mut row.gates[at * 4 * *width..][..4 * *width],
                sums: sums.row(index),
                bias: &self.bias,
                memory: row.memory,
                shown: match self.projection {
                    Some(_) => scratch.row_mut(index),
                    None => hidden.row_mut(index),
                },
                limits: limits(self.options.cell_clip),
            });
            if !row.extra.is_empty() {
                row.extra[at * *width..][..*width].copy_from_slice(row.memory);
            }
        }
        if let Some(projection) = &self.projection {
            projection.assign(active, (scratch, 0), (hidden, 0));
        }
        if self.options.projection_clip.is_some() {
            let (low, high) = limits(self.options.projection_clip);
            for index in 0..active {
                for value in hidden.row_mut(index) {
                    *value = clip(*value, (low, high));
                }
            }
        }
    }
}

/// A number kept within limits; NaN goes through.
#[inline(always)]
fn clip<T: Real>(value: T, (low, high): (T, T)) -> T {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

/// A gradient, or zero where `value`, not clipped yet, is beyond the limits. At a limit the gradient passes.
#[inline(always)]
fn unless_beyond<T: Real>(gradient: T, value: T, (low, high): (T, T)) -> T {
    if value < low || value > high { T::ZERO } else { gradient }
}

/// One step of one row: from sums to gates, to the next memory and what it shows, all in place.
struct Gates<'a, T> {
    gates: &'a mut [T],
    sums: &'a [T],
    bias: &'a [T],
    memory: &'a mut [T],
    shown: &'a mut [T],
    limits: (T, T),
}

impl<T: Real> Kernel for Gates<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.memory.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let [mut i, mut f, mut g, mut o] = std::array::from_fn(|gate| {
                let at = gate * width + first;
                let mut sum = load(&self.gates[at..], lanes);
                let (recurrent, bias) =
                    (load(&self.sums[at..], lanes), load(&self.bias[at..], lanes));
                for lane in 0..LANES {
                    sum[lane] = sum[lane] + recurrent[lane] + bias[lane];
                }
                sum
            });
            let mut c = load(&self.memory[first..], lanes);
            let mut shown = [T::ZERO; LANES];
            for lane in 0..LANES {
                i[lane] = i[lane].sigmoid::<FMA>();
                f[lane] = f[lane].sigmoid::<FMA>();
                g[lane] = g[lane].tanh::<FMA>();
                o[lane] = o[lane].sigmoid::<FMA>();
                c[lane] = f[lane].mul_add::<FMA>(c[lane], i[lane] * g[lane]);
                c[lane] = clip(c[lane], self.limits);
                shown[lane] = o[lane] * c[lane].tanh::<FMA>();
            }
            for (gate, values) in [i, f, g, o].iter().enumerate() {
                store(&mut self.gates[gate * width + first..], values, lanes);
            }
            store(&mut self.memory[first..], &c, lanes);
            store(&mut self.shown[first..], &shown, lanes);
        }
    }
}

pub(super) struct Backward<T: 'static> {
    recurrent: Product<'static, T>,
    projection: Option<Product<'static, T>>,
    options: LstmOptions,
}

impl<T: Real> Backward<T> {
    pub(super) fn new(inputs: &Inputs<T>, options: LstmOptions) -> Self {
        let transposed = |matrix: Matrix<T>| Product::packed(matrix.transposed());
        let projection = inputs.projection().map(transposed);
        let recurrent = transposed(inputs.weight_hidden());
        Self { recurrent, projection, options }
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
        if self.options.projection_clip.is_some() {
            let (low, high) = limits(self.options.projection_clip);
            for (index, row) in rows[..active].iter().enumerate() {
                for (gradient, output) in
                    hidden_gradient.row_mut(index).iter_mut().zip(row.output(at))
                {
                    // What it was before it was clipped is not saved: at a limit it was most likely beyond it.
                    let was_clipped = *output <= low || *output >= high;
                    *gradient = if was_clipped { T::ZERO } else { *gradient };
                }
            }
        }
        if let Some(projection) = &self.projection {
            for (index, row) in rows[..active].iter_mut().enumerate() {
                let gradient = hidden_gradient.row(index);
                row.projected_gradient[at * gradient.len()..][..gradient.len()]
                    .copy_from_slice(gradient);
            }
            projection.assign(active, (hidden_gradient, 0), (scratch, 0));
        }
        for (index, row) in rows[..active].iter_mut().enumerate() {
            simd::run(GatesBack {
                gates: &mut row.gates[at * 4 * *width..][..4 * *width],
                sums_gradient: sums_gradient.row_mut(index),
                memory: &row.extra[at * *width..][..*width],
                memory_before: steps::before(row.extra, row.memory, (at, row.length), *direction),
                shown: match self.projection {
                    Some(_) => scratch.row_mut(index),
                    None => hidden_gradient.row_mut(index),
                },
                memory_gradient: row.memory_gradient,
                limits: limits(self.options.cell_clip),
            });
            if self.projection.is_some() {
                // No step that is still to come reads this memory: its place takes what was projected.
                row.extra[at * *width..][..*width].copy_from_slice(scratch.row(index));
            }
        }
        self.recurrent.assign(active, (sums_gradient, 0), (hidden_gradient, 0));
    }
}

/// One step of one row, backwards. Reads the gates and writes their gradient in their place and to
/// `sums_gradient`; `shown` is the gradient of `o ⊙ tanh(c)` and becomes its value.
struct GatesBack<'a, T> {
    gates: &'a mut [T],
    sums_gradient: &'a mut [T],
    memory: &'a [T],
    memory_before: &'a [T],
    shown: &'a mut [T],
    memory_gradient: &'a mut [T],
    limits: (T, T),
}

impl<T: Real> Kernel for GatesBack<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.memory.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let [mut i, mut f, mut g, mut o] =
                std::array::from_fn(|gate| load(&self.gates[gate * width + first..], lanes));
            let (c, before) =
                (load(&self.memory[first..], lanes), load(&self.memory_before[first..], lanes));
            let (mut shown, mut d_c) =
                (load(&self.shown[first..], lanes), load(&self.memory_gradient[first..], lanes));
            for lane in 0..LANES {
                let tanh_c = c[lane].tanh::<FMA>();
                let d_shown = shown[lane];
                let d_cell = d_c[lane] + d_shown * o[lane] * (T::ONE - tanh_c * tanh_c);
                // A memory that stays at its limit, because nothing is forgotten, was not clipped there.
                let unclipped = f[lane].mul_add::<FMA>(before[lane], i[lane] * g[lane]);
                let d_cell = unless_beyond(d_cell, unclipped, self.limits);
                let (d_i, d_f, d_g, d_o) =
                    (d_cell * g[lane], d_cell * before[lane], d_cell * i[lane], d_shown * tanh_c);
                d_c[lane] = d_cell * f[lane];
                shown[lane] = o[lane] * tanh_c;
                i[lane] = d_i * i[lane] * (T::ONE - i[lane]);
                f[lane] = d_f * f[lane] * (T::ONE - f[lane]);
                g[lane] = d_g * (T::ONE - g[lane] * g[lane]);
                o[lane] = d_o * o[lane] * (T::ONE - o[lane]);
            }
            for (gate, values) in [i, f, g, o].iter().enumerate() {
                store(&mut self.gates[gate * width + first..], values, lanes);
                store(&mut self.sums_gradient[gate * width + first..], values, lanes);
            }
            store(&mut self.shown[first..], &shown, lanes);
            store(&mut self.memory_gradient[first..], &d_c, lanes);
        }
    }
}
