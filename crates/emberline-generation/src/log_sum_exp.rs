//! What turns scores into log-probabilities, on the host. A step of beam search asks for it over whole vocabularies, so
//! all is written in lanes, which a processor takes at once.

/// A processor's register or two.
const N_LANES: usize = 16;

/// `log Σ exp(score)`; `None` if a score is no number or +∞, or all are -∞.
pub(crate) fn log_sum_exp(scores: &[f32]) -> Option<f64> {
    let highest = highest(scores);
    // So few at a time that the sum of a lane hardly rounds. Both NaN and an infinite highest score make it NaN.
    let sums = scores.chunks(64 * N_LANES).map(|scores| sum_exp(scores, highest));
    let result = f64::from(highest) + sums.sum::<f64>().ln();
    result.is_finite().then_some(result)
}

/// The highest of the scores that are numbers.
fn highest(scores: &[f32]) -> f32 {
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; N_LANES];
    let chunks = scores.chunks_exact(N_LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *lane = higher(*lane, *score);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, higher)
}

/// `Σ exp(score - highest)`.
fn sum_exp(scores: &[f32], highest: f32) -> f64 {
    let mut lanes = [0.0f32; N_LANES];
    let chunks = scores.chunks_exact(N_LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *lane += exp(score - highest);
        }
    }
    let rest = rest.iter().map(|score| exp(score - highest));
    lanes.into_iter().chain(rest).map(f64::from).sum()
}

/// `e^x` of numbers that are not above 0: `x = n ln 2 + r` with `|r| ≤ ln 2 / 2`, `2^n` by its exponent bits and `e^r`
/// by the polynomial of Cephes (`expf.c`), without a branch. NaN stays NaN.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 · 2²³ leaves the nearest whole number in the low bits of the sum.
    const ROUNDER: f32 = 12_582_912.0;

    // Written so that a NaN goes through.
    let x = if x < LOWEST { LOWEST } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + coefficient;
    }
    let p = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_sum_is_that_of_the_whole_row() {
        let scores: Vec<f32> = (1..=20).map(|odds| (odds as f32).ln()).collect();
        assert!((log_sum_exp(&scores).unwrap() - 210f64.ln()).abs() < 1e-6);
        let large: Vec<f32> = scores.iter().map(|score| score + 1e4).collect();
        assert!((log_sum_exp(&large).unwrap() - 1e4 - 210f64.ln()).abs() < 1e-2);
    }

    #[test]
    fn the_power_is_exact_to_the_last_digits_of_a_float() {
        for step in 0..=8600 {
            let x = step as f32 / -100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.4e-7, "exp({x})");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_sum_is_that_of_any_number_of_scores() {
        for count in [1usize, 15, 16, 17, 1023, 1025, 50_000] {
            let scores = vec![-3.0; count];
            let expected = (count as f64).ln() - 3.0;
            assert!((log_sum_exp(&scores).unwrap() - expected).abs() < 1e-6, "{count}");
        }
    }

    #[test]
    fn scores_that_are_no_numbers_have_no_sum() {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        for scores in [&[0.0, nan][..], &[nan, nan], &[infinity, 0.0], &[-infinity, -infinity], &[]]
        {
            assert_eq!(log_sum_exp(scores), None, "{scores:?}");
        }
    }
}
