//! The native body on Flex: forward and backward over slices.
//!
//! Rows of a batch do not see each other, so each thread takes a block of rows through the whole
//! sequence without ever waiting for another. Its state, and with the packed matrix its share of every
//! product, stay in the cache of its core. Only the products over all steps are shared.

use rayon::prelude::*;

use crate::flex::Real;
use crate::flex::matrix::Matrix;
use crate::flex::packed::{Packed, multiply_add_unpacked};
use crate::flex::simd::{self, Kernel};

/// The numbers that a kernel handles at once: one register of the widest instruction set.
const LANES: usize = 16;
/// From this many steps on a packed matrix is worth its copy.
const STEPS_WORTH_PACKING: usize = 4;
/// Added to the rows of small buffers, so that rows whose length is a power of two do not all fall
/// on the same few lines of the cache.
const PADDING: usize = 16;

/// Everything but the bias, as contiguous slices in the shapes of [`lstm`](super::lstm).
pub(super) struct Inputs<'a, T> {
    pub(super) batch_size: usize,
    pub(super) seq_length: usize,
    pub(super) d_input: usize,
    pub(super) d_hidden: usize,
    pub(super) input: &'a [T],
    pub(super) hidden: &'a [T],
    pub(super) cell: &'a [T],
    pub(super) weight_input: &'a [T],
    pub(super) weight_hidden: &'a [T],
    pub(super) lengths: Option<&'a [usize]>,
}

/// What the backward pass needs of the forward pass.
#[derive(Default)]
pub(super) struct Saved<T> {
    /// The gates of every step, after their activation, `[batch_size, seq_length, 4 · d_hidden]`.
    pub(super) gates: Vec<T>,
    /// The cells, `[batch_size, seq_length, d_hidden]`.
    pub(super) cells: Vec<T>,
}

/// The gradients; that of the input is empty when it was not asked for.
pub(super) struct Found<T> {
    pub(super) input: Vec<T>,
    pub(super) hidden: Vec<T>,
    pub(super) cell: Vec<T>,
    pub(super) weight_input: Vec<T>,
    pub(super) weight_hidden: Vec<T>,
    pub(super) bias: Vec<T>,
}

impl<T: Real> Inputs<'_, T> {
    /// Rows of a batch for each thread. Rows are independent: this changes no bit.
    fn rows_per_block(&self) -> usize {
        self.batch_size.div_ceil(rayon::current_num_threads()).max(1)
    }

    fn length(&self, row: usize) -> usize {
        self.lengths.map_or(self.seq_length, |lengths| lengths[row])
    }
}

/// Outputs, final hidden state and final cell state, one after the other.
pub(super) fn forward<T: Real>(
    inputs: &Inputs<T>,
    bias: &[T],
    saved: Option<&mut Saved<T>>,
) -> Vec<T> {
    let Inputs { batch_size, seq_length, d_input, d_hidden, .. } = *inputs;
    let mut gates = Packed::new(Matrix::new(inputs.weight_input, d_input, 4 * d_hidden))
        .multiply(Matrix::new(inputs.input, batch_size * seq_length, d_input));
    let mut flat = vec![T::ZERO; batch_size * (seq_length + 2) * d_hidden];
    let mut cells =
        vec![T::ZERO; if saved.is_some() { batch_size * seq_length * d_hidden } else { 0 }];

    let weight_hidden = Matrix::new(inputs.weight_hidden, d_hidden, 4 * d_hidden);
    let packed = (seq_length >= STEPS_WORTH_PACKING).then(|| Packed::new(weight_hidden));
    let recur = |rows: usize, hidden: &[T], hidden_stride: usize, gates: &mut [T]| {
        let gates_stride = seq_length * 4 * d_hidden;
        match &packed {
            Some(packed) => packed.multiply_add(rows, hidden, hidden_stride, gates, gates_stride),
            None => multiply_add_unpacked(
                weight_hidden,
                rows,
                hidden,
                hidden_stride,
                gates,
                gates_stride,
            ),
        }
    };

    let rows = inputs.rows_per_block();
    let (outputs, finals) = flat.split_at_mut(batch_size * seq_length * d_hidden);
    let (final_hidden, final_cell) = finals.split_at_mut(batch_size * d_hidden);
    let mut kept = cells.chunks_mut(rows * seq_length * d_hidden);
    let blocks: Vec<_> = gates
        .chunks_mut(rows * seq_length * 4 * d_hidden)
        .zip(outputs.chunks_mut(rows * seq_length * d_hidden))
        .zip(final_hidden.chunks_mut(rows * d_hidden))
        .zip(final_cell.chunks_mut(rows * d_hidden))
        .map(|(((gates, outputs), hidden), cell)| (gates, outputs, hidden, cell, kept.next()))
        .collect();
    blocks.into_par_iter().enumerate().for_each(
        |(block, (gates, outputs, hidden, cell, mut kept))| {
            let first = block * rows;
            let rows = hidden.len() / d_hidden;
            let hidden_stride = d_hidden + PADDING;
            let mut state = vec![T::ZERO; rows * hidden_stride];
            for (row, state) in state.chunks_exact_mut(hidden_stride).enumerate() {
                state[..d_hidden]
                    .copy_from_slice(&inputs.hidden[(first + row) * d_hidden..][..d_hidden]);
            }
            cell.copy_from_slice(&inputs.cell[first * d_hidden..][..rows * d_hidden]);
            for step in 0..seq_length {
                recur(rows, &state, hidden_stride, &mut gates[step * 4 * d_hidden..]);
                for row in 0..rows {
                    if step >= inputs.length(first + row) {
                        continue;
                    }
                    let at = row * seq_length + step;
                    simd::run(Step {
                        gates: &mut gates[at * 4 * d_hidden..][..4 * d_hidden],
                        bias,
                        cell: &mut cell[row * d_hidden..][..d_hidden],
                        hidden: &mut state[row * hidden_stride..][..d_hidden],
                    });
                    outputs[at * d_hidden..][..d_hidden]
                        .copy_from_slice(&state[row * hidden_stride..][..d_hidden]);
                    if let Some(kept) = &mut kept {
                        kept[at * d_hidden..][..d_hidden]
                            .copy_from_slice(&cell[row * d_hidden..][..d_hidden]);
                    }
                }
            }
            for (row, hidden) in hidden.chunks_exact_mut(d_hidden).enumerate() {
                hidden.copy_from_slice(&state[row * hidden_stride..][..d_hidden]);
            }
        },
    );
    if let Some(saved) = saved {
        *saved = Saved { gates, cells };
    }
    flat
}

/// One step of one row: from sums to gates, to the next cell and hidden state, all in place.
struct Step<'a, T> {
    gates: &'a mut [T],
    bias: &'a [T],
    cell: &'a mut [T],
    hidden: &'a mut [T],
}

impl<T: Real> Kernel for Step<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let d_hidden = self.cell.len();
        for first in (0..d_hidden).step_by(LANES) {
            let lanes = LANES.min(d_hidden - first);
            let [mut i, mut f, mut g, mut o] = std::array::from_fn(|gate| {
                let at = gate * d_hidden + first;
                let (mut sum, bias) =
                    (load(&self.gates[at..], lanes), load(&self.bias[at..], lanes));
                for lane in 0..LANES {
                    sum[lane] += bias[lane];
                }
                sum
            });
            let mut c = load(&self.cell[first..], lanes);
            let mut h = [T::ZERO; LANES];
            for lane in 0..LANES {
                i[lane] = i[lane].sigmoid::<FMA>();
                f[lane] = f[lane].sigmoid::<FMA>();
                g[lane] = g[lane].tanh::<FMA>();
                o[lane] = o[lane].sigmoid::<FMA>();
                c[lane] = f[lane].mul_add::<FMA>(c[lane], i[lane] * g[lane]);
                h[lane] = o[lane] * c[lane].tanh::<FMA>();
            }
            for (gate, values) in [i, f, g, o].iter().enumerate() {
                store(&mut self.gates[gate * d_hidden + first..], values, lanes);
            }
            store(&mut self.cell[first..], &c, lanes);
            store(&mut self.hidden[first..], &h, lanes);
        }
    }
}

/// The gradients, given those of [`forward`]'s result. `gates` is overwritten by its own gradient.
pub(super) fn backward<T: Real>(
    inputs: &Inputs<T>,
    flat: &[T],
    gates: &mut [T],
    cells: &[T],
    gradient: &[T],
    input_is_tracked: bool,
) -> Found<T> {
    let Inputs { batch_size, seq_length, d_input, d_hidden, .. } = *inputs;
    let outputs = &flat[..batch_size * seq_length * d_hidden];
    let (d_outputs, d_finals) = gradient.split_at(outputs.len());
    let (d_hidden_final, d_cell_final) = d_finals.split_at(batch_size * d_hidden);
    let mut hidden_gradient = d_hidden_final.to_vec();
    let mut cell_gradient = d_cell_final.to_vec();

    let weight_hidden = Matrix::new(inputs.weight_hidden, d_hidden, 4 * d_hidden);
    let packed = Packed::new(weight_hidden.transposed());
    let rows = inputs.rows_per_block();
    gates
        .par_chunks_mut(rows * seq_length * 4 * d_hidden)
        .zip(hidden_gradient.par_chunks_mut(rows * d_hidden))
        .zip(cell_gradient.par_chunks_mut(rows * d_hidden))
        .enumerate()
        .for_each(|(block, ((gates, d_h), d_c))| {
            let first = block * rows;
            let rows = d_h.len() / d_hidden;
            let stride = 4 * d_hidden + PADDING;
            let mut d_gates = vec![T::ZERO; rows * stride];
            for step in (0..seq_length).rev() {
                for row in 0..rows {
                    let at = (first + row) * seq_length + step;
                    let here =
                        &mut gates[(row * seq_length + step) * 4 * d_hidden..][..4 * d_hidden];
                    if step >= inputs.length(first + row) {
                        here.fill(T::ZERO);
                        continue;
                    }
                    let cell_before = match step {
                        0 => &inputs.cell[(first + row) * d_hidden..][..d_hidden],
                        _ => &cells[(at - 1) * d_hidden..][..d_hidden],
                    };
                    let d_gates = &mut d_gates[row * stride..][..4 * d_hidden];
                    simd::run(StepBackward {
                        gates: here,
                        d_gates,
                        cell: &cells[at * d_hidden..][..d_hidden],
                        cell_before,
                        d_output: &d_outputs[at * d_hidden..][..d_hidden],
                        d_hidden: &mut d_h[row * d_hidden..][..d_hidden],
                        d_cell: &mut d_c[row * d_hidden..][..d_hidden],
                    });
                }
                // A row that has ended still has zeros here, so that its gradient waits unchanged.
                packed.multiply_add(rows, &d_gates, stride, d_h, d_hidden);
            }
        });

    let d_gates = Matrix::new(&*gates, batch_size * seq_length, 4 * d_hidden);
    let before = hidden_before(inputs, outputs);
    let before = Matrix::new(&before, batch_size * seq_length, d_hidden);
    let input = Matrix::new(inputs.input, batch_size * seq_length, d_input);
    let weight_input = Matrix::new(inputs.weight_input, d_input, 4 * d_hidden);
    let packed = Packed::new(d_gates);
    Found {
        weight_input: packed.multiply(input.transposed()),
        weight_hidden: packed.multiply(before.transposed()),
        bias: column_sums(d_gates),
        input: match input_is_tracked {
            true => Packed::new(weight_input.transposed()).multiply(d_gates),
            false => Vec::new(),
        },
        hidden: hidden_gradient,
        cell: cell_gradient,
    }
}

/// One step of one row, backwards. Reads the gates and writes their gradient in their place and to
/// `d_gates`; clears `d_hidden`, for what reaches the step before goes through the gates only.
struct StepBackward<'a, T> {
    gates: &'a mut [T],
    d_gates: &'a mut [T],
    cell: &'a [T],
    cell_before: &'a [T],
    d_output: &'a [T],
    d_hidden: &'a mut [T],
    d_cell: &'a mut [T],
}

impl<T: Real> Kernel for StepBackward<'_, T> {
    #[inline(always)]
    fn body<const FMA: bool>(self) {
        let width = self.cell.len();
        for first in (0..width).step_by(LANES) {
            let lanes = LANES.min(width - first);
            let [mut i, mut f, mut g, mut o] =
                std::array::from_fn(|gate| load(&self.gates[gate * width + first..], lanes));
            let (c, before) =
                (load(&self.cell[first..], lanes), load(&self.cell_before[first..], lanes));
            let (d_output, mut d_h) =
                (load(&self.d_output[first..], lanes), load(&self.d_hidden[first..], lanes));
            let mut d_c = load(&self.d_cell[first..], lanes);
            for lane in 0..LANES {
                let tanh_c = c[lane].tanh::<FMA>();
                let d_hidden = d_output[lane] + d_h[lane];
                let d_cell = d_c[lane] + d_hidden * o[lane] * (T::ONE - tanh_c * tanh_c);
                let (d_i, d_f, d_g, d_o) =
                    (d_cell * g[lane], d_cell * before[lane], d_cell * i[lane], d_hidden * tanh_c);
                d_c[lane] = d_cell * f[lane];
                d_h[lane] = T::ZERO;
                i[lane] = d_i * i[lane] * (T::ONE - i[lane]);
                f[lane] = d_f * f[lane] * (T::ONE - f[lane]);
                g[lane] = d_g * (T::ONE - g[lane] * g[lane]);
                o[lane] = d_o * o[lane] * (T::ONE - o[lane]);
            }
            for (gate, values) in [i, f, g, o].iter().enumerate() {
                store(&mut self.gates[gate * width + first..], values, lanes);
                store(&mut self.d_gates[gate * width + first..], values, lanes);
            }
            store(&mut self.d_hidden[first..], &d_h, lanes);
            store(&mut self.d_cell[first..], &d_c, lanes);
        }
    }
}

/// The hidden state before each step, `[batch_size, seq_length, d_hidden]`.
fn hidden_before<T: Real>(inputs: &Inputs<T>, outputs: &[T]) -> Vec<T> {
    let (width, row_length) = (inputs.d_hidden, inputs.seq_length * inputs.d_hidden);
    let mut before = Vec::with_capacity(outputs.len());
    for (row, outputs) in outputs.chunks_exact(row_length).enumerate() {
        before.extend_from_slice(&inputs.hidden[row * width..][..width]);
        before.extend_from_slice(&outputs[..row_length - width]);
    }
    before
}

/// Sums down the columns: blocks of rows in parallel, then the blocks in order, so that the bits do not
/// depend on the number of threads.
fn column_sums<T: Real>(matrix: Matrix<T>) -> Vec<T> {
    const ROWS: usize = 128;
    let add = |sums: &mut Vec<T>, row: &[T]| {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += *value;
        }
    };
    let blocks: Vec<Vec<T>> = matrix
        .values
        .par_chunks(ROWS * matrix.columns)
        .map(|block| {
            let mut sums = vec![T::ZERO; matrix.columns];
            block.chunks_exact(matrix.columns).for_each(|row| add(&mut sums, row));
            sums
        })
        .collect();
    let mut sums = vec![T::ZERO; matrix.columns];
    blocks.iter().for_each(|block| add(&mut sums, block));
    sums
}

/// The first numbers of a slice as one register; zeros where there are fewer.
#[inline(always)]
fn load<T: Real>(values: &[T], lanes: usize) -> [T; LANES] {
    let mut loaded = [T::ZERO; LANES];
    if lanes == LANES {
        loaded.copy_from_slice(&values[..LANES]);
    } else {
        loaded[..lanes].copy_from_slice(&values[..lanes]);
    }
    loaded
}

/// The inverse of [`load`].
#[inline(always)]
fn store<T: Real>(values: &mut [T], register: &[T; LANES], lanes: usize) {
    if lanes == LANES {
        values[..LANES].copy_from_slice(register);
    } else {
        values[..lanes].copy_from_slice(&register[..lanes]);
    }
}
