//! One kernel, compiled for several instruction sets, chosen when it runs.

/// A kernel as an inlinable body; its fields are its arguments.
pub(crate) trait Kernel {
    /// Runs it. `FMA` says whether a fused multiply-add is one instruction.
    ///
    /// Must be `#[inline(always)]`, as must everything it calls: only what is inlined into the functions
    /// of [`run`] is compiled for their instruction set.
    fn body<const FMA: bool>(self);
}

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// 32 registers of 16 floats.
    Avx512,
    /// 16 registers of 8 floats.
    Avx2,
    /// What every processor of the target has.
    Baseline,
}

impl Level {
    /// The best that this machine has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let fused = std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma");
            if fused && std::arch::is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if fused {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }
}

/// Runs a kernel with the best instructions of this machine.
#[inline]
pub(crate) fn run<K: Kernel>(kernel: K) {
    match Level::detect() {
        // SAFETY: `detect` has seen the features that these functions are compiled for.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { run_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { run_avx2(kernel) },
        _ => kernel.body::<{ cfg!(target_arch = "aarch64") }>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) {
    kernel.body::<true>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) {
    kernel.body::<true>();
}

/// Asks for the line of the cache that a number is in. It need not be there.
#[inline(always)]
pub(crate) fn prefetch<T>(number: *const T) {
    // SAFETY: no program can tell whether a line has been asked for, wherever it is.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(number.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = number;
}
