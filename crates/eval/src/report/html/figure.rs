//! Bars and the radar plot.

use std::f64::consts::TAU;
use std::fmt::Write;

use super::super::text::number;
use super::super::{Report, Table, paper};
use super::escape;

/// Returns the lines of a table with a bar each for the first figure.
pub(super) fn bars(table: &Table) -> String {
    let firsts = || table.rows.iter().filter_map(|(_, figures)| figures.first().copied().flatten());
    // Points of MME go up to 200 by category, everything else to 100; sums have no bar.
    let best = if table.name == "points" { 200.0 } else { 100.0 };
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<details {}><summary>{}</summary><table class=\"bars\"><thead><tr><th></th>",
        if table.rows.len() <= 40 { "open" } else { "" },
        escape(&table.name)
    );
    for (at, column) in table.columns.iter().enumerate() {
        let name = if column == "none" { "all" } else { column };
        let span = if at == 0 { " colspan=\"2\"" } else { "" };
        let _ = write!(out, "<th{span}>{}</th>", escape(name));
    }
    out.push_str("</tr></thead><tbody>\n");
    let has_bars = firsts().next().is_some();
    for (name, figures) in &table.rows {
        let _ = write!(out, "<tr><td>{}</td>", escape(name));
        for (at, figure) in figures.iter().enumerate() {
            if at == 0 {
                let share = figure.unwrap_or_default() / best * 100.0;
                let bar = if has_bars && (0.0..=100.0).contains(&share) {
                    format!("<i style=\"width:{share:.1}%\"></i>")
                } else {
                    String::new()
                };
                let _ = write!(out, "<td class=\"bar\">{bar}</td>");
            }
            let _ = write!(out, "<td>{}</td>", number(*figure));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></details>\n");
    out
}

/// Where the plot's middle is, and how far it reaches.
const CENTRE: f64 = 210.0;
const REACH: f64 = 140.0;

/// Returns the scores as a radar plot beside the paper's, each of the best that it can be; nothing
/// if there are fewer than three of the paper's columns.
pub(super) fn radar(report: &Report) -> String {
    let axes: Vec<(&str, f64, f64, f64)> = report
        .benchmarks
        .iter()
        .flat_map(|scored| &scored.headlines)
        .filter_map(|headline| {
            let known = paper(&headline.column)?;
            let own = headline.value? / known.best;
            Some((known.column, own, known.aki_4b / known.best, known.mutual / known.best))
        })
        .collect();
    if axes.len() < 3 {
        return String::new();
    }
    let point = |at: usize, share: f64| {
        let angle = TAU * at as f64 / axes.len() as f64;
        let distance = share.clamp(0.0, 1.0) * REACH;
        (CENTRE + distance * angle.sin(), CENTRE - distance * angle.cos())
    };
    let polygon = |share: &dyn Fn(usize) -> f64| {
        let points = (0..axes.len()).map(|at| {
            let (x, y) = point(at, share(at));
            format!("{x:.1},{y:.1}")
        });
        points.collect::<Vec<_>>().join(" ")
    };
    let mut out = String::from("<svg class=\"radar\" viewBox=\"-45 0 510 450\" role=\"img\">\n");
    for ring in [0.25, 0.5, 0.75, 1.0] {
        let _ = writeln!(out, "<polygon class=\"ring\" points=\"{}\"/>", polygon(&|_| ring));
    }
    for (at, (name, ..)) in axes.iter().enumerate() {
        let (x, y) = point(at, 1.0);
        let _ = writeln!(
            out,
            "<line class=\"ring\" x1=\"{CENTRE}\" y1=\"{CENTRE}\" x2=\"{x:.1}\" y2=\"{y:.1}\"/>"
        );
        let angle = TAU * at as f64 / axes.len() as f64;
        let (x, y) =
            (CENTRE + (REACH + 14.0) * angle.sin(), CENTRE - (REACH + 14.0) * angle.cos() + 4.0);
        let side = match angle.sin() {
            side if side > 0.3 => "start",
            side if side < -0.3 => "end",
            _ => "middle",
        };
        let _ =
            writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{side}\">{name}</text>");
    }
    for (class, share) in [
        ("mutual", polygon(&|at| axes[at].3)),
        ("published", polygon(&|at| axes[at].2)),
        ("own", polygon(&|at| axes[at].1)),
    ] {
        let _ = writeln!(out, "<polygon class=\"{class}\" points=\"{share}\"/>");
    }
    for (at, (class, name)) in
        [("own", "this run"), ("published", "AKI-4B"), ("mutual", "MMA")].into_iter().enumerate()
    {
        let x = 80 + 110 * at;
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"428\" width=\"14\" height=\"10\"/><text x=\"{}\" \
             y=\"437\">{name}</text>",
            x + 20
        );
    }
    out.push_str("</svg>\n");
    out
}
