//! Numbers in groups of one register of the widest instruction set, for kernels that the compiler turns into
//! vector code.

use super::Real;

/// The numbers of a group.
pub(crate) const LANES: usize = 16;

/// The first numbers of a slice as one group; zeros where there are fewer.
#[inline(always)]
pub(crate) fn load<T: Real>(values: &[T], lanes: usize) -> [T; LANES] {
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
pub(crate) fn store<T: Real>(values: &mut [T], group: &[T; LANES], lanes: usize) {
    if lanes == LANES {
        values[..LANES].copy_from_slice(group);
    } else {
        values[..lanes].copy_from_slice(&group[..lanes]);
    }
}

/// The sum of a group, in pairs, so that no addition waits for all before it.
#[inline(always)]
pub(crate) fn across<T: Real>(mut group: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            group[lane] += group[lane + width];
        }
        width /= 2;
    }
    group[0]
}
