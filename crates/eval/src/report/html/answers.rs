//! Answers to look at: wrong ones, and those that differ between two runs.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::escape;
use crate::score::{Found, Item};

/// Which of two runs answered better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first run.
    Worse,
    /// The second run, which the page is about.
    Better,
}

/// An answer that a page shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The benchmark.
    pub benchmark: String,
    /// What became of it.
    pub item: Item,
    /// What was asked.
    pub question: String,
    /// The options by letter, if there are any.
    pub options: Vec<(String, String)>,
    /// What was answered; of `MMBench` in every rotation.
    pub answer: String,
    /// What the first of two runs answered, and which is better.
    pub other: Option<(String, Change)>,
    /// The images as addresses that hold them.
    pub images: Vec<String>,
}

/// Shows answers, to be searched by benchmark, words and what became of them.
pub(super) fn write(out: &mut String, shown: &[Shown]) {
    let is_comparison = shown.iter().any(|shown| shown.other.is_some());
    let mut benchmarks: BTreeMap<&str, usize> = BTreeMap::new();
    for shown in shown {
        *benchmarks.entry(&shown.benchmark).or_default() += 1;
    }
    let title = if is_comparison { "Answers that differ" } else { "Wrong answers" };
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<section><h2>{title}</h2><div class=\"search\"><select id=\"which\" \
         aria-label=\"benchmark\"><option value=\"\">all ({})</option>",
        shown.len()
    );
    for (name, count) in benchmarks {
        let name = escape(name);
        let _ = write!(out, "<option value=\"{name}\">{name} ({count})</option>");
    }
    out.push_str(
        "</select> <select id=\"kind\" aria-label=\"kind\"><option value=\"\">every kind</option>",
    );
    if is_comparison {
        out.push_str(
            "<option value=\"worse\">A is better</option><option value=\"better\">B is better</option>",
        );
    }
    out.push_str(
        "<option value=\"unread\">nobody could read it</option></select> <input id=\"words\" \
         type=\"search\" placeholder=\"words of question, answer or category\"> \
         <span id=\"count\"></span></div>\n<div id=\"answers\">\n",
    );
    for shown in shown {
        article(out, shown);
    }
    out.push_str("</div></section>\n");
}

fn article(out: &mut String, shown: &Shown) {
    let Item { index, category, expected, says, found, score } = &shown.item;
    let mut kinds: Vec<&str> = Vec::new();
    if *found == Found::Nobody {
        kinds.push("unread");
    }
    match &shown.other {
        Some((_, Change::Worse)) => kinds.push("worse"),
        Some((_, Change::Better)) => kinds.push("better"),
        None => {}
    }
    let name = escape(&shown.benchmark);
    let _ = write!(
        out,
        "<article data-benchmark=\"{name}\" data-kind=\"{}\"><div class=\"images\">",
        kinds.join(" ")
    );
    for image in &shown.images {
        let _ = write!(out, "<img loading=\"lazy\" alt=\"\" src=\"{}\">", escape(image));
    }
    let mut place = vec![name.clone(), format!("question {}", escape(index))];
    if !category.is_empty() {
        place.push(escape(category));
    }
    if *score > 0.0 && *score < 1.0 {
        place.push(format!("{score:.1} of 1"));
    }
    let _ = write!(
        out,
        "</div><div class=\"said\"><p class=\"small\">{}</p><pre class=\"q\">{}</pre>",
        place.join(" · "),
        escape(&shown.question)
    );
    options(out, shown);
    if let Some((other, change)) = &shown.other {
        let (a, b) = match change {
            Change::Worse => ("better", "worse"),
            Change::Better => ("worse", "better"),
        };
        let _ = write!(
            out,
            "<pre class=\"a {a}\"><b>A</b> {}</pre><pre class=\"a {b}\"><b>B</b> {}</pre>",
            answer(other),
            answer(&shown.answer)
        );
    } else {
        let _ = write!(out, "<pre class=\"a\">{}</pre>", answer(&shown.answer));
    }
    let read = match found {
        Found::Rule => "read as",
        Found::Judge => "the judge reads",
        Found::Nobody => "nobody could read it; counted as",
    };
    let _ = write!(out, "<p class=\"small\">expected <b>{}</b>", escape(&short(expected)));
    // Of graded answers the whole is read.
    if *says != shown.answer {
        let _ = write!(out, ", {read} <b>{}</b>", escape(&short(says)));
    }
    out.push_str("</p></div></article>\n");
}

fn answer(text: &str) -> String {
    if text.trim().is_empty() { "<i>nothing</i>".to_owned() } else { escape(text) }
}

fn options(out: &mut String, shown: &Shown) {
    if shown.options.is_empty() {
        return;
    }
    // Of MMBench the first rotation is shown, whose letters come first.
    let first = |letters: &str| letters.split(' ').next().unwrap_or_default().to_owned();
    let (expected, says) = (first(&shown.item.expected), first(&shown.item.says));
    out.push_str("<ul class=\"options\">");
    for (letter, text) in &shown.options {
        let class = match (*letter == expected, *letter == says) {
            (true, _) => " class=\"expected\"",
            (false, true) => " class=\"chosen\"",
            (false, false) => "",
        };
        let _ = write!(out, "<li{class}><b>{}</b> {}</li>", escape(letter), escape(text));
    }
    out.push_str("</ul>");
}

/// Returns the beginning of a text.
fn short(text: &str) -> String {
    const MOST: usize = 200;
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(MOST).collect();
    if chars.next().is_some() { start + "…" } else { start }
}
