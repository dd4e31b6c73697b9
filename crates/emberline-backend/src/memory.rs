//! Keeping the memory that the program frees.
//!
//! Every operation of Flex allocates its output. By default glibc hands large blocks back to the
//! kernel when they are freed and gets new ones for the next output, whose pages must be cleared
//! and mapped one by one: up to a quarter of the time of a large product.

/// Tells the allocator to keep freed memory for the next tensor. To be called once, first thing in `main`.
///
/// Returns whether the allocator took it: only glibc does. The resident size then stays at its peak.
pub fn keep_freed_memory() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // No block of its own mapping for any size, and no memory returned at the end of the heap.
        // SAFETY: `mallopt` only sets parameters of the allocator and takes its own lock.
        unsafe {
            libc::mallopt(libc::M_MMAP_MAX, 0) == 1
                && libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) == 1
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}
