//! Spreading work over threads.

mod pool;

use std::marker::PhantomData;

pub(crate) use self::pool::run;
pub use self::pool::{num_threads, set_num_threads, with_num_threads};

/// Elements below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 14;

/// What is cut into pieces, of which tasks take one or some.
pub trait Pieces: Sync {
    /// One of them.
    type Piece;

    /// Returns how many there are.
    fn count(&self) -> usize;

    /// Returns one of them.
    ///
    /// # Safety
    /// The index is below the count, and no two calls are given the same one.
    unsafe fn piece(&self, index: usize) -> Self::Piece;
}

/// Pieces of a slice, all of the same length but the last.
#[derive(Debug)]
pub struct Chunks<'a, T> {
    data: &'a [T],
    len: usize,
}

/// Cuts a slice into pieces of a length, the last of which may be shorter.
///
/// # Panics
/// If the length is zero.
pub fn chunks<T>(data: &[T], len: usize) -> Chunks<'_, T> {
    assert!(len > 0, "pieces of nothing");
    Chunks { data, len }
}

impl<'a, T: Sync> Pieces for Chunks<'a, T> {
    type Piece = &'a [T];

    fn count(&self) -> usize {
        self.data.len().div_ceil(self.len)
    }

    unsafe fn piece(&self, index: usize) -> &'a [T] {
        let rest = &self.data[index * self.len..];
        &rest[..self.len.min(rest.len())]
    }
}

/// Pieces of a slice that are written to, all of the same length but the last.
#[derive(Debug)]
pub struct ChunksMut<'a, T> {
    start: *mut T,
    total: usize,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: what is shared are disjoint pieces, each given to one thread: `Pieces::piece` demands it.
unsafe impl<T: Send> Sync for ChunksMut<'_, T> {}

/// Cuts a slice that is written to into pieces of a length, the last of which may be shorter.
///
/// # Panics
/// If the length is zero.
pub fn chunks_mut<T>(data: &mut [T], len: usize) -> ChunksMut<'_, T> {
    assert!(len > 0, "pieces of nothing");
    ChunksMut { start: data.as_mut_ptr(), total: data.len(), len, slice: PhantomData }
}

impl<'a, T: Send> Pieces for ChunksMut<'a, T> {
    type Piece = &'a mut [T];

    fn count(&self) -> usize {
        self.total.div_ceil(self.len)
    }

    unsafe fn piece(&self, index: usize) -> &'a mut [T] {
        let start = index * self.len;
        assert!(start < self.total, "piece {index} of {}", self.count());
        let len = self.len.min(self.total - start);
        // SAFETY: the elements are inside the slice, which is borrowed for as long as the piece,
        // and no other piece has them.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

impl<A: Pieces, B: Pieces> Pieces for (A, B) {
    type Piece = (A::Piece, B::Piece);

    fn count(&self) -> usize {
        self.0.count().min(self.1.count())
    }

    unsafe fn piece(&self, index: usize) -> Self::Piece {
        // SAFETY: the caller vouches for both.
        unsafe { (self.0.piece(index), self.1.piece(index)) }
    }
}

/// Runs `work` for every piece and its index, on this thread and others; `grain` pieces that follow
/// each other are one task.
#[allow(clippy::needless_pass_by_value, reason = "pieces that are written to are used up")]
pub fn for_each<P: Pieces>(pieces: P, grain: usize, work: impl Fn(usize, P::Piece) + Sync) {
    let (count, grain) = (pieces.count(), grain.max(1));
    run(count.div_ceil(grain), &|task| {
        for index in task * grain..count.min((task + 1) * grain) {
            // SAFETY: every task runs once and has its own indices, all below the count.
            work(index, unsafe { pieces.piece(index) });
        }
    });
}

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
    let per_task = num_rows.div_ceil(4 * num_threads()).max(1);
    let pieces = (chunks(x, per_task * x_width), chunks_mut(out, per_task * out_width));
    for_each(pieces, 1, |_, (x, out)| work(x, out));
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
