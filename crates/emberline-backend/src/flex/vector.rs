//! Registers of several numbers, for the one kernel that the compiler does not keep in registers by
//! itself: the tile of a matrix product.

/// A register of numbers.
///
/// Every method is unsafe for one reason: it must only run where the instruction set of its type is there,
/// which [`simd::run`](super::simd::run) sees to.
pub(crate) trait Vector: Copy {
    /// The numbers.
    type Element: Copy;
    /// How many.
    const LANES: usize;

    /// # Safety
    /// `from` points to `LANES` numbers, and the instruction set is there.
    unsafe fn load(from: *const Self::Element) -> Self;

    /// # Safety
    /// `to` points to `LANES` numbers, and the instruction set is there.
    unsafe fn store(self, to: *mut Self::Element);

    /// # Safety
    /// The instruction set is there.
    unsafe fn splat(value: Self::Element) -> Self;

    /// `self · a + b`.
    ///
    /// # Safety
    /// The instruction set is there.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;

    /// The numbers of `other` where they are larger, or no numbers.
    ///
    /// # Safety
    /// The instruction set is there.
    unsafe fn or_larger(self, other: Self) -> Self;
}

macro_rules! x86_vector {
    ($type:ident, $element:ty, $lanes:literal, $load:ident, $store:ident, $splat:ident, $mul_add:ident, $max:ident) => {
        #[cfg(target_arch = "x86_64")]
        impl Vector for std::arch::x86_64::$type {
            type Element = $element;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn load(from: *const $element) -> Self {
                // SAFETY: as the trait says.
                unsafe { std::arch::x86_64::$load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $element) {
                // SAFETY: as the trait says.
                unsafe { std::arch::x86_64::$store(to, self) }
            }

            #[inline(always)]
            unsafe fn splat(value: $element) -> Self {
                // SAFETY: as the trait says.
                unsafe { std::arch::x86_64::$splat(value) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                // SAFETY: as the trait says.
                unsafe { std::arch::x86_64::$mul_add(self, a, b) }
            }

            #[inline(always)]
            unsafe fn or_larger(self, other: Self) -> Self {
                // The instruction gives its second operand where one is not a number.
                // SAFETY: as the trait says.
                unsafe { std::arch::x86_64::$max(self, other) }
            }
        }
    };
}

x86_vector!(
    __m512,
    f32,
    16,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_max_ps
);
x86_vector!(
    __m512d,
    f64,
    8,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd,
    _mm512_max_pd
);
x86_vector!(
    __m256,
    f32,
    8,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_max_ps
);
x86_vector!(
    __m256d,
    f64,
    4,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd,
    _mm256_max_pd
);

/// What every processor has: four numbers, which the compiler turns into the registers of the target.
#[derive(Clone, Copy)]
pub(crate) struct Four<T>([T; 4]);

macro_rules! portable_vector {
    ($element:ty) => {
        impl Vector for Four<$element> {
            type Element = $element;
            const LANES: usize = 4;

            #[inline(always)]
            unsafe fn load(from: *const $element) -> Self {
                // SAFETY: as the trait says; an array of numbers may be read from where they are.
                Self(unsafe { from.cast::<[$element; 4]>().read_unaligned() })
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $element) {
                // SAFETY: as the trait says.
                unsafe { to.cast::<[$element; 4]>().write_unaligned(self.0) }
            }

            #[inline(always)]
            unsafe fn splat(value: $element) -> Self {
                Self([value; 4])
            }

            #[inline(always)]
            unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                let ([x0, x1, x2, x3], [a0, a1, a2, a3]) = (self.0, a.0);
                let [b0, b1, b2, b3] = b.0;
                // One instruction where the target has it, and never a call to a function that emulates it.
                if cfg!(target_arch = "aarch64") {
                    return Self([
                        x0.mul_add(a0, b0),
                        x1.mul_add(a1, b1),
                        x2.mul_add(a2, b2),
                        x3.mul_add(a3, b3),
                    ]);
                }
                Self([x0 * a0 + b0, x1 * a1 + b1, x2 * a2 + b2, x3 * a3 + b3])
            }

            #[inline(always)]
            unsafe fn or_larger(self, other: Self) -> Self {
                let lane = |i: usize| if other.0[i] < self.0[i] { self.0[i] } else { other.0[i] };
                Self([lane(0), lane(1), lane(2), lane(3)])
            }
        }
    };
}

portable_vector!(f32);
portable_vector!(f64);
