//! What turns scores into log-probabilities, on the host.

/// `log Σ exp(score)`; `None` if a score is no number or +∞, or all are -∞.
pub(crate) fn log_sum_exp(scores: &[f32]) -> Option<f64> {
    let highest = highest(scores);
    // Both NaN and an infinite highest score make the sum NaN.
    let sum: f64 = scores.iter().map(|score| f64::from((score - highest).exp())).sum();
    let result = f64::from(highest) + sum.ln();
    result.is_finite().then_some(result)
}

/// The highest of the scores that are numbers, in lanes, which a processor compares at once.
fn highest(scores: &[f32]) -> f32 {
    let higher = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = scores.chunks_exact(lanes.len());
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *lane = higher(*lane, *score);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, higher)
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
    fn scores_that_are_no_numbers_have_no_sum() {
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        for scores in [&[0.0, nan][..], &[nan, nan], &[infinity, 0.0], &[-infinity, -infinity], &[]]
        {
            assert_eq!(log_sum_exp(scores), None, "{scores:?}");
        }
    }
}
