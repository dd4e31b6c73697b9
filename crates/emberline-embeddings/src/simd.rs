//! One kernel, compiled for several instruction sets, chosen when it runs; and rows of a table as kernels want them.

/// A kernel as an inlinable body; its fields are its arguments.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Runs it. `FMA` says whether a fused multiply-add is one instruction.
    ///
    /// Must be `#[inline(always)]`, as must everything it calls: only what is inlined into the functions
    /// of [`run`] is compiled for their instruction set.
    fn body<const FMA: bool>(self) -> Self::Output;
}

/// Runs a kernel with the best instructions of this machine.
#[inline]
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        let fused = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma");
        if fused && std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the features that it is compiled for are there.
            return unsafe { run_avx512(kernel) };
        }
        if fused {
            // SAFETY: the features that it is compiled for are there.
            return unsafe { run_avx2(kernel) };
        }
    }
    kernel.body::<{ cfg!(target_arch = "aarch64") }>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.body::<true>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.body::<true>()
}

/// Numbers of a [`Lanes`].
pub(crate) const LANES: usize = 8;

/// Numbers that are worked on together. A row is a whole number of them, the last filled up with zeros, so that a kernel
/// has no rest to see to; and none lies in two lines of the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(32))]
pub(crate) struct Lanes(pub(crate) [f32; LANES]);

impl Lanes {
    pub(crate) const ZERO: Self = Self([0.0; LANES]);

    /// The sum of all.
    #[inline(always)]
    pub(crate) fn sum(&self) -> f32 {
        let mut sums = self.0;
        let mut width = LANES;
        while width > 1 {
            width /= 2;
            for lane in 0..width {
                sums[lane] += sums[lane + width];
            }
        }
        sums[0]
    }

    /// `self + factor · other`.
    #[inline(always)]
    fn plus_scaled<const FMA: bool>(self, factor: f32, other: Self) -> Self {
        Self(std::array::from_fn(|lane| mul_add::<FMA>(factor, other.0[lane], self.0[lane])))
    }
}

#[inline(always)]
pub(crate) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The products of two rows, added up lane by lane. [`Lanes::sum`] gives the inner product; the compiler makes vectors of
/// both only where they stand in different loops.
#[inline(always)]
pub(crate) fn products<const FMA: bool>(a: &[Lanes], b: &[Lanes]) -> Lanes {
    let mut sums = Lanes::ZERO;
    for (a, b) in a.iter().zip(b) {
        // By value: nor does it of what it reads through two references.
        let (a, b) = (a.0, b.0);
        sums = Lanes(std::array::from_fn(|lane| mul_add::<FMA>(a[lane], b[lane], sums.0[lane])));
    }
    sums
}

/// `row += factor · other`.
#[inline(always)]
pub(crate) fn add_scaled<const FMA: bool>(row: &mut [Lanes], factor: f32, other: &[Lanes]) {
    for (row, other) in row.iter_mut().zip(other) {
        *row = row.plus_scaled::<FMA>(factor, *other);
    }
}

/// Asks the processor for a row that will be wanted soon.
#[inline(always)]
pub(crate) fn prefetch(row: &[Lanes]) {
    #[cfg(target_arch = "x86_64")]
    for lanes in row {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every processor of the target has the instruction, and it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(lanes).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}
