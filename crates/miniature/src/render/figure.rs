//! Boards with words, charts and diagrams.

use crate::draw::{
    Canvas, Font, Path, Point, Rgb, circle, polygon, rectangle, rounded, stroke, turn, write,
};
use crate::scene::{Bounds, Chart, ChartKind, Color, Diagram, Writing};

const INK: Rgb = [58.0, 58.0, 70.0];
const PALE: Rgb = [214.0, 214.0, 222.0];
const PAPER: Rgb = [250.0, 250.0, 250.0];
/// The middles of the boxes of a diagram.
const GRID: [Point; 4] = [[0.24, 0.26], [0.76, 0.26], [0.24, 0.74], [0.76, 0.74]];
/// Half the side of a box of a diagram.
const HALF: f32 = 0.14;

/// Draws a board.
pub(super) fn board(canvas: &mut Canvas, writing: &Writing) {
    let Bounds { x, y, width, height } = writing.bounds;
    let board = rounded([x, y], [x + width, y + height], height * 0.18);
    canvas.shadow(&board);
    canvas.fill_with(&board, writing.board.paint());
    let middle = writing.bounds.middle();
    canvas.fill_with(
        &write(&writing.text, writing.font, middle, height / 1.6),
        writing.color.paint(),
    );
}

/// Draws a chart.
pub(super) fn chart(canvas: &mut Canvas, chart: &Chart) {
    if chart.kind == ChartKind::Pie {
        return pie(canvas, chart);
    }
    let (left, right, top, bottom) = (0.1, 0.95, 0.16, 0.82);
    for line in 0..=3 {
        let y = bottom - (bottom - top) * line as f32 / 3.0;
        canvas.fill_with(&stroke(&[[left, y], [right, y]], 0.004, false), PALE);
    }
    let axes = [[left, top - 0.06], [left, bottom], [right, bottom]];
    canvas.fill_with(&stroke(&axes, 0.012, false), INK);
    let step = (right - left) / chart.entries.len() as f32;
    let mut points = Vec::new();
    for (number, entry) in chart.entries.iter().enumerate() {
        let x = left + step * (number as f32 + 0.5);
        let y = bottom - (bottom - top) * entry.value as f32 / 9.0;
        if chart.kind == ChartKind::Bar {
            canvas.fill_with(
                &rectangle(x - step * 0.34, y, x + step * 0.34, bottom),
                entry.color.paint(),
            );
        }
        points.push([x, y]);
        let label = entry.label.to_string();
        canvas.fill_with(&write(&label, Font::Round, [x, 0.91], 0.09), INK);
    }
    if chart.kind == ChartKind::Line {
        let color = chart.entries[0].color.paint();
        canvas.fill_with(&stroke(&points, 0.022, true), color);
        for point in &points {
            canvas.fill_with(&circle(*point, 0.028), color);
        }
    }
    for ([x, y], entry) in points.iter().zip(&chart.entries) {
        let (number, middle) = (entry.value.to_string(), [*x, y - 0.075]);
        if chart.kind == ChartKind::Line {
            // The line leaves room for the numbers on it.
            canvas.fill_with(&circle(middle, 0.055), PAPER);
        }
        canvas.fill_with(&write(&number, Font::Bold, middle, 0.085), INK);
    }
}

/// Draws a pie, around from the top.
fn pie(canvas: &mut Canvas, chart: &Chart) {
    let (middle, radius) = ([0.5, 0.5], 0.38);
    canvas.shadow(&circle(middle, radius));
    let mut start = 0;
    for entry in &chart.entries {
        let mut points = vec![middle];
        for step in 0..=entry.value * 6 {
            let [x, y] = turn((start * 6 + step) as f32 / 48.0 - 0.25);
            points.push([middle[0] + radius * x, middle[1] + radius * y]);
        }
        start += entry.value;
        let slice: Path = polygon(&points);
        canvas.fill_with(&slice, entry.color.paint());
        points.push(middle);
        canvas.fill_with(&stroke(&points[..2], 0.012, true), [255.0; 3]);
        canvas.fill_with(&stroke(&points[points.len() - 2..], 0.012, true), [255.0; 3]);
    }
}

/// Draws a diagram.
pub(super) fn diagram(canvas: &mut Canvas, diagram: &Diagram) {
    for (from, to) in &diagram.arrows {
        arrow(canvas, GRID[*from], GRID[*to]);
    }
    for ((letter, color), [x, y]) in diagram.boxes.iter().zip(GRID) {
        let square = rounded([x - HALF, y - HALF], [x + HALF, y + HALF], 0.04);
        canvas.shadow(&square);
        canvas.fill_with(&square, color.paint());
        let is_light = matches!(color, Color::Yellow | Color::Pink | Color::Orange);
        let ink = if is_light { INK } else { [255.0; 3] };
        canvas.fill_with(&write(&letter.to_string(), Font::Bold, [x, y], 0.15), ink);
    }
}

/// Draws an arrow from the edge of a box to the edge of another.
fn arrow(canvas: &mut Canvas, from: Point, to: Point) {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let length = (dx * dx + dy * dy).sqrt();
    let (x, y) = (dx / length, dy / length);
    // How far the edge of a box is from its middle in this direction.
    let edge = HALF / x.abs().max(y.abs()) + 0.015;
    let start = [from[0] + x * edge, from[1] + y * edge];
    let tip = [to[0] - x * edge, to[1] - y * edge];
    let neck = [tip[0] - x * 0.08, tip[1] - y * 0.08];
    canvas.fill_with(&stroke(&[start, neck], 0.028, true), INK);
    let head =
        [tip, [neck[0] - y * 0.06, neck[1] + x * 0.06], [neck[0] + y * 0.06, neck[1] - x * 0.06]];
    canvas.fill_with(&polygon(&head), INK);
}
