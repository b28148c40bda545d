//! Charts and diagrams.

use serde::Serialize;

use super::{Color, Scene, TINTS, View};
use crate::random::Stream;

/// A sort of chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChartKind {
    /// Bars side by side.
    Bar,
    /// Points joined by a line.
    Line,
    /// Slices of a disc.
    Pie,
}

/// A value of a chart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The letter at it; a pie has none.
    pub label: char,
    /// Its colour; all points of a line share one.
    pub color: Color,
    /// From 1 to 9; of a pie, in eighths.
    pub value: usize,
}

/// What a chart shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chart {
    /// Its sort.
    pub kind: ChartKind,
    /// The values, from left to right, or around from the top.
    pub entries: Vec<Entry>,
}

/// Boxes with letters, and arrows between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagram {
    /// The letters and colours of boxes, in a grid of two columns from the left and from the top.
    pub boxes: Vec<(char, Color)>,
    /// From which box to which, by their numbers.
    pub arrows: Vec<(usize, usize)>,
}

/// Colours that are told apart on pale paper.
const INKS: [Color; 8] = [
    Color::Red,
    Color::Orange,
    Color::Yellow,
    Color::Green,
    Color::Blue,
    Color::Purple,
    Color::Pink,
    Color::Brown,
];

/// Makes a scene with a chart; no two values are equal.
pub(super) fn make_chart(stream: &mut Stream) -> Scene {
    let kind = stream.pick(&[ChartKind::Bar, ChartKind::Bar, ChartKind::Line, ChartKind::Pie]);
    let mut colors = INKS;
    stream.shuffle(&mut colors);
    let values: Vec<usize> = if kind == ChartKind::Pie {
        let mut slices = stream.pick(&[vec![5, 3], vec![6, 2], vec![4, 3, 1], vec![5, 2, 1]]);
        stream.shuffle(&mut slices);
        slices
    } else {
        let mut values: Vec<usize> = (1..=9).collect();
        stream.shuffle(&mut values);
        values.truncate(3 + stream.below(3));
        values
    };
    let entry = |(number, value): (usize, usize)| {
        let color = if kind == ChartKind::Line { colors[0] } else { colors[number] };
        Entry { label: (b'A' + number as u8) as char, color, value }
    };
    let entries = values.into_iter().enumerate().map(entry).collect();
    Scene { chart: Some(Chart { kind, entries }), ..Scene::empty(View::Chart, stream.pick(&TINTS)) }
}

/// Makes a scene with a diagram; from every box one arrow goes out at most, and none
/// crosses another.
pub(super) fn make_diagram(stream: &mut Stream) -> Scene {
    let num_boxes = 3 + stream.below(2);
    let mut letters: Vec<char> = ('A'..='H').collect();
    let mut colors = INKS;
    stream.shuffle(&mut letters);
    stream.shuffle(&mut colors);
    let boxes = letters.into_iter().zip(colors).take(num_boxes).collect();
    let mut order: Vec<usize> = (0..num_boxes).collect();
    let num_arrows = 2 + stream.below(num_boxes - 2);
    let arrows = loop {
        stream.shuffle(&mut order);
        let arrows: Vec<(usize, usize)> =
            order.windows(2).take(num_arrows).map(|pair| (pair[0], pair[1])).collect();
        // Both diagonals of the grid: arrows that cross are hard to follow.
        if arrows.iter().filter(|(from, to)| from + to == 3).count() < 2 {
            break arrows;
        }
    };
    let diagram = Some(Diagram { boxes, arrows });
    Scene { diagram, ..Scene::empty(View::Diagram, stream.pick(&TINTS)) }
}
