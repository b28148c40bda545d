//! Many rows: blocks of some columns are unpacked side by side, and multiplied with all rows.

use std::cell::Cell;
use std::marker::PhantomData;

use super::activation::{FOURS, Order, STRIP, Strip};
use super::dots::{Dots, Work};
use super::format::Format;
use super::{BLOCK, LANES, Part};
use crate::memory::Ahead;

/// Runs of blocks that are unpacked at a time, whatever the format packs together.
const AT_ONCE: usize = 4;
/// Steps of [`Ahead`] for unpacking the scales of a group, by the time that it takes.
const SCALE_STEPS: usize = 4;

/// Multiplies one part of a call.
pub(super) struct Many<'a, F> {
    part: &'a Part<'a>,
    format: PhantomData<F>,
}

impl<'a, F> Many<'a, F> {
    pub(super) fn new(part: &'a Part<'a>) -> Self {
        Self { part, format: PhantomData }
    }
}

/// A block of sixteen columns: element `4 k + i` of column `c` is byte `4 c + i` of fours `k`.
#[repr(align(64))]
#[derive(Clone)]
struct Square([[u8; 64]; FOURS]);

/// Where the blocks of one vector of sixteen columns go.
struct Squares<'a, const P: usize> {
    blocks: &'a mut [[Square; P]],
    num_groups: usize,
    p: usize,
}

impl<const P: usize> Squares<'_, P> {
    /// Writes fours `k` of a block.
    #[inline(always)]
    fn put<D: Dots>(&mut self, dots: D, (block, k): (usize, usize), fours: D::B) {
        dots.put_bytes(fours, &mut self.blocks[block * self.num_groups][self.p].0[k]);
    }
}

/// What a block of sixteen columns is multiplied with.
#[repr(align(64))]
#[derive(Clone)]
struct Scales {
    first: [f32; LANES],
    second: [f32; LANES],
    minima: [f32; LANES],
}

/// Sixteens of columns, unpacked. The blocks that are added up together lie together, and of these
/// a few such runs are unpacked at a time, so that they stay in the first cache.
struct Panel<'a, const P: usize> {
    /// `// [AT_ONCE, num_groups]`
    squares: &'a mut [[Square; P]],
    /// `// [LANES, num_groups]`
    scales: &'a mut [[Scales; P]],
    num_groups: usize,
}

/// Memory for panels, which every part of a call needs: of a small matrix, filling it would take as
/// long as multiplying does. What is in it is written before it is read.
#[derive(Default)]
struct Room {
    squares: Vec<Square>,
    scales: Vec<Scales>,
}

thread_local! {
    /// What the last part on this thread has left.
    static ROOM: Cell<Room> = Cell::default();
}

impl Room {
    fn panel<const P: usize>(&mut self, num_groups: usize) -> Panel<'_, P> {
        const SCALES: Scales =
            Scales { first: [0.0; LANES], second: [0.0; LANES], minima: [0.0; LANES] };
        let (squares, scales) = (AT_ONCE * num_groups * P, LANES * num_groups * P);
        if self.squares.len() < squares {
            self.squares.resize(squares, const { Square([[0; 64]; FOURS]) });
        }
        if self.scales.len() < scales {
            self.scales.resize(scales, SCALES);
        }
        Panel {
            squares: self.squares[..squares].as_chunks_mut().0,
            scales: self.scales[..scales].as_chunks_mut().0,
            num_groups,
        }
    }
}

impl<F: Format> Work for Many<'_, F> {
    #[inline(always)]
    fn run<D: Dots>(self, dots: D) {
        match D::TILE {
            (6, 2) => columns::<D, F, 6, 2>(dots, self.part),
            (2, 1) => columns::<D, F, 2, 1>(dots, self.part),
            _ => columns::<D, F, 1, 1>(dots, self.part),
        }
    }
}

/// Multiplies every row with every column, in tiles of `R` rows and `P` sixteens of columns.
#[inline(always)]
fn columns<D: Dots, F: Format, const R: usize, const P: usize>(dots: D, part: &Part<'_>) {
    let row_bytes = F::row_bytes(part.call.width);
    let order = Order::new(part.call.width / BLOCK);
    let num_groups = order.num_blocks.div_ceil(LANES);
    let (strips, height) = part.activations.strips();
    let rows = part.activations.rows();
    let mut room = ROOM.take();
    let mut panel = room.panel::<P>(num_groups);
    let mut padded = [const { Vec::new() }; P];
    let mut totals = vec![[[0.0; LANES]; P]; rows];
    for (index, weight) in part.weight.chunks(P * LANES * row_bytes).enumerate() {
        let mut sixteens = [Sixteen { bytes: &[], stride: 0 }; P];
        let parts = weight.chunks(LANES * row_bytes);
        for ((sixteen, weight), padded) in sixteens.iter_mut().zip(parts).zip(&mut padded) {
            *sixteen = Sixteen::new::<F>(weight, row_bytes, padded);
        }
        // Sixteens that are missing are of no use, whatever they are.
        let used = weight.len().div_ceil(LANES * row_bytes);
        let after = &part.weight[index * P * LANES * row_bytes..][weight.len()..];
        let steps = rows.div_ceil(height) * height.div_ceil(R) * order.num_blocks
            + used * num_groups * (F::PACKED + SCALE_STEPS);
        let mut ahead = Ahead::new(&after[..after.len().min(weight.len())], steps);
        for (p, sixteen) in sixteens[..used].iter().enumerate() {
            unpack_scales::<D, F, P>(dots, sixteen, &mut panel, p, &mut ahead);
        }
        totals.fill([[0.0; LANES]; P]);
        for first in (0..LANES).step_by(AT_ONCE) {
            for (p, sixteen) in sixteens[..used].iter().enumerate() {
                unpack::<D, F, P>(dots, sixteen, &mut panel, (p, first), &mut ahead);
            }
            let strips = strips.chunks_exact(order.num_blocks.max(1));
            for (strip, totals) in strips.zip(totals.chunks_mut(height)) {
                let call = Tile { panel: &panel, strip, order, first };
                for (index, totals) in totals.chunks_mut(R).enumerate() {
                    tile_of::<D, F, P>(dots, (&call, index * R), totals, &mut ahead);
                }
            }
        }
        let column = part.first + index * P * LANES;
        let columns = weight.len() / row_bytes;
        for (row, totals) in totals.iter().enumerate() {
            let totals = totals.as_flattened();
            for (i, product) in totals[..columns].iter().enumerate() {
                // SAFETY: parts of a call have different columns, and `linear` holds the result.
                unsafe { part.call.set(row, column + i, *product) }
            }
        }
    }
    ROOM.set(room);
}

/// Sixteen columns of weights in whole groups.
#[derive(Clone, Copy)]
struct Sixteen<'a> {
    bytes: &'a [u8],
    /// Bytes from one column to the next.
    stride: usize,
}

impl<'a> Sixteen<'a> {
    /// Takes columns as they lie, or, if they are fewer or no whole groups, filled up with zeros.
    fn new<F: Format>(weight: &'a [u8], row_bytes: usize, padded: &'a mut Vec<u8>) -> Self {
        if weight.len() == LANES * row_bytes && row_bytes.is_multiple_of(F::BYTES) {
            return Self { bytes: weight, stride: row_bytes };
        }
        let stride = row_bytes.next_multiple_of(F::BYTES);
        padded.clear();
        padded.resize(LANES * stride, 0);
        for (row, to) in weight.chunks_exact(row_bytes).zip(padded.chunks_exact_mut(stride)) {
            to[..row_bytes].copy_from_slice(row);
        }
        Self { bytes: padded, stride }
    }

    /// Returns a group of a column.
    #[inline(always)]
    fn group<F: Format>(&self, column: usize, group: usize) -> &'a [u8] {
        &self.bytes[column * self.stride + group * F::BYTES..][..F::BYTES]
    }
}

/// What a tile is computed from.
struct Tile<'a, const P: usize> {
    panel: &'a Panel<'a, P>,
    strip: &'a [Strip<STRIP>],
    order: Order,
    /// The first of the sums that are added to.
    first: usize,
}

/// Adds to the sums of the rows from `row` of a strip.
#[inline(always)]
fn tile_of<D: Dots, F: Format, const P: usize>(
    dots: D,
    at: (&Tile<'_, P>, usize),
    totals: &mut [[[f32; LANES]; P]],
    ahead: &mut Ahead<'_>,
) {
    match totals.len() {
        1 => tile::<D, F, 1, P>(dots, at, totals, ahead),
        2 => tile::<D, F, 2, P>(dots, at, totals, ahead),
        3 => tile::<D, F, 3, P>(dots, at, totals, ahead),
        4 => tile::<D, F, 4, P>(dots, at, totals, ahead),
        5 => tile::<D, F, 5, P>(dots, at, totals, ahead),
        _ => tile::<D, F, 6, P>(dots, at, totals, ahead),
    }
}

/// Unpacks the scales of sixteen columns.
#[inline(always)]
fn unpack_scales<D: Dots, F: Format, const P: usize>(
    dots: D,
    sixteen: &Sixteen<'_>,
    panel: &mut Panel<'_, P>,
    p: usize,
    ahead: &mut Ahead<'_>,
) {
    for group in 0..panel.num_groups {
        for _ in 0..SCALE_STEPS {
            ahead.ask_for_some();
        }
        let mut groups = [&sixteen.bytes[..0]; LANES];
        for (column, bytes) in groups.iter_mut().enumerate() {
            *bytes = sixteen.group::<F>(column, group);
        }
        let [firsts, seconds, minima] = F::scales_of_sixteen(dots, &groups);
        for (lane, first) in firsts.into_iter().enumerate() {
            let to = &mut panel.scales[lane * panel.num_groups + group][p];
            dots.put_floats(first, &mut to.first);
            if F::SPLIT {
                dots.put_floats(seconds[lane], &mut to.second);
            }
            if F::HAS_MIN {
                dots.put_floats(minima[lane], &mut to.minima);
            }
        }
    }
}

/// Unpacks the integers of the blocks from `first` of every group of sixteen columns.
#[inline(always)]
fn unpack<D: Dots, F: Format, const P: usize>(
    dots: D,
    sixteen: &Sixteen<'_>,
    panel: &mut Panel<'_, P>,
    (p, first): (usize, usize),
    ahead: &mut Ahead<'_>,
) {
    let blocks_in_each = LANES / F::PACKED;
    for group in 0..panel.num_groups {
        for at in (0..AT_ONCE).step_by(blocks_in_each) {
            let index = (first + at) / blocks_in_each;
            let mut square = [dots.four([0; 4]); LANES];
            for (column, packed) in square.iter_mut().enumerate() {
                let bytes = sixteen.group::<F>(column, group);
                *packed = F::packed(dots, bytes, index);
            }
            ahead.ask_for_some();
            dots.transpose(&mut square);
            let num_groups = panel.num_groups;
            let blocks = &mut panel.squares[at * num_groups + group..];
            spread::<D, F, P>(dots, &square, &mut Squares { blocks, num_groups, p });
        }
    }
}

/// Writes the blocks of one vector of sixteen columns.
#[inline(always)]
fn spread<D: Dots, F: Format, const P: usize>(
    dots: D,
    square: &[D::B; LANES],
    to: &mut Squares<'_, P>,
) {
    for block in 0..LANES / F::PACKED {
        for k in 0..FOURS {
            to.put(dots, (block, k), F::fours(dots, square, block, k));
        }
    }
}

/// Adds to the sums of `R` rows from `row` of a strip.
#[inline(always)]
fn tile<D: Dots, F: Format, const R: usize, const P: usize>(
    dots: D,
    (call, row): (&Tile<'_, P>, usize),
    out: &mut [[[f32; LANES]; P]],
    ahead: &mut Ahead<'_>,
) {
    let mut totals = [[dots.float(0.0); P]; R];
    for r in 0..R {
        for p in 0..P {
            totals[r][p] = dots.floats(&out[r][p]);
        }
    }
    let num_groups = call.panel.num_groups;
    let squares = call.panel.squares.chunks_exact(num_groups.max(1));
    for (lane, squares) in (call.first..).zip(squares) {
        let scales = &call.panel.scales[lane * num_groups..];
        let mut sums = [[dots.float(0.0); P]; R];
        let strips = &call.strip[call.order.run(lane)];
        for ((square, scales), strip) in squares.iter().zip(scales).zip(strips) {
            ahead.ask_for_some();
            let (square, strip) = ((square, scales), (strip, row));
            if F::SPLIT {
                add_products::<D, F, R, P>(dots, square, strip, Half::First, &mut sums);
                add_products::<D, F, R, P>(dots, square, strip, Half::Second, &mut sums);
            } else {
                add_products::<D, F, R, P>(dots, square, strip, Half::Both, &mut sums);
            }
            if F::HAS_MIN {
                let mut minima = [dots.float(0.0); P];
                for p in 0..P {
                    minima[p] = dots.floats(&scales[p].minima);
                }
                for (sums, sum) in sums.iter_mut().zip(rows_of::<_, R>(&strip.0.sums, row)) {
                    let sum = dots.float(*sum);
                    for p in 0..P {
                        sums[p] = dots.sub_mul(minima[p], sum, sums[p]);
                    }
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                totals[r][p] = dots.add(totals[r][p], sums[r][p]);
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            dots.put_floats(totals[r][p], &mut out[r][p]);
        }
    }
}

/// Returns what a strip has of some rows.
#[inline(always)]
fn rows_of<T, const R: usize>(of: &[T; STRIP], row: usize) -> &[T; R] {
    of[row..].first_chunk().expect("the rows are in the strip")
}

/// The part of a block that has a scale of its own.
#[derive(Clone, Copy)]
enum Half {
    Both,
    First,
    Second,
}

/// Adds the products of a block, a column to a lane.
#[inline(always)]
fn add_products<D: Dots, F: Format, const R: usize, const P: usize>(
    dots: D,
    (square, scales): (&[Square; P], &[Scales; P]),
    (strip, row): (&Strip<STRIP>, usize),
    half: Half,
    sums: &mut [[D::F; P]; R],
) {
    let (fours, starts) = match half {
        Half::Both => (0..FOURS, &strip.starts),
        Half::First => (0..FOURS / 2, &strip.starts),
        Half::Second => (FOURS / 2..FOURS, &strip.second_starts),
    };
    let mut products = [[dots.int(0); P]; R];
    for (products, start) in products.iter_mut().zip(rows_of::<_, R>(starts, row)) {
        *products = [dots.int(*start); P];
    }
    for k in fours {
        let mut weights = [dots.four([0; 4]); P];
        for p in 0..P {
            weights[p] = dots.bytes(&square[p].0[k]);
        }
        for (products, x) in products.iter_mut().zip(rows_of::<_, R>(&strip.quants[k], row)) {
            let x = dots.four(*x);
            for p in 0..P {
                products[p] = F::dot(dots, products[p], weights[p], x);
            }
        }
    }
    let mut of_columns = [dots.float(0.0); P];
    for p in 0..P {
        of_columns[p] = dots.floats(match half {
            Half::Both | Half::First => &scales[p].first,
            Half::Second => &scales[p].second,
        });
    }
    for r in 0..R {
        let scale = dots.float(strip.scales[row + r]);
        for p in 0..P {
            let scale = dots.mul(of_columns[p], scale);
            sums[r][p] = dots.mul_add(scale, dots.to_f32(products[r][p]), sums[r][p]);
        }
    }
}
