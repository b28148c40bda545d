//! The mask figure: who may read whom, drawn from attention plans.
//!
//! Everything is read from [`AttentionPlan`]s and the kinds of a [`Layout`]'s spans; nothing here
//! decides what is visible.
#![allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "pixel coordinates are small, and clipped where they are used"
)]

mod canvas;

use std::io::Write;

use anyhow::Result;
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role, SpanKind};

use canvas::{Align, Canvas, Colour, Fonts, Rect, TextStyle};

const INK: Colour = [38, 43, 51];
const FAINT: Colour = [120, 128, 140];
const UNSEEN: Colour = [240, 242, 245];
const SEEN: Colour = [92, 128, 176];
const OPENED: Colour = [232, 119, 34];
const CLOSED: Colour = [203, 209, 218];
const WHITE: Colour = [255, 255, 255];

const TEXT: f32 = 24.0;
const TITLE: f32 = 32.0;
const GAP: f32 = 14.0;
/// Thickness of the coloured bars that mark the blocks along both axes.
const BAR: f32 = 12.0;
/// Between the labels of neighbouring blocks: stacked at the left, slanted at the top.
const STACKED_PITCH: f32 = 30.0;
const SLANTED_PITCH: f32 = 40.0;
/// Between two rows of panels.
const ROW_GAP: f32 = 72.0;
const LABEL_ANGLE: f32 = 45.0;
const LEADER: f32 = 30.0;
const MAX_PER_ROW: usize = 3;

/// A named block of positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) kind: SpanKind,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Block {
    /// Returns the label with the number of tokens, where that says anything.
    fn caption(&self) -> String {
        match self.kind {
            SpanKind::ReplyMark => self.label.clone(),
            _ => format!("{} ({})", self.label, self.len),
        }
    }
}

/// Names the spans of a layout as a reader would.
pub(crate) fn blocks(layout: &Layout) -> Vec<Block> {
    let placed: Vec<_> = layout.placed().collect();
    let num_images = layout.num_images();
    let mut image = 0;
    let mut blocks = Vec::with_capacity(placed.len());
    for (index, (kind, range)) in placed.iter().enumerate() {
        let next = placed.get(index + 1).map(|(kind, _)| *kind);
        let label = match kind {
            SpanKind::Text(Role::System) => "system".to_owned(),
            SpanKind::Text(Role::User) if next == Some(SpanKind::Image) => "user".to_owned(),
            SpanKind::Text(Role::User) => "question".to_owned(),
            SpanKind::Text(Role::Assistant) => "reply".to_owned(),
            SpanKind::Image if num_images > 1 => {
                image += 1;
                format!("image {image}")
            }
            SpanKind::Image => "image".to_owned(),
            SpanKind::ReplyMark => "<|assistant|>".to_owned(),
            SpanKind::Padding => "padding".to_owned(),
        };
        blocks.push(Block { label, kind: *kind, start: range.start, len: range.len() });
    }
    blocks
}

/// Returns the colour of a block's bar and label.
fn colour(kind: SpanKind) -> Colour {
    match kind {
        SpanKind::Text(Role::System) => [110, 118, 129],
        SpanKind::Text(Role::User) => [122, 82, 168],
        SpanKind::Text(Role::Assistant) => [33, 120, 72],
        SpanKind::Image => [0, 130, 140],
        SpanKind::ReplyMark => [176, 42, 86],
        SpanKind::Padding => [190, 190, 190],
    }
}

/// What a cell of the mask says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// Seen, as under the causal policy.
    Seen,
    /// Seen, and later than the query.
    Opened,
    /// Not later than the query, and yet not seen.
    Closed,
    /// Later than the query and not seen.
    Unseen,
}

impl Cell {
    fn colour(self) -> Colour {
        match self {
            Self::Seen => SEEN,
            Self::Opened => OPENED,
            Self::Closed => CLOSED,
            Self::Unseen => UNSEEN,
        }
    }
}

/// One policy's mask of the figure.
struct Panel {
    title: &'static str,
    cells: Vec<Cell>,
}

impl Panel {
    fn new(policy: AttentionPolicy, layout: &Layout) -> Self {
        let plan: AttentionPlan = policy.plan(layout);
        let len = layout.len().max(1);
        let dense = plan.to_dense();
        let cells = dense.iter().enumerate().map(|(at, &seen)| match (seen, at % len > at / len) {
            (true, false) => Cell::Seen,
            (true, true) => Cell::Opened,
            (false, false) => Cell::Closed,
            (false, true) => Cell::Unseen,
        });
        Self { title: policy.title(), cells: cells.collect() }
    }
}

/// Draws the masks of `policies` side by side and writes them as PNG.
///
/// # Errors
/// If `out` cannot be written.
pub(crate) fn write_masks(
    layout: &Layout,
    policies: &[AttentionPolicy],
    out: impl Write,
) -> Result<()> {
    let fonts = Fonts::embedded()?;
    let figure = Figure::new(layout, policies, &fonts);
    figure.draw(&fonts).write_png(out)
}

/// Sizes in pixels, and what is drawn.
struct Figure {
    blocks: Vec<Block>,
    panels: Vec<Panel>,
    len: usize,
    per_row: usize,
    /// Side of one token's cell.
    cell: f32,
    /// Side of a mask.
    side: f32,
    /// Room for the labels above and to the left of a mask.
    label_height: f32,
    label_width: f32,
}

impl Figure {
    fn new(layout: &Layout, policies: &[AttentionPolicy], fonts: &Fonts) -> Self {
        let blocks = blocks(layout);
        let len = layout.len().max(1);
        let target: f32 = match policies.len() {
            0 | 1 => 1200.0,
            2 => 960.0,
            _ => 800.0,
        };
        let cell = (target / len as f32).clamp(0.0, 48.0);
        let cell = if cell >= 1.0 { cell.round().max(1.0) } else { cell };
        let style = label_style(INK, Align::Left);
        let widest = blocks.iter().map(|b| fonts.width(&b.caption(), &style)).fold(0.0, f32::max);
        Self {
            panels: policies.iter().map(|policy| Panel::new(*policy, layout)).collect(),
            len,
            per_row: policies.len().clamp(1, MAX_PER_ROW),
            cell,
            side: cell * len as f32,
            label_height: widest * 0.71 + LEADER + BAR + GAP,
            label_width: widest + LEADER + BAR + GAP,
            blocks,
        }
    }

    /// Returns the size of one panel with its titles and labels.
    fn panel_size(&self) -> (f32, f32) {
        // Slanted labels lean out to the right of the last block.
        let overhang = self.label_height * 0.6;
        let axis = TEXT + GAP;
        (
            axis + self.label_width + self.side + overhang,
            TITLE + 2.0 * GAP + axis + self.label_height + self.side,
        )
    }

    fn draw(&self, fonts: &Fonts) -> Canvas {
        let (width, height) = self.panel_size();
        let num_rows = self.panels.len().div_ceil(self.per_row).max(1);
        let margin = 40.0;
        let legend = TEXT + 3.0 * GAP;
        let total_width = 2.0 * margin + width * self.per_row as f32;
        let rows_height = (height + ROW_GAP) * num_rows as f32 - ROW_GAP + GAP;
        let total_height = 2.0 * margin + rows_height + legend;
        let mut canvas = Canvas::new(total_width.ceil() as usize, total_height.ceil() as usize);
        for (index, panel) in self.panels.iter().enumerate() {
            let x = margin + width * (index % self.per_row) as f32;
            let y = margin + (height + ROW_GAP) * (index / self.per_row) as f32;
            self.draw_panel(&mut canvas, fonts, panel, (x.round(), y.round()));
        }
        let left = margin + TEXT + GAP + self.label_width;
        self.draw_legend(&mut canvas, fonts, (left, margin + rows_height + legend / 2.0));
        canvas
    }

    fn draw_panel(&self, canvas: &mut Canvas, fonts: &Fonts, panel: &Panel, at: (f32, f32)) {
        let axis = TEXT + GAP;
        let left = (at.0 + axis + self.label_width).round();
        let top = (at.1 + TITLE + 2.0 * GAP + axis + self.label_height).round();
        let centre = left + self.side / 2.0;
        let heading = TextStyle { size: TITLE, bold: true, ..label_style(INK, Align::Centre) };
        canvas.text(fonts, panel.title, (centre, at.1 + TITLE / 2.0), &heading);
        let name = label_style(FAINT, Align::Centre);
        let keys = at.1 + TITLE + 2.0 * GAP + TEXT / 2.0;
        canvas.text(fonts, "keys: what is read \u{2192}", (centre, keys), &name);
        let upright = TextStyle { angle: 90.0, ..name };
        let middle = top + self.side / 2.0;
        let queries = (at.0 + TEXT / 2.0, middle);
        canvas.text(fonts, "\u{2190} queries: who reads", queries, &upright);
        self.draw_cells(canvas, panel, (left, top));
        self.draw_blocks(canvas, fonts, (left, top));
    }

    fn draw_cells(&self, canvas: &mut Canvas, panel: &Panel, (left, top): (f32, f32)) {
        let frame = Rect { x: left, y: top, width: self.side, height: self.side };
        canvas.fill(frame, UNSEEN);
        // Whole cells get a gap when they are large enough for one to be seen.
        let gap = if self.cell >= 10.0 { (self.cell / 14.0).round().max(1.0) } else { 0.0 };
        if gap > 0.0 {
            canvas.fill(frame, WHITE);
        }
        for (row, cells) in panel.cells.chunks_exact(self.len).enumerate() {
            let y = top + self.cell * row as f32;
            let mut column = 0;
            while column < self.len {
                let cell = cells[column];
                // Without gaps neighbours of one colour are one rectangle.
                let alike = cells[column..].iter().take_while(|c| **c == cell).count();
                let run = if gap > 0.0 { 1 } else { alike };
                let x = left + self.cell * column as f32;
                let width = self.cell * run as f32 - gap;
                let rect = Rect { x, y, width, height: self.cell - gap };
                canvas.fill(rect, cell.colour());
                column += run;
            }
        }
        let thickness = if gap > 0.0 { gap + 2.0 } else { 2.0 };
        for block in self.blocks.iter().skip(1) {
            let at = self.cell * block.start as f32 - gap / 2.0 - thickness / 2.0;
            let (width, height) = (self.side, thickness);
            canvas.fill(Rect { x: left, y: top + at, width, height }, WHITE);
            let (width, height) = (thickness, self.side);
            canvas.fill(Rect { x: left + at, y: top, width, height }, WHITE);
        }
    }

    /// Draws the bars and labels of the blocks along both axes.
    fn draw_blocks(&self, canvas: &mut Canvas, fonts: &Fonts, (left, top): (f32, f32)) {
        let inset = if self.blocks.len() > 1 { 1.0 } else { 0.0 };
        let centres: Vec<f32> =
            self.blocks.iter().map(|b| (b.start as f32 + b.len as f32 / 2.0) * self.cell).collect();
        let stacked = spread(&centres, STACKED_PITCH);
        let slanted = spread(&centres, SLANTED_PITCH);
        for (index, block) in self.blocks.iter().enumerate() {
            let (centre, down, across) = (centres[index], stacked[index], slanted[index]);
            let ink = colour(block.kind);
            let start = self.cell * block.start as f32 + inset;
            let extent = (self.cell * block.len as f32 - 2.0 * inset).max(2.0);
            let bar = BAR - 4.0;
            let rect = Rect { x: left + start, y: top - BAR, width: extent, height: bar };
            canvas.fill(rect, ink);
            let rect = Rect { x: left - BAR, y: top + start, width: bar, height: extent };
            canvas.fill(rect, ink);
            let label = block.caption();
            let near = BAR + 3.0;
            let far = BAR + LEADER - 6.0;
            canvas.line((left - near, top + centre), (left - far, top + down), 1.5, ink);
            let right = label_style(ink, Align::Right);
            canvas.text(fonts, &label, (left - far - 6.0, top + down), &right);
            canvas.line((left + centre, top - near), (left + across, top - far), 1.5, ink);
            let style = TextStyle { angle: LABEL_ANGLE, ..label_style(ink, Align::Left) };
            canvas.text(fonts, &label, (left + across + 3.0, top - far - 9.0), &style);
        }
    }

    fn draw_legend(&self, canvas: &mut Canvas, fonts: &Fonts, (left, y): (f32, f32)) {
        let entries = [
            (Cell::Seen, "read, as under a causal mask"),
            (Cell::Opened, "opened by the policy: later than the query"),
            (Cell::Closed, "closed: earlier, and not read"),
            (Cell::Unseen, "later than the query, not read"),
        ];
        let style = label_style(INK, Align::Left);
        let mut x = left;
        for (cell, text) in entries {
            let used = self.panels.iter().any(|panel| panel.cells.contains(&cell));
            if !used {
                continue;
            }
            let swatch = Rect { x, y: y - TEXT / 2.0, width: TEXT, height: TEXT };
            canvas.fill(swatch, cell.colour());
            canvas.text(fonts, text, (x + TEXT + 10.0, y), &style);
            x += TEXT + 10.0 + fonts.width(text, &style) + 36.0;
        }
    }
}

fn label_style(colour: Colour, align: Align) -> TextStyle {
    TextStyle { size: TEXT, bold: false, colour, align, angle: 0.0 }
}

/// Moves ascending places apart until neighbours are at least `pitch` from each other, as little
/// as possible.
fn spread(wanted: &[f32], pitch: f32) -> Vec<f32> {
    // Clusters of labels that touch: (sum of wanted starts, count), merged while they overlap.
    let mut clusters: Vec<(f32, usize)> = Vec::new();
    for place in wanted {
        clusters.push((*place, 1));
        while let [.., before, last] = clusters.as_slice() {
            let before_end = before.0 / before.1 as f32 + pitch * before.1 as f32 / 2.0;
            let last_start = last.0 / last.1 as f32 - pitch * last.1 as f32 / 2.0;
            if before_end <= last_start {
                break;
            }
            let merged = (before.0 + last.0, before.1 + last.1);
            clusters.truncate(clusters.len() - 2);
            clusters.push(merged);
        }
    }
    clusters
        .iter()
        .flat_map(|(sum, count)| {
            let first = sum / *count as f32 - pitch * (*count as f32 - 1.0) / 2.0;
            (0..*count).map(move |index| first + pitch * index as f32)
        })
        .collect()
}
