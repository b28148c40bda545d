//! Spreading work over the threads of the caller's pool.

use rayon::prelude::*;

/// Elements below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 14;

/// Runs `work` on pieces of `x` and `out`, cut at multiples of their rows' widths.
pub(crate) fn rows(
    x: (&[f32], usize),
    out: (&mut [f32], usize),
    work: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    let ((x, x_width), (out, out_width)) = (x, out);
    if x.len() <= SERIAL || x_width == 0 || out_width == 0 {
        work(x, out);
        return;
    }
    let num_rows = x.len() / x_width;
    let per_task = num_rows.div_ceil(4 * rayon::current_num_threads()).max(1);
    x.par_chunks(per_task * x_width)
        .zip(out.par_chunks_mut(per_task * out_width))
        .for_each(|(x, out)| work(x, out));
}

/// A result that tasks write disjoint elements of.
#[derive(Clone, Copy)]
pub(crate) struct Scatter {
    start: *mut f32,
    len: usize,
}

// SAFETY: `Scatter::set` demands that no two threads write the same element.
unsafe impl Send for Scatter {}
// SAFETY: as above.
unsafe impl Sync for Scatter {}

impl Scatter {
    pub(crate) fn new(out: &mut [f32]) -> Self {
        Self { start: out.as_mut_ptr(), len: out.len() }
    }

    /// Writes one element.
    ///
    /// # Safety
    /// The slice that this was made of must be alive and not otherwise used, and no other thread
    /// may access the element at the same time.
    #[inline(always)]
    pub(crate) unsafe fn set(self, index: usize, value: f32) {
        assert!(index < self.len);
        // SAFETY: the index is inside the slice, and the caller vouches for the rest.
        unsafe { self.start.add(index).write(value) }
    }

    /// Returns some of the elements.
    ///
    /// # Safety
    /// As for [`Scatter::set`], of all of them and as long as the result lives.
    #[inline(always)]
    pub(crate) unsafe fn slice<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start <= self.len && len <= self.len - start);
        // SAFETY: the elements are inside the slice, and the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}
