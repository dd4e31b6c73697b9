//! The logistic loss and its gradient, for many scores at once.

use crate::simd::{LANES, Lanes, mul_add};

/// Turns scores `s` with signs `y` into what each row changes by, the learning rate times `y σ(-y s)`, and gives the sum of
/// the losses `-ln σ(y s)`.
#[inline(always)]
pub(super) fn gradients<const FMA: bool>(
    scores: &mut [f32],
    signs: &[f32],
    learning_rate: f32,
) -> f32 {
    let mut losses = Lanes::ZERO;
    for (scores, signs) in scores.chunks_exact_mut(LANES).zip(signs.chunks_exact(LANES)) {
        for lane in 0..LANES {
            let (sign, right) = (signs[lane], signs[lane] * scores[lane]);
            let small = exp::<FMA>(-right.abs());
            let wrong = if right > 0.0 { small } else { 1.0 } / (1.0 + small);
            let loss = ln_1p::<FMA>(small) + (-right).max(0.0);
            // A sign of 0 fills up.
            losses.0[lane] += loss * sign.abs();
            scores[lane] = learning_rate * sign * wrong;
        }
    }
    losses.0.iter().sum()
}

/// `e^x` for `x` up to 0.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Adding 1.5 · 2²³ leaves the whole part in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let shifted = mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = mul_add::<FMA>(whole, -0.693_359_4, x);
    let rest = mul_add::<FMA>(whole, 2.121_944_4e-4, rest);
    let mut sum = 1.0 / 5040.0;
    for term in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = mul_add::<FMA>(sum, rest, term);
    }
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) << 23;
    f32::from_bits(sum.to_bits().wrapping_add(exponent))
}

/// `ln(1 + x)` for `x` from 0 to 1: twice the inverse hyperbolic tangent of `x / (2 + x)`.
#[inline(always)]
pub(super) fn ln_1p<const FMA: bool>(x: f32) -> f32 {
    let ratio = x / (2.0 + x);
    let square = ratio * ratio;
    let mut sum = 1.0 / 15.0;
    for term in [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0] {
        sum = mul_add::<FMA>(sum, square, term);
    }
    2.0 * ratio * sum
}
