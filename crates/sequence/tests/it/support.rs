//! The layouts of the tests, and a dense definition of every policy that shares no code and no
//! algorithm with the crate: a predicate of a row and a column over a flat list of cells.

use proptest::prelude::*;
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role, SpanKind};

pub(crate) const SYSTEM: SpanKind = SpanKind::Text(Role::System);
pub(crate) const USER: SpanKind = SpanKind::Text(Role::User);
pub(crate) const REPLY: SpanKind = SpanKind::Text(Role::Assistant);
pub(crate) const IMAGE: SpanKind = SpanKind::Image;
pub(crate) const MARK: SpanKind = SpanKind::ReplyMark;
pub(crate) const PADDING: SpanKind = SpanKind::Padding;

pub(crate) type Piece = (SpanKind, usize);

/// One of each kind, and images of one and two tokens; longer text comes from repetition.
const PIECES: [Piece; 7] =
    [(SYSTEM, 1), (USER, 1), (REPLY, 1), (IMAGE, 1), (IMAGE, 2), (MARK, 1), (PADDING, 1)];

/// Images of every shape: a line, a square, a prime, one with a second ring; a mark of two tokens.
const SHAPES: [Piece; 10] = [
    (USER, 1),
    (REPLY, 2),
    (IMAGE, 1),
    (IMAGE, 2),
    (IMAGE, 3),
    (IMAGE, 4),
    (IMAGE, 9),
    (MARK, 1),
    (MARK, 2),
    (PADDING, 2),
];

pub(crate) fn build(pieces: &[Piece]) -> Layout {
    let mut layout = Layout::new();
    for &(kind, len) in pieces {
        layout.push(kind, len);
    }
    layout
}

/// Calls `check` with every sequence of at most `longest` of `pieces`.
fn sequences(pieces: &[Piece], longest: usize, check: &mut impl FnMut(&[Piece])) {
    fn extend(
        prefix: &mut Vec<Piece>,
        pieces: &[Piece],
        left: usize,
        check: &mut impl FnMut(&[Piece]),
    ) {
        check(prefix);
        if left > 0 {
            for &piece in pieces {
                prefix.push(piece);
                extend(prefix, pieces, left - 1, check);
                prefix.pop();
            }
        }
    }
    extend(&mut Vec::new(), pieces, longest, check);
}

/// Calls `check` with every sequence of at most `longest` small spans.
pub(crate) fn every_small(longest: usize, mut check: impl FnMut(&[Piece])) {
    sequences(&PIECES, longest, &mut check);
}

/// Calls `check` with every small layout: many short spans, then few of every shape.
pub(crate) fn every_layout(mut check: impl FnMut(&[Piece])) {
    sequences(&PIECES, 6, &mut check);
    sequences(&SHAPES, 4, &mut check);
}

/// Conversations at the size of the real model, well formed or not.
pub(crate) fn large() -> impl Strategy<Value = Vec<Piece>> {
    let len = prop_oneof![Just(144usize), Just(36), Just(35), Just(7), Just(81), 1..160usize];
    let piece = prop_oneof![
        3 => (1..20usize).prop_map(|len| (USER, len)),
        1 => (1..20usize).prop_map(|len| (SYSTEM, len)),
        2 => (1..20usize).prop_map(|len| (REPLY, len)),
        3 => len.prop_map(|len| (IMAGE, len)),
        3 => (1..3usize).prop_map(|len| (MARK, len)),
        1 => (1..9usize).prop_map(|len| (PADDING, len)),
    ];
    prop::collection::vec(piece, 0..9)
}

/// A position: what it holds, and which piece it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) kind: SpanKind,
    pub(crate) piece: usize,
    /// Where in its piece it is, and how long that is.
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

pub(crate) fn cells(pieces: &[Piece]) -> Vec<Cell> {
    let all = pieces.iter().enumerate();
    all.flat_map(|(piece, &(kind, len))| {
        (0..len).map(move |offset| Cell { kind, piece, offset, len })
    })
    .collect()
}

/// The last cell of the first mark at or after `row`, unless the prompt ends before: a reply is in
/// between, or `row` is padding that trails a reply.
fn prompt_end(cells: &[Cell], row: usize) -> Option<usize> {
    if cells[row].kind == PADDING {
        let before = cells[..row].iter().rfind(|cell| cell.kind != PADDING);
        if before.is_some_and(|cell| cell.kind == REPLY || cell.kind == MARK) {
            return None;
        }
    }
    let end = (row..cells.len()).find(|&at| cells[at].kind == MARK || cells[at].kind == REPLY)?;
    let mark = cells[end];
    (mark.kind == MARK).then(|| end + mark.len - 1 - mark.offset)
}

/// The ring of an image's cell, found by peeling the grid border by border.
pub(crate) fn ring(cell: Cell) -> usize {
    let mut height = 1;
    for candidate in 1..=cell.len {
        if candidate * candidate <= cell.len && cell.len.is_multiple_of(candidate) {
            height = candidate;
        }
    }
    let (mut top, mut left) = (0, 0);
    let (mut bottom, mut right) = (height - 1, cell.len / height - 1);
    let (y, x) = (cell.offset / (right + 1), cell.offset % (right + 1));
    let mut ring = 0;
    while y != top && y != bottom && x != left && x != right {
        (top, left, bottom, right, ring) = (top + 1, left + 1, bottom - 1, right - 1, ring + 1);
    }
    ring
}

/// The mask of `policy`, row by row.
pub(crate) fn defined(policy: AttentionPolicy, cells: &[Cell]) -> Vec<bool> {
    let mut mask = Vec::with_capacity(cells.len() * cells.len());
    for (row, &query) in cells.iter().enumerate() {
        let end = prompt_end(cells, row);
        for (column, &key) in cells.iter().enumerate() {
            let same_image = query.kind == IMAGE && query.piece == key.piece;
            let before = column <= row;
            let of_prompt = end.is_some_and(|end| column <= end);
            let is_image = key.kind == IMAGE;
            let sees = match policy {
                AttentionPolicy::ModalityMutual => {
                    before || (query.kind == IMAGE && of_prompt && !is_image)
                }
                AttentionPolicy::ConcentricCausal if same_image => ring(key) <= ring(query),
                AttentionPolicy::Causal | AttentionPolicy::ConcentricCausal => before,
                AttentionPolicy::Prefix => before || of_prompt || same_image,
                AttentionPolicy::ImageBidirectional => before || same_image,
                other => panic!("{other} has no definition here yet"),
            };
            mask.push(sees && key.kind != PADDING);
        }
    }
    mask
}

/// What every row of a plan of at most 64 columns sees, as bits.
pub(crate) fn bits(plan: &AttentionPlan) -> Vec<u64> {
    let row = |row| {
        let columns = plan.visible(row).iter().flat_map(Clone::clone);
        columns.fold(0, |bits, column| bits | 1 << column)
    };
    (0..plan.num_rows()).map(row).collect()
}

/// What every row learns of through any number of layers: what it sees, what those see, and so on.
pub(crate) fn closure(mut rows: Vec<u64>) -> Vec<u64> {
    for through in 0..rows.len() {
        for row in 0..rows.len() {
            if rows[row] >> through & 1 == 1 {
                rows[row] |= rows[through];
            }
        }
    }
    rows
}
