//! Products of matrices by tiles of outer products.
//!
//! A task takes a block of the result. Rows of `b` are packed into panels as wide as a tile, which
//! stay in the second cache; rows of `a` into a panel as tall as a tile, which stays in the first.
//! Every element of the result is summed over the same pieces of the depth in the same order,
//! whatever the block it is in.

#[cfg(target_arch = "x86_64")]
pub(crate) mod rounded;

#[cfg(target_arch = "x86_64")]
use half::bf16;

#[cfg(target_arch = "x86_64")]
pub(crate) use self::rounded::Weight;
#[cfg(target_arch = "x86_64")]
use self::rounded::{Products, ProductsOfRows};
#[cfg(target_arch = "x86_64")]
use crate::Level;
use crate::aligned::Scratch;
use crate::parallel::{self, Scatter};
use crate::simd::{Element, Kernel, Simd, dispatch, load_some};

/// Products that are summed before they are added to the result.
const DEPTH: usize = 256;
/// Columns of `b` that are packed together; a multiple of every tile's width.
const BREADTH: usize = 512;
/// Rows of the tallest tile, filled up to those of a block that is transposed.
const TALLEST: usize = 16;
/// Rows and columns that are transposed at once.
const SQUARE: usize = 16;
/// Multiply-adds below which a second thread costs more than it saves.
const SERIAL: usize = 1 << 17;
/// Tasks for every thread, so that a slow core does not hold up the others.
const TASKS_PER_THREAD: usize = 4;
/// Rows and columns of a task are multiples of these, which whole tiles fill.
const GRAIN: (usize, usize) = (42, 32);

/// A matrix in memory: element `[i, j]` is at `i * strides.0 + j * strides.1`.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, E> {
    pub(crate) data: &'a [E],
    pub(crate) strides: (usize, usize),
}

impl<'a, E> View<'a, E> {
    /// Returns the matrix without its first rows and columns.
    #[inline(always)]
    fn from(self, row: usize, column: usize) -> Self {
        let start = row * self.strides.0 + column * self.strides.1;
        Self { data: &self.data[start..], strides: self.strides }
    }

    /// Returns a piece of a row of a matrix whose rows are contiguous.
    #[inline(always)]
    fn row(self, row: usize, len: usize) -> &'a [E] {
        &self.data[row * self.strides.0..][..len]
    }
}

#[cfg(target_arch = "x86_64")]
impl<'a, E: Element> View<'a, E> {
    /// Returns the matrix if its elements are bf16.
    fn as_bf16(self) -> Option<View<'a, bf16>> {
        E::as_bf16(self.data).map(|data| View { data, strides: self.strides })
    }
}

/// Where a product goes: element `[i, j]` to `at + i * stride + j`.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) out: Scatter,
    pub(crate) at: usize,
    pub(crate) stride: usize,
}

/// `a b`, written or added to a part of a result.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, A, B> {
    /// Either its rows or its columns are contiguous.
    pub(crate) a: View<'a, A>,
    /// Likewise.
    pub(crate) b: View<'a, B>,
    /// Rows, columns and depth.
    pub(crate) size: (usize, usize, usize),
    pub(crate) target: Target,
    /// Whether the product is added to what is there.
    pub(crate) accumulate: bool,
}

impl<A: Element, B: Element> Product<'_, A, B> {
    /// Multiplies on this thread.
    ///
    /// # Safety
    /// Nobody else may access the target's elements at the same time.
    pub(crate) unsafe fn run_here(self) {
        let scratch = &mut Scratch::of(DEPTH * (BREADTH + TALLEST));
        dispatch(Block { product: self, scratch });
    }

    /// Multiplies on all threads.
    ///
    /// # Safety
    /// As for [`Product::run_here`].
    pub(crate) unsafe fn run(self) {
        #[cfg(target_arch = "x86_64")]
        if let (true, Some(a), Some(b)) =
            (Level::current().has_blocks_of_bf16(), self.a.as_bf16(), self.b.as_bf16())
        {
            let Self { size, target, accumulate, .. } = self;
            // SAFETY: a level in use was detected, and the caller vouches for the rest.
            unsafe { Products { a, b, size, target, accumulate }.run() }
            return;
        }
        let (rows, columns, depth) = self.size;
        if rows * columns * depth <= SERIAL {
            // SAFETY: the caller vouches for it.
            unsafe { self.run_here() }
            return;
        }
        let (tall, broad) = grid(rows, columns, TASKS_PER_THREAD * parallel::num_threads());
        let across = columns.div_ceil(broad);
        parallel::run(rows.div_ceil(tall) * across, &|task| {
            let (row, column) = (task / across * tall, task % across * broad);
            let size = (tall.min(rows - row), broad.min(columns - column), depth);
            let target =
                Target { at: self.target.at + row * self.target.stride + column, ..self.target };
            let (a, b) = (self.a, self.b);
            let (a, b) = if depth == 0 { (a, b) } else { (a.from(row, 0), b.from(0, column)) };
            // SAFETY: the tasks' parts of the target are disjoint, and the caller vouches for it.
            unsafe { Self { a, b, size, target, ..self }.run_here() }
        });
    }
}

/// Writes `x weight^T + bias` to all of a result: `x` `[rows, width]`, `weight`
/// `[out_width, width]`. Elements of both are rounded: to bf16, or with blocks to bytes, as
/// [`linear_packed`](crate::linear_packed) says.
///
/// # Safety
/// The level must have [blocks of bf16](Level::has_blocks_of_bf16), or [of bytes](Level::has_blocks_of_bytes),
/// whichever the weights become.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn multiply_rounded(
    (x, weight): (&[f32], Weight<'_>),
    width: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let rows = (x.len() / width).max(1);
    let target = Target { stride: out.len() / rows, at: 0, out: Scatter::new(out) };
    // SAFETY: `out` is borrowed mutably for all of it, and the caller vouches for the instructions.
    unsafe { ProductsOfRows { x, weight, width, target, bias }.run() }
}

/// Returns the size of the blocks of so many tasks that packs least.
fn grid(rows: usize, columns: usize, tasks: usize) -> (usize, usize) {
    let cut = |down: usize| {
        let across = tasks.div_ceil(down);
        let tall = rows.div_ceil(down).next_multiple_of(GRAIN.0);
        let broad = columns.div_ceil(across).next_multiple_of(GRAIN.1);
        let (down, across) = (rows.div_ceil(tall), columns.div_ceil(broad));
        // Every block packs its rows of `a`, element by element, and its columns of `b`.
        let packed = across * rows * 2 + down * columns;
        let unused = (tasks / 2).saturating_sub(down * across);
        (unused, packed, (tall, broad))
    };
    (1..=tasks).map(cut).min().map_or((rows, columns), |(_, _, size)| size)
}

struct Block<'a, A, B> {
    product: Product<'a, A, B>,
    scratch: &'a mut [f32],
}

impl<A: Element, B: Element> Kernel for Block<'_, A, B> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match S::OUTER {
            (14, 2) => self.tiles::<S, 14, 2>(simd),
            (6, 2) => self.tiles::<S, 6, 2>(simd),
            _ => self.tiles::<S, 4, 1>(simd),
        }
    }
}

impl<A: Element, B: Element> Block<'_, A, B> {
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const C: usize>(self, simd: S) {
        let Self { product, scratch } = self;
        let (rows, columns, depth) = product.size;
        let (panels, panel) = scratch.split_at_mut(DEPTH * BREADTH);
        let broad = C * S::LANES;
        for column in (0..columns).step_by(BREADTH) {
            let columns = BREADTH.min(columns - column);
            // Even a product of no depth is written.
            for start in (0..depth.max(1)).step_by(DEPTH) {
                let depth = DEPTH.min(depth - start);
                if depth > 0 {
                    pack_columns(simd, product.b.from(start, column), (columns, depth), {
                        (&mut *panels, broad)
                    });
                }
                let accumulate = product.accumulate || start > 0;
                for row in (0..rows).step_by(R) {
                    let rows = R.min(rows - row);
                    if depth > 0 {
                        let a = product.a.from(row, start);
                        pack_rows::<S, A, R>(simd, a, (rows, depth), panel);
                    }
                    let a = &panel[..R * depth];
                    for at in (0..columns).step_by(broad) {
                        let b = &panels[at * depth..][..broad * depth];
                        let sums = outer::<S, R, C>(simd, a, b);
                        let size = (rows, broad.min(columns - at));
                        let target = product.target;
                        let at = target.at + row * target.stride + column + at;
                        put(simd, &sums, Target { at, ..target }, size, accumulate);
                    }
                }
            }
        }
    }
}

/// Copies columns into panels, rows of a panel one after the other; zeros where there are none.
#[inline(always)]
fn pack_columns<S: Simd, E: Element>(
    simd: S,
    b: View<'_, E>,
    (columns, depth): (usize, usize),
    (panels, broad): (&mut [f32], usize),
) {
    let padded = columns.next_multiple_of(broad);
    if b.strides.1 == 1 {
        for k in 0..depth {
            let row = b.row(k, columns);
            for at in (0..padded).step_by(S::LANES) {
                let v = load_some(simd, &row[at.min(columns)..]);
                let to = at / broad * broad * depth + k * broad + at % broad;
                simd.store(v, &mut panels[to..]);
            }
        }
        return;
    }
    let whole = if broad.is_multiple_of(SQUARE) { columns - columns % SQUARE } else { 0 };
    let squares = depth - depth % SQUARE;
    for at in (0..whole).step_by(SQUARE) {
        let panel = &mut panels[at / broad * broad * depth + at % broad..];
        for k in (0..squares).step_by(SQUARE) {
            let from = std::array::from_fn(|i| {
                let start = (at + i) * b.strides.1 + k;
                &b.data[start..start + SQUARE]
            });
            simd.transpose(&from, &mut panel[k * broad..], broad);
        }
    }
    for column in 0..padded {
        let panel = &mut panels[column / broad * broad * depth + column % broad..];
        let done = if column < whole { squares } else { 0 };
        for k in done..depth {
            let value =
                if column < columns { b.data[column * b.strides.1 + k] } else { E::default() };
            panel[k * broad] = value.widened();
        }
    }
}

/// Copies rows into a panel, columns one after the other; zeros where there are none.
#[inline(always)]
fn pack_rows<S: Simd, E: Element, const R: usize>(
    simd: S,
    a: View<'_, E>,
    (rows, depth): (usize, usize),
    panel: &mut [f32],
) {
    if a.strides.0 == 1 {
        let (panel, _) = panel[..R * depth].as_chunks_mut::<R>();
        for (k, to) in panel.iter_mut().enumerate() {
            let from = &a.data[k * a.strides.1..][..rows];
            if let Some(from) = from.first_chunk::<R>() {
                *to = from.map(E::widened);
            } else {
                to.fill(0.0);
                for (to, from) in to.iter_mut().zip(from) {
                    *to = from.widened();
                }
            }
        }
        return;
    }
    let squares = if rows == R && S::LANES == SQUARE { depth - depth % SQUARE } else { 0 };
    for k in (0..squares).step_by(SQUARE) {
        // What is written for the rows that are too many is written over by the next column.
        let from = std::array::from_fn(|r| {
            let start = r.min(R - 1) * a.strides.0 + k;
            &a.data[start..start + SQUARE]
        });
        simd.transpose(&from, &mut panel[k * R..], R);
    }
    let (panel, _) = panel[..R * depth].as_chunks_mut::<R>();
    for (piece, panel) in panel[squares..].chunks_mut(SQUARE).enumerate() {
        for r in 0..R {
            if r < rows {
                let start = r * a.strides.0 + squares + piece * SQUARE;
                let from = &a.data[start..start + panel.len()];
                for (to, from) in panel.iter_mut().zip(from) {
                    to[r] = from.widened();
                }
            } else {
                for to in panel.iter_mut() {
                    to[r] = 0.0;
                }
            }
        }
    }
}

/// Returns the product of a panel of `R` rows and one of `C` vectors.
#[inline(always)]
fn outer<S: Simd, const R: usize, const C: usize>(simd: S, a: &[f32], b: &[f32]) -> [[S::V; C]; R] {
    let mut sums = [[simd.splat(0.0); C]; R];
    let (a, _) = a.as_chunks::<R>();
    for (a, b) in a.iter().zip(b.chunks_exact(C * S::LANES)) {
        let mut row = [simd.splat(0.0); C];
        for c in 0..C {
            row[c] = simd.load(&b[c * S::LANES..]);
        }
        for r in 0..R {
            let a = simd.splat(a[r]);
            for c in 0..C {
                sums[r][c] = simd.mul_add(a, row[c], sums[r][c]);
            }
        }
    }
    sums
}

/// Writes or adds as much of a tile as there is room for.
#[inline(always)]
fn put<S: Simd, const R: usize, const C: usize>(
    simd: S,
    sums: &[[S::V; C]; R],
    target: Target,
    (rows, columns): (usize, usize),
    accumulate: bool,
) {
    for (r, sums) in sums.iter().enumerate() {
        if r >= rows {
            break;
        }
        // SAFETY: whoever runs the product vouches that nobody else accesses the elements.
        let row = unsafe { target.out.slice(target.at + r * target.stride, columns) };
        if columns == C * S::LANES {
            for (c, sum) in sums.iter().enumerate() {
                let to = &mut row[c * S::LANES..][..S::LANES];
                let sum = if accumulate { simd.add(simd.load(to), *sum) } else { *sum };
                simd.store(sum, to);
            }
        } else {
            let mut tile = [0.0; 32];
            for (c, sum) in sums.iter().enumerate() {
                simd.store(*sum, &mut tile[c * S::LANES..]);
            }
            for (to, sum) in row.iter_mut().zip(tile) {
                *to = if accumulate { *to + sum } else { sum };
            }
        }
    }
}
