//! Numbers in groups of one register of the widest instruction set, for kernels that the compiler turns into
//! vector code.

use super::Real;

/// The numbers of a group.
pub(crate) const LANES: usize = 16;

/// The first numbers of a slice as one group; zeros where there are fewer.
#[inline(always)]
pub(crate) fn load<T: Real>(values: &[T], lanes: usize) -> [T; LANES] {
    // Not two copies of `lanes` numbers: the compiler makes them one, of any length, which is a call.
    match values.first_chunk() {
        Some(group) if lanes == LANES => *group,
        _ => {
            let mut loaded = [T::ZERO; LANES];
            loaded.iter_mut().zip(&values[..lanes]).for_each(|(lane, value)| *lane = *value);
            loaded
        }
    }
}

/// The inverse of [`load`].
#[inline(always)]
pub(crate) fn store<T: Real>(values: &mut [T], group: &[T; LANES], lanes: usize) {
    match values.first_chunk_mut() {
        Some(values) if lanes == LANES => *values = *group,
        _ => values[..lanes].iter_mut().zip(group).for_each(|(value, lane)| *value = *lane),
    }
}

/// The sum of a group, in pairs, so that no addition waits for all before it.
#[inline(always)]
pub(crate) fn across<T: Real>(group: [T; LANES]) -> T {
    // The compiler sees these pairs, and would cut the registers of the loop that made the group into them.
    let mut group = std::hint::black_box(group);
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            group[lane] += group[lane + width];
        }
        width /= 2;
    }
    group[0]
}

/// `Σ f(a, b)` over two rows of one length: lane by lane in whole groups, and the rest one by one.
#[inline(always)]
pub(crate) fn sum_of<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut sums = [T::ZERO; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest = rest.fold(T::ZERO, |sum, (a, b)| sum + f(*a, *b));
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += f(a[lane], b[lane]);
        }
    }
    across(sums) + rest
}

/// The largest number of a row that has one.
#[inline(always)]
pub(crate) fn largest_of<T: Real>(row: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut largest = [row[0]; LANES];
    let groups = row.chunks_exact(LANES);
    let rest = groups.remainder().iter().fold(row[0], |a, b| larger(a, *b));
    for group in groups {
        for lane in 0..LANES {
            largest[lane] = larger(largest[lane], group[lane]);
        }
    }
    std::hint::black_box(largest).into_iter().fold(rest, larger)
}
