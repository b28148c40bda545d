//! Bars and the radar plot.

use std::f64::consts::TAU;
use std::fmt::Write;

use super::super::{Report, Table, paper};
use super::{escape, score};
use crate::score::Headline;

/// Returns the lines of a table with a bar each for the first figure; `open` shows it at once.
pub(super) fn bars(table: &Table, open: bool) -> String {
    // Points of MME go up to 200 by category, everything else to 100.
    let best = if table.name == "points" { 200.0 } else { 100.0 };
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<details{}><summary>{}</summary><div class=\"scroll\"><table class=\"bars\"><thead><tr>\
         <th></th>",
        if open { " open" } else { "" },
        escape(&table.name)
    );
    for (at, column) in table.columns.iter().enumerate() {
        let name = if column == "none" { "all" } else { column };
        let span = if at == 0 { " colspan=\"2\"" } else { "" };
        let _ = write!(out, "<th{span}>{}</th>", escape(name));
    }
    out.push_str("</tr></thead><tbody>\n");
    for (name, figures) in &table.rows {
        let class = if is_whole(name) { " class=\"whole\"" } else { "" };
        let best = best_of(name).unwrap_or(best);
        // Names are long and have no spaces to break lines at.
        let name = escape(name).replace('_', "_<wbr>");
        let _ = write!(out, "<tr{class}><td>{name}</td>");
        for (at, figure) in figures.iter().enumerate() {
            if at == 0 {
                let share = (figure.unwrap_or_default() / best * 100.0).clamp(0.0, 100.0);
                let _ = write!(
                    out,
                    "<td class=\"bar\"><div><i style=\"width:{share:.1}%\"></i></div></td>"
                );
            }
            let shown = match figure {
                Some(count) if is_count(&table.columns[at]) => format!("{count:.0}"),
                figure => score(*figure),
            };
            let _ = write!(out, "<td>{shown}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div></details>\n");
    out
}

/// Returns whether a column has counts.
fn is_count(name: &str) -> bool {
    matches!(name, "answers" | "right" | "without judge")
}

/// Returns whether a line stands for the whole.
fn is_whole(name: &str) -> bool {
    matches!(name, "Overall" | "overall") || best_of(name).is_some()
}

/// Returns the best that a sum of MME can be.
fn best_of(name: &str) -> Option<f64> {
    let column = match name {
        "perception" => "MME-P",
        "cognition" => "MME-C",
        _ => return None,
    };
    paper(column).map(|known| known.best)
}

/// Where the plot's middle is, and how far it reaches.
const CENTRE: f64 = 210.0;
const REACH: f64 = 140.0;

/// A column of the paper's tables, and scores as shares of the best.
struct Axis {
    name: String,
    own: f64,
    first: f64,
    published: f64,
    mutual: f64,
}

impl Axis {
    fn share(&self, class: &str) -> f64 {
        match class {
            "own" => self.own,
            "first" => self.first,
            "published" => self.published,
            _ => self.mutual,
        }
    }
}

fn axes(report: &Report, first: Option<&Report>) -> Vec<Axis> {
    let headlines = |report| -> Vec<&Headline> {
        let Report { benchmarks, .. }: &Report = report;
        benchmarks.iter().flat_map(|scored| &scored.headlines).collect()
    };
    let others = first.map(headlines).unwrap_or_default();
    let axis = |headline: &Headline| {
        let known = paper(&headline.column)?;
        let share = |value: f64| value / known.best;
        let other = others.iter().find(|other| other.column == headline.column);
        let star = if headline.comparable { "" } else { "*" };
        Some(Axis {
            name: format!("{}{star}", known.column),
            own: share(headline.value?),
            first: share(other.and_then(|other| other.value).unwrap_or_default()),
            published: share(known.aki_4b),
            mutual: share(known.mutual),
        })
    };
    headlines(report).into_iter().filter_map(axis).collect()
}

/// Returns the scores as a radar plot beside the paper's, each of the best that it can be; nothing
/// if there are fewer than three of the paper's columns.
pub(super) fn radar(report: &Report, first: Option<&Report>) -> String {
    let axes = axes(report, first);
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
    let mut out = String::from(
        "<svg class=\"radar\" viewBox=\"-40 24 500 410\" role=\"img\" aria-label=\"scores, each of \
         the best that it can be\">\n",
    );
    for ring in [0.25, 0.5, 0.75, 1.0] {
        let _ = writeln!(out, "<polygon class=\"ring\" points=\"{}\"/>", polygon(&|_| ring));
    }
    for (at, Axis { name, .. }) in axes.iter().enumerate() {
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
    let mut lines = vec![("own", if first.is_some() { "B" } else { "this run" })];
    if first.is_some() {
        lines.push(("first", "A"));
    }
    lines.extend([("published", "AKI-4B"), ("mutual", "MMA")]);
    for (class, _) in lines.iter().rev() {
        let share = polygon(&|at| axes[at].share(class));
        let _ = writeln!(out, "<polygon class=\"{class}\" points=\"{share}\"/>");
    }
    for (at, (class, name)) in lines.iter().enumerate() {
        let x = 60 + 100 * at;
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"412\" width=\"14\" height=\"10\"/><text x=\"{}\" \
             y=\"422\">{name}</text>",
            x + 20
        );
    }
    out.push_str("</svg>\n");
    out
}
