//! Reports for terminals and spreadsheets.

use std::fmt::Write;

use super::compare::Comparison;
use super::{Report, paper};
use crate::score::Scored;

/// Returns a report as text; `details` adds every table.
pub fn text(report: &Report, details: bool) -> String {
    let header = ["", "score", "AKI-4B", "MMA", "answers", "unread", "what"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for scored in &report.benchmarks {
        for (at, headline) in scored.headlines.iter().enumerate() {
            let known = paper(&headline.column);
            let count = |number: usize| if at == 0 { number.to_string() } else { String::new() };
            let star = if headline.comparable || headline.value.is_none() { "" } else { " *" };
            lines.push(vec![
                headline.column.clone(),
                number(headline.value) + star,
                number(known.map(|known| known.aki_4b)),
                number(known.map(|known| known.mutual)),
                count(scored.answered),
                count(scored.unparsed),
                headline.metric.clone(),
            ]);
        }
    }
    let mut out = format!("{}\n\n", report.title);
    out.push_str(&align(&lines, &[0, 6]));
    let all = || report.benchmarks.iter().flat_map(|scored| &scored.headlines);
    out.push_str("\nAKI-4B and MMA: the paper's tables 2 and 1.");
    if all().any(|headline| !headline.comparable) {
        out.push_str(" *: does not compare with published numbers.");
    }
    out.push('\n');
    for scored in &report.benchmarks {
        for note in &scored.notes {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}: {note}", scored.name);
        }
    }
    if let Some(line) = judge_line(report) {
        let _ = writeln!(out, "{line}");
    }
    if details {
        report.benchmarks.iter().for_each(|scored| tables(&mut out, scored));
    }
    out
}

/// Returns what the judge was asked and what that cost, none if there was none.
pub(super) fn judge_line(report: &Report) -> Option<String> {
    let cost = report.judge?;
    let mut line =
        format!("judge: {} replies ({} known before)", cost.asked + cost.cached, cost.cached);
    // Writing to a string cannot fail.
    if cost.failed > 0 {
        let _ = write!(line, ", {} requests without a reply", cost.failed);
    }
    if cost.repeated > 0 {
        let _ = write!(line, ", {} repeated", cost.repeated);
    }
    let (read, written) = (cost.usage.prompt_tokens, cost.usage.completion_tokens);
    let _ = write!(line, ", {read} + {written} tokens");
    match report.price {
        // Small sums have digits, too.
        Some(price) if price > 0.0 && price < 0.1 => {
            let _ = write!(line, ", {price:.6} by the given prices");
        }
        Some(price) => {
            let _ = write!(line, ", {price:.2} by the given prices");
        }
        None => {}
    }
    Some(line)
}

fn tables(out: &mut String, scored: &Scored) {
    for table in &scored.tables {
        let _ = write!(out, "\n{}, {}\n\n", scored.name, table.name);
        let columns = table.columns.iter().map(|name| if name == "none" { "all" } else { name });
        let mut lines: Vec<Vec<String>> =
            vec![std::iter::once("").chain(columns).map(str::to_owned).collect()];
        for (name, figures) in &table.rows {
            let cells = figures.iter().map(|figure| number(*figure));
            lines.push(std::iter::once(name.clone()).chain(cells).collect());
        }
        out.push_str(&align(&lines, &[0]));
    }
}

/// Returns a number with the digits that mean something.
pub(super) fn number(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value.fract() == 0.0 && value.abs() < 1e15 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

/// Puts cells under each other, those of the columns `left` to the left.
fn align(lines: &[Vec<String>], left: &[usize]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let mut row = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            if column > 0 {
                row.push_str("  ");
            }
            let _ = if left.contains(&column) {
                write!(row, "{cell:<width$}")
            } else {
                write!(row, "{cell:>width$}")
            };
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out
}

/// Returns every number of a report as comma-separated values.
pub fn csv(report: &Report) -> String {
    let mut out = String::from("benchmark,rules,judge,table,line,column,value\n");
    let mut line = |scored: &Scored, cells: [&str; 3], value: Option<f64>| {
        let value = value.map(|value| value.to_string()).unwrap_or_default();
        let judge = scored.judge.as_deref().unwrap_or_default();
        let [table, row, column] = cells;
        let cells = [&scored.name, scored.rules.as_str(), judge, table, row, column, &value];
        out.push_str(&cells.map(quote).join(","));
        out.push('\n');
    };
    for scored in &report.benchmarks {
        for headline in &scored.headlines {
            line(scored, ["headline", &headline.column, &headline.metric], headline.value);
        }
        for (name, count) in [
            ("questions", scored.questions),
            ("answered", scored.answered),
            ("unparsed", scored.unparsed),
        ] {
            line(scored, ["counts", name, ""], Some(count as f64));
        }
        for table in &scored.tables {
            for (row, figures) in &table.rows {
                for (column, figure) in table.columns.iter().zip(figures) {
                    line(scored, [&table.name, row, column], *figure);
                }
            }
        }
    }
    out
}

fn quote(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// Returns the differences of two runs as text.
pub fn comparison_text(comparison: &Comparison) -> String {
    let header = ["", "A", "B", "B - A", "pairs", "only A", "only B", "p"];
    let mut lines = vec![header.map(str::to_owned).to_vec()];
    for difference in &comparison.benchmarks {
        lines.push(vec![
            difference.benchmark.clone(),
            number(Some(difference.first)),
            number(Some(difference.second)),
            format!("{:+.1}", difference.second - difference.first),
            difference.pairs.to_string(),
            difference.better_first.to_string(),
            difference.better_second.to_string(),
            format!("{:.4}", difference.p),
        ]);
    }
    let mut out = format!("A: {}\nB: {}\n\n", comparison.first, comparison.second);
    out.push_str(&align(&lines, &[0]));
    out.push_str(
        "\nMean scores of the questions that both answered, of 100. p: how often chance alone would \
         make as large a difference, by the test of McNemar where answers are right or wrong and by \
         exchanging grades at random where they are graded.\n",
    );
    out
}
