//! The two number types of the native kernels.

use burn::tensor::Element;
use bytemuck::Pod;

use super::vector::{Four, Vector};

/// `f32`, which has to be fast, or `f64`, which tests compare gradients in.
///
/// The methods are inlined into kernels that [`simd`](super::simd) compiles once for each instruction
/// set, and must stay free of branches so that the compiler turns their loops into vector code.
/// `FMA` says whether a fused multiply-add is one instruction there; elsewhere it would be a call.
pub(crate) trait Real:
    Element
    + Pod
    + Send
    + Sync
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
    + PartialOrd
{
    /// A register of AVX-512, or of the baseline where the target has none.
    type Avx512: Vector<Element = Self>;
    /// A register of AVX2, or of the baseline where the target has none.
    type Avx2: Vector<Element = Self>;
    /// A register of the baseline.
    type Baseline: Vector<Element = Self>;

    const ZERO: Self;
    const ONE: Self;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;

    /// `self · a + b`.
    fn mul_add<const FMA: bool>(self, a: Self, b: Self) -> Self;

    /// `e^x`, within 2 units in the last place.
    fn exp<const FMA: bool>(self) -> Self;

    /// The square root.
    fn sqrt(self) -> Self;

    /// The natural logarithm, exact and slow.
    fn ln(self) -> Self;

    /// `1 / (1 + e^-x)`, within 2 units in the last place of 1.
    fn sigmoid<const FMA: bool>(self) -> Self;

    /// The hyperbolic tangent, within 2 units in the last place of 1.
    fn tanh<const FMA: bool>(self) -> Self;

    /// The error function, within 3 units in the last place of 1.
    fn erf<const FMA: bool>(self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn exp<const FMA: bool>(self) -> Self {
        exp::<FMA>(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }

    fn ln(self) -> Self {
        f32::ln(self)
    }

    #[cfg(target_arch = "x86_64")]
    type Avx512 = std::arch::x86_64::__m512;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = std::arch::x86_64::__m256;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx512 = Four<f32>;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx2 = Four<f32>;
    type Baseline = Four<f32>;

    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn mul_add<const FMA: bool>(self, a: Self, b: Self) -> Self {
        if FMA { f32::mul_add(self, a, b) } else { self * a + b }
    }

    #[inline(always)]
    fn sigmoid<const FMA: bool>(self) -> Self {
        1.0 / (1.0 + exp::<FMA>(-self))
    }

    #[inline(always)]
    fn tanh<const FMA: bool>(self) -> Self {
        1.0 - 2.0 / (1.0 + exp::<FMA>(2.0 * self))
    }

    #[inline(always)]
    fn erf<const FMA: bool>(self) -> Self {
        erf::<FMA>(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn exp<const FMA: bool>(self) -> Self {
        f64::exp(self)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }

    fn ln(self) -> Self {
        f64::ln(self)
    }

    #[cfg(target_arch = "x86_64")]
    type Avx512 = std::arch::x86_64::__m512d;
    #[cfg(target_arch = "x86_64")]
    type Avx2 = std::arch::x86_64::__m256d;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx512 = Four<f64>;
    #[cfg(not(target_arch = "x86_64"))]
    type Avx2 = Four<f64>;
    type Baseline = Four<f64>;

    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn mul_add<const FMA: bool>(self, a: Self, b: Self) -> Self {
        if FMA { f64::mul_add(self, a, b) } else { self * a + b }
    }

    #[inline(always)]
    fn sigmoid<const FMA: bool>(self) -> Self {
        1.0 / (1.0 + f64::exp(-self))
    }

    #[inline(always)]
    fn tanh<const FMA: bool>(self) -> Self {
        f64::tanh(self)
    }

    #[inline(always)]
    fn erf<const FMA: bool>(self) -> Self {
        libm::erf(self)
    }
}

/// `e^x`: `x = n ln 2 + r` with `|r| ≤ ln 2 / 2`, `2^n` by its exponent bits and `e^r` by the polynomial
/// of Cephes (`expf.c`). The argument is clamped to what a float holds; NaN stays NaN.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    const HIGHEST: f32 = 88.0;
    const LOWEST: f32 = -87.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 · 2²³ leaves the nearest whole number in the low bits of the sum.
    const ROUNDER: f32 = 12_582_912.0;

    // Written so that a NaN fails both comparisons and goes through.
    let x = if x > HIGHEST { HIGHEST } else { x };
    let x = if x < LOWEST { LOWEST } else { x };
    let shifted = Real::mul_add::<FMA>(x, std::f32::consts::LOG2_E, ROUNDER);
    let n = shifted - ROUNDER;
    let r = Real::mul_add::<FMA>(n, -LN_2_HIGH, x);
    let r = Real::mul_add::<FMA>(n, -LN_2_LOW, r);
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = Real::mul_add::<FMA>(p, r, coefficient);
    }
    let p = Real::mul_add::<FMA>(p, r * r, r + 1.0);
    let exponent = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

/// The error function by the rational approximation of Eigen (`generic_fast_erf`), odd in x.
#[inline(always)]
fn erf<const FMA: bool>(x: f32) -> f32 {
    const NUMERATOR: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const DENOMINATOR: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];

    let square = x * x;
    let mut numerator = NUMERATOR[0];
    for coefficient in &NUMERATOR[1..] {
        numerator = Real::mul_add::<FMA>(numerator, square, *coefficient);
    }
    let mut denominator = DENOMINATOR[0];
    for coefficient in &DENOMINATOR[1..] {
        denominator = Real::mul_add::<FMA>(denominator, square, *coefficient);
    }
    let inside = x * numerator / denominator;
    // Beyond, the nearest float is 1. Written so that a NaN fails both comparisons and goes through.
    let below = if x > 4.0 { 1.0 } else { inside };
    if x < -4.0 { -1.0 } else { below }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_functions_are_within_two_units_of_the_exact_ones() {
        for i in -4000..=4000 {
            let x = i as f32 * 0.025;
            let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(x.sigmoid::<false>()) - exact).abs() < 2.4e-7, "sigmoid({x})");
            let exact = f64::from(x).tanh();
            assert!((f64::from(Real::tanh::<true>(x)) - exact).abs() < 2.4e-7, "tanh({x})");
            let exact = libm::erf(f64::from(x));
            assert!((f64::from(Real::erf::<true>(x)) - exact).abs() < 3.6e-7, "erf({x})");
            if x.abs() < 86.0 {
                let exact = f64::from(x).exp();
                assert!((f64::from(exp::<true>(x)) / exact - 1.0).abs() < 2.4e-7, "exp({x})");
            }
        }
    }

    #[test]
    fn a_nan_is_never_hidden() {
        assert!(
            f32::NAN.sigmoid::<true>().is_nan()
                && Real::tanh::<false>(f32::NAN).is_nan()
                && Real::erf::<true>(f32::NAN).is_nan()
        );
    }

    #[test]
    fn infinities_saturate() {
        assert_eq!(f32::INFINITY.sigmoid::<true>(), 1.0);
        assert!(f32::NEG_INFINITY.sigmoid::<true>() < 1e-37);
        assert_eq!(Real::tanh::<true>(f32::NEG_INFINITY), -1.0);
    }
}
