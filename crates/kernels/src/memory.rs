//! Where memory comes from and where it goes.

use half::bf16;

/// Bytes of a line of a cache.
pub(crate) const LINE: usize = 64;

/// Returns so many numbers that are whatever they are, for a kernel that writes all of them.
///
/// Filling them first takes a twentieth of the time of a training step. A build with assertions
/// makes them not a number, so that tests notice what is not written.
pub fn unwritten(len: usize) -> Vec<f32> {
    any_bits(len, f32::NAN)
}

/// As [`unwritten`], in bf16.
pub fn unwritten_bf16(len: usize) -> Vec<bf16> {
    any_bits(len, bf16::NAN)
}

/// A type of which any bits are a value.
trait Plain: Copy + Default {}
impl Plain for f32 {}
impl Plain for bf16 {}

/// Returns so many values that are whatever they are, `marker` in a build with assertions.
fn any_bits<T: Plain>(len: usize, marker: T) -> Vec<T> {
    #[cfg(all(not(debug_assertions), any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = marker;
        let mut values = Vec::<T>::with_capacity(len);
        let start = values.as_mut_ptr();
        // SAFETY: the memory is allocated for so many values. The compiler does not look into
        // the assembly, which is given the pointer and so may have written any bits there, and
        // any bits are a value: from here on the memory holds values.
        unsafe {
            std::arch::asm!("/* {} */", in(reg) start, options(nostack, preserves_flags));
            values.set_len(len);
        }
        values
    }
    #[cfg(any(debug_assertions, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    vec![if cfg!(debug_assertions) { marker } else { T::default() }; len]
}

/// Asks the allocator to keep what is freed for the next allocation, where it can be asked.
///
/// Otherwise every large buffer comes from the system anew, which hands it out page by page, each
/// filled with zeros: about a sixth of the processor time of a training step, and of an image's way
/// through a vision encoder. The program then never holds less than it once held.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, c_int, mallopt};
        for option in [M_MMAP_THRESHOLD, M_TRIM_THRESHOLD] {
            // SAFETY: mallopt only sets a number of the allocator; it may be called at any time
            // from any thread, and what it returns says no more than whether it knew the option.
            unsafe { mallopt(option, c_int::MAX) };
        }
    }
}

/// Asks for the line of the cache that is so many elements after the first, which may be beyond
/// the end: nothing is read there that a program could see.
#[inline(always)]
pub(crate) fn prefetch<T>(from: &[T], elements: usize) {
    prefetch_at(from.as_ptr().wrapping_add(elements));
}

/// Asks for the line of the cache that an address is in, whatever is there.
#[inline(always)]
pub(crate) fn prefetch_at<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is allowed, and every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// As [`prefetch`], but into the second cache only: for lines that would push each other out of the
/// first.
#[inline(always)]
pub(crate) fn prefetch_second<T>(from: &[T], elements: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.as_ptr().wrapping_add(elements).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, elements);
}

/// Bytes that come next, asked for a few lines at a time so that memory is read all the while.
pub(crate) struct Ahead<'a> {
    bytes: &'a [u8],
    at_once: usize,
}

impl<'a> Ahead<'a> {
    /// Asks for everything within so many steps.
    pub(crate) fn new(bytes: &'a [u8], steps: usize) -> Self {
        Self { bytes, at_once: bytes.len().div_ceil(steps.max(1)).next_multiple_of(LINE) }
    }

    /// Takes a step.
    #[inline(always)]
    pub(crate) fn ask_for_some(&mut self) {
        let some = self.at_once.min(self.bytes.len());
        for line in (0..some).step_by(LINE) {
            prefetch_second(self.bytes, line);
        }
        self.bytes = &self.bytes[some..];
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn unwritten_numbers_are_as_many_as_asked_for_and_keep_what_is_written() {
        for len in [0, 1, 15, 4097, (1 << 20) + 1] {
            let mut numbers = super::unwritten(len);
            assert_eq!(numbers.len(), len);
            assert!(cfg!(not(debug_assertions)) || numbers.iter().all(|x| x.is_nan()));
            numbers.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
            assert!(numbers.iter().enumerate().all(|(i, x)| x.to_bits() == (i as f32).to_bits()));
        }
    }

    #[test]
    fn memory_is_as_usable_as_before() {
        super::keep_freed_memory();
        for len in [1_usize, 4097, (64 << 20) + 3] {
            let mut buffer = vec![0_u8; len];
            buffer[len - 1] = 1;
            assert_eq!(buffer.iter().position(|byte| *byte == 1), Some(len - 1));
            drop(buffer);
            // What was freed comes back zeroed.
            assert!(vec![0_u8; len].iter().all(|byte| *byte == 0));
        }
    }
}
