//! What image tokens know, layer by layer: from the probes of all runs.

use super::page::{Block, Line, Scale};
use super::report::shown;
use super::results::{Results, RowResult};
use super::statistics::{Mean, mean};
use crate::probe::{Layer, Probe, Read};

/// Takes a figure out of what was read.
type FigureOf = fn(&Read) -> f64;

/// Shows what can be read of the thing that is asked for, and of another, and whether tokens know that
/// they are counted.
pub(super) fn blocks(results: &Results, name: &str) -> Vec<Block> {
    let Some(first) = results.rows.iter().find_map(probe_of) else { return Vec::new() };
    let mut blocks = vec![
        Block::Heading("What image tokens know of the thing that is asked for".to_owned()),
        Block::Text(format!(
            "A linear rule (ridge regression, its penalty chosen on a fifth of what is learned) from all image \
             tokens of a layer to the thing that `What color is the star?` asks for, learned from {} \
             pictures that are kept for tests and tested on {} others; and to another thing in the same \
             picture. Always saying the most common is right in {:.0} % (colour) and {:.0} % (size); \
             place is the explained share of the variance. `input` is what the connector makes, which \
             no policy can change.",
            first.learned,
            first.tested,
            100.0 * first.chance.color,
            100.0 * first.chance.size,
        )),
    ];
    let figures: [(&str, FigureOf); 3] =
        [("colour", |read| read.color), ("place", |read| read.place), ("size", |read| read.size)];
    for (of, figure) in figures {
        let table = Layers {
            figure: format!("{name}-probe-{of}"),
            head: format!("{of}, %"),
            y: format!("{of} of the thing that is asked for, %"),
            read: &|layer| Some(figure(&layer.asked)),
            beside: Some(("another thing", &|layer| Some(figure(&layer.other)))),
        };
        blocks.extend(table.blocks(results, first));
    }
    if first.layers.iter().any(|layer| layer.counted.is_some()) {
        blocks.push(Block::Text(
            "And a rule from a token alone: `How many red stars are there?` is asked about crowds of things that \
             share few kinds and few colours, and a token that lies on one of them has to say whether that \
             is counted. The table has the area under the curve of hits and false alarms, 50 by guessing. \
             Where an image cannot read the question, little more than guessing is possible: what is most \
             numerous is asked for most."
                .to_owned(),
        ));
        let table = Layers {
            figure: format!("{name}-probe-counted"),
            head: "counted, of 100".to_owned(),
            y: "whether a token is counted, of 100".to_owned(),
            read: &|layer| layer.counted,
            beside: None,
        };
        blocks.extend(table.blocks(results, first));
    }
    blocks
}

fn probe_of(row: &RowResult) -> Option<&Probe> {
    row.runs.iter().find_map(|run| run.probe.as_ref())
}

/// Takes a figure of a layer.
type OfLayer<'a> = &'a dyn Fn(&Layer) -> Option<f64>;

/// A table and a figure of what rows have in every layer.
struct Layers<'a> {
    figure: String,
    head: String,
    y: String,
    read: OfLayer<'a>,
    /// What has a line of its own in the table, and its name.
    beside: Option<(&'static str, OfLayer<'a>)>,
}

impl Layers<'_> {
    fn blocks(self, results: &Results, first: &Probe) -> [Block; 2] {
        let mut head = vec![self.head];
        head.extend(first.layers.iter().map(|layer| layer.name.clone()));
        let mut rows = Vec::new();
        let mut lines: Vec<Line> = Vec::new();
        for row in results.rows.iter().filter(|row| probe_of(row).is_some()) {
            let means = |read: OfLayer<'_>| -> Vec<Option<Mean>> {
                (0..first.layers.len()).map(|layer| of_layer(row, layer, read)).collect()
            };
            let own = means(self.read);
            let points = own.iter().enumerate();
            let points = points.filter_map(|(at, mean)| Some((at as f64, (*mean)?.mean)));
            lines.push((row.row.label.clone(), points.collect()));
            let mut line = |label: String, means: Vec<Option<Mean>>| {
                rows.push(std::iter::once(label).chain(means.into_iter().map(shown)).collect());
            };
            line(row.row.label.clone(), own);
            if let Some((name, read)) = self.beside {
                line(format!("{}, {name}", row.row.label), means(read));
            }
        }
        let (name, x, y) = (self.figure, "layer".to_owned(), self.y);
        [Block::Figure { name, x, y, scale: Scale::Linear, lines }, Block::Table { head, rows }]
    }
}

/// Returns the mean of a figure over the seeds of a row, in one layer.
fn of_layer(row: &RowResult, layer: usize, read: OfLayer<'_>) -> Option<Mean> {
    let probes = row.runs.iter().filter_map(|run| run.probe.as_ref());
    let values: Vec<f64> =
        probes.filter_map(|probe| Some(100.0 * read(probe.layers.get(layer)?)?)).collect();
    mean(&values)
}
