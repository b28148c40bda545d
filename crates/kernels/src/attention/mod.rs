//! Attention that walks the visible ranges of a plan.

mod entries;
mod grad;
mod many;
mod one;
#[cfg(target_arch = "x86_64")]
mod rounded;
mod tiles;

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use crate::Level;
use crate::Matrix;
use crate::blocks::{BlockFormat, Blocks};
use crate::parallel::{self, Scatter};
use crate::simd::dispatch;

use self::entries::{EightBits, Entries};

pub use grad::{AttentionForward, AttentionGrad, AttentionInput, attention_grad};

/// Rows from which on it pays to unpack the keys and values of a head.
const MANY: usize = 4;

/// Which keys each query row sees, in compressed rows: row `r` sees
/// `ranges[row_starts[r]..row_starts[r + 1]]`, ascending and disjoint.
#[derive(Clone, Copy, Debug)]
pub struct Visible<'a> {
    /// The ranges of all rows.
    pub ranges: &'a [Range<u32>],
    /// Where each row's ranges start, and one more entry for the end.
    pub row_starts: &'a [u32],
}

impl Visible<'_> {
    /// Returns the number of rows.
    fn num_rows(&self) -> usize {
        self.row_starts.len().saturating_sub(1)
    }

    /// Returns the ranges of one row.
    fn row(&self, row: usize) -> impl DoubleEndedIterator<Item = Range<usize>> + Clone + '_ {
        let of_row = self.row_starts[row] as usize..self.row_starts[row + 1] as usize;
        self.ranges[of_row].iter().map(|range| range.start as usize..range.end as usize)
    }

    /// Returns the columns that any of some rows sees, and those between them.
    fn hull(&self, rows: Range<usize>) -> Range<usize> {
        let starts = rows.clone().filter_map(|row| self.row(row).next()).map(|range| range.start);
        let ends = rows.filter_map(|row| self.row(row).next_back()).map(|range| range.end);
        starts.min().unwrap_or(0)..ends.max().unwrap_or(0)
    }
}

/// Keys and values of all heads: element `d` of key `j` of head `h` is at
/// `h * head_stride + j * key_stride + d`. Of blocks, which must be [`BlockFormat::Q8_0`], every head
/// begins with a new one, and strides count what blocks have beyond a head's width.
#[derive(Clone, Copy, Debug)]
pub struct KeyValues<'a> {
    /// The keys.
    pub keys: Matrix<'a>,
    /// The values, in the type of the keys.
    pub values: Matrix<'a>,
    /// Elements from one head to the next.
    pub head_stride: usize,
    /// Elements from one key to the next.
    pub key_stride: usize,
}

/// The sizes of one call.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads, a divisor of `heads`; query head `h` reads head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// What the dot products are multiplied with before the softmax.
    pub scale: f32,
}

/// Writes `softmax(scale q k^T) v` over the visible keys of each row to `out`.
///
/// `q` and `out` are `[rows, heads, head_dim]`. A row that sees nothing becomes zero. Sums are in f32. Of
/// 16 rows and more with keys and values of bf16, queries times the scale and the exponentials of the
/// scores are rounded to bf16 as well under levels that [multiply it](crate::Level::has_blocks_of_bf16).
///
/// # Panics
/// If the lengths do not fit, a range goes past the keys, or keys and values differ in type or are
/// in other blocks than those of eight bits.
pub fn attention(
    q: &[f32],
    kv: KeyValues<'_>,
    visible: Visible<'_>,
    shape: AttentionShape,
    out: &mut [f32],
) {
    attend(q, kv, (visible, shape), out, None);
}

/// Where [`attention_with_lse`] writes.
#[derive(Debug)]
pub struct AttentionOut<'a> {
    /// What [`attention`] writes. `// [rows, heads, head_dim]`
    pub out: &'a mut [f32],
    /// The logarithm of the sum of `exp(scale q k)` over the visible keys, minus infinity for a
    /// row that sees nothing: what [`attention_grad`] needs. `// [rows, heads]`
    pub lse: &'a mut [f32],
}

/// Computes what [`attention`] does, and the logarithm of every softmax's denominator.
///
/// # Panics
/// As [`attention`].
pub fn attention_with_lse(
    q: &[f32],
    kv: KeyValues<'_>,
    visible: Visible<'_>,
    shape: AttentionShape,
    result: AttentionOut<'_>,
) {
    let AttentionOut { out, lse } = result;
    assert_eq!(lse.len(), visible.num_rows() * shape.heads, "one for each row and head");
    attend(q, kv, (visible, shape), out, Some(Scatter::new(lse)));
}

fn attend(
    q: &[f32],
    kv: KeyValues<'_>,
    (visible, shape): (Visible<'_>, AttentionShape),
    out: &mut [f32],
    lse: Option<Scatter>,
) {
    let KeyValues { head_stride, key_stride, .. } = kv;
    let strides = (head_stride, key_stride);
    match (kv.keys, kv.values) {
        (Matrix::F32(keys), Matrix::F32(values)) => {
            run(Call { q, keys, values, strides, visible, shape }, out, lse);
        }
        (Matrix::Bf16(keys), Matrix::Bf16(values)) => {
            let call = Call { q, keys, values, strides, visible, shape };
            #[cfg(target_arch = "x86_64")]
            if Level::current().has_blocks_of_bf16() && visible.num_rows() >= rounded::MANY {
                let out = call.checked(out, lse);
                parallel::run(shape.heads, &|head| {
                    // SAFETY: a level in use was detected, and no task runs another.
                    unsafe { rounded::Head { call, out: out.head(head) }.run() }
                });
                return;
            }
            run(call, out, lse);
        }
        (Matrix::F16(keys), Matrix::F16(values)) => {
            run(Call { q, keys, values, strides, visible, shape }, out, lse);
        }
        (
            Matrix::Blocks(Blocks { format: BlockFormat::Q8_0, bytes: keys }),
            Matrix::Blocks(Blocks { format: BlockFormat::Q8_0, bytes: values }),
        ) => {
            let (keys, values) = (EightBits(keys), EightBits(values));
            run(Call { q, keys, values, strides, visible, shape }, out, lse);
        }
        _ => panic!("keys and values of different types, or in other blocks than of eight bits"),
    }
}

/// The operands of a call.
#[derive(Clone, Copy)]
struct Call<'a, K> {
    q: &'a [f32],
    keys: K,
    values: K,
    /// Elements from one head and from one key to the next.
    strides: (usize, usize),
    visible: Visible<'a>,
    shape: AttentionShape,
}

impl<K> Call<'_, K> {
    /// Returns where the results go.
    ///
    /// # Panics
    /// If the lengths do not fit.
    fn checked(&self, out: &mut [f32], lse: Option<Scatter>) -> Out {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let rows = self.visible.num_rows();
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{heads} heads on {kv_heads}");
        assert_eq!(self.q.len(), rows * heads * head_dim, "queries of {rows} rows");
        assert_eq!(out.len(), self.q.len(), "output of {rows} rows");
        Out { values: Scatter::new(out), lse, shape: self.shape }
    }
}

impl<'a, K: Entries> Call<'a, K> {
    /// Returns the query of one row and head.
    #[inline(always)]
    fn query(&self, row: usize, head: usize) -> &'a [f32] {
        let width = self.shape.head_dim;
        &self.q[(row * self.shape.heads + head) * width..][..width]
    }

    /// Returns one key or value of the head that query head `head` reads.
    #[inline(always)]
    fn entry(&self, of: K, head: usize, column: usize) -> K::Entry {
        of.entry(self.start(head) + column * self.strides.1, self.shape.head_dim)
    }

    /// Returns where the first key or value of the head that query head `head` reads is.
    #[inline(always)]
    fn start(&self, head: usize) -> usize {
        head / (self.shape.heads / self.shape.kv_heads) * self.strides.0
    }
}

/// What a call writes to.
#[derive(Clone, Copy)]
struct Out {
    values: Scatter,
    lse: Option<Scatter>,
    shape: AttentionShape,
}

impl Out {
    /// Returns where the rows of a head are written.
    #[inline(always)]
    fn head(self, head: usize) -> HeadOut {
        let Self { values, lse, shape } = self;
        HeadOut { out: values, lse, head, shape }
    }
}

/// What one task writes to: the rows of one head.
#[derive(Clone, Copy)]
struct HeadOut {
    out: Scatter,
    lse: Option<Scatter>,
    head: usize,
    shape: AttentionShape,
}

impl HeadOut {
    /// Writes the logarithm of `total exp(largest)` of one row if it is asked for.
    #[inline(always)]
    fn set_lse(&self, row: usize, largest: f32, total: f32) {
        if let Some(lse) = self.lse {
            // The largest of no scores is minus infinity, and so is the sum's logarithm.
            let value = if total == 0.0 { f32::NEG_INFINITY } else { largest + total.ln() };
            // SAFETY: as in `set`.
            unsafe { lse.set(row * self.shape.heads + self.head, value) }
        }
    }

    /// Writes the result of one row.
    #[inline(always)]
    fn set(&self, row: usize, values: &[f32]) {
        let AttentionShape { heads, head_dim, .. } = self.shape;
        let start = (row * heads + self.head) * head_dim;
        // SAFETY: tasks have different heads or rows, and `run` holds the result meanwhile.
        unsafe { self.out.slice(start, head_dim) }.copy_from_slice(&values[..head_dim]);
    }
}

fn run<K: Entries>(call: Call<'_, K>, out: &mut [f32], lse: Option<Scatter>) {
    let (rows, heads) = (call.visible.num_rows(), call.shape.heads);
    let out = call.checked(out, lse);
    if rows < MANY {
        // As many heads to a task as leave something to do for every thread.
        let tasks = parallel::num_threads().div_ceil(rows.max(1)).clamp(1, heads.max(1));
        let num = heads.div_ceil(tasks).max(1);
        let tasks = heads.div_ceil(num);
        parallel::run(rows * tasks, &|task| {
            let first = task % tasks * num;
            let heads = first..(first + num).min(heads);
            dispatch(one::RowOfHeads { call, row: task / tasks, heads, out });
        });
    } else {
        parallel::run(heads, &|head| {
            dispatch(many::Head { call, out: out.head(head) });
        });
    }
}
