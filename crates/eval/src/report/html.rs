//! One page that needs nothing else: scores, bars, a radar plot, wrong answers with their images.

mod answers;
mod differences;
mod figure;
mod overview;

use std::fmt::Write;

pub use self::answers::{Change, Shown};
use self::figure::bars;
use super::{Comparison, Report};
use crate::score::Scored;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/page.js");

/// What a page shows beside its report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page<'p> {
    /// Answers: wrong ones, or those that differ between two runs.
    pub shown: &'p [Shown],
    /// How another run differs, which comes first.
    pub comparison: Option<&'p Comparison>,
    /// The other run.
    pub first: Option<&'p Report>,
}

/// Returns a page.
pub fn html(report: &Report, page: Page<'_>) -> String {
    let mut out = String::new();
    let title = escape(&match page.first {
        Some(first) => format!("{} beside {}", report.title, first.title),
        None => report.title.clone(),
    });
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\n"
    );
    overview::write(&mut out, report, page.first);
    if let Some(comparison) = page.comparison {
        differences::write(&mut out, comparison);
    }
    out.push_str("<div class=\"benchmarks\">\n");
    for scored in &report.benchmarks {
        benchmark(&mut out, scored);
    }
    out.push_str("</div>\n");
    if !page.shown.is_empty() {
        answers::write(&mut out, page.shown);
    }
    let _ = write!(out, "</main>\n<script>{SCRIPT}</script></body></html>\n");
    out
}

fn benchmark(out: &mut String, scored: &Scored) {
    // Many columns need the whole width.
    let is_wide = scored.tables.iter().any(|table| table.columns.len() > 3);
    let _ = writeln!(
        out,
        "<section id=\"{}\" class=\"benchmark{}\"><h2>{}</h2><p class=\"small\">{} of {} questions \
         answered{}</p>",
        anchor(&scored.name),
        if is_wide { " wide" } else { "" },
        escape(&scored.name),
        scored.answered,
        scored.questions,
        match scored.unparsed {
            0 => ", all answers read".to_owned(),
            count => format!(", <b>{count}</b> that nobody could read"),
        },
    );
    for note in &scored.notes {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(note));
    }
    for (at, table) in scored.tables.iter().enumerate() {
        out.push_str(&bars(table, at == 0));
    }
    out.push_str("</section>\n");
}

/// Returns a score with one decimal, so that scores stand under each other; a dash for none.
fn score(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.1}"))
}

/// Returns text that means itself in a page.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// Returns a name for a place in the page.
fn anchor(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}
