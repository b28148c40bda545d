//! One page that needs nothing else: scores, bars, a radar plot, wrong answers with their images.

mod figure;

use std::collections::BTreeMap;
use std::fmt::Write;

use self::figure::{bars, radar};
use super::text::number;
use super::{Comparison, Report, paper};
use crate::score::{Found, Item, Scored};

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/page.js");

/// An answer that a page shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// The benchmark.
    pub benchmark: String,
    /// What became of it.
    pub item: Item,
    /// What was asked.
    pub question: String,
    /// What was answered; of `MMBench` in every rotation.
    pub answer: String,
    /// The images as addresses that hold them.
    pub images: Vec<String>,
}

/// What a page shows beside its report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Page<'p> {
    /// Wrong answers.
    pub wrong: &'p [Shown],
    /// How another run differs.
    pub comparison: Option<&'p Comparison>,
}

/// Returns a page.
pub fn html(report: &Report, page: Page<'_>) -> String {
    let mut out = String::new();
    let title = escape(&report.title);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\n"
    );
    overview(&mut out, report);
    if let Some(comparison) = page.comparison {
        differences(&mut out, comparison);
    }
    for scored in &report.benchmarks {
        benchmark(&mut out, scored);
    }
    if !page.wrong.is_empty() {
        wrong(&mut out, page.wrong);
    }
    let _ = write!(out, "</main>\n<script>{SCRIPT}</script></body></html>\n");
    out
}

fn overview(out: &mut String, report: &Report) {
    out.push_str(
        "<section class=\"overview\"><div><table><thead><tr><th>benchmark</th><th>score</th>\
         <th>AKI-4B</th><th>MMA</th><th>answers</th><th>unread</th><th>what</th></tr></thead><tbody>\n",
    );
    let mut starred = false;
    for scored in &report.benchmarks {
        for (at, headline) in scored.headlines.iter().enumerate() {
            starred |= !headline.comparable;
            let known = paper(&headline.column);
            let star = if headline.comparable { "" } else { "<sup>*</sup>" };
            let count = |count: usize| if at == 0 { count.to_string() } else { String::new() };
            let _ = writeln!(
                out,
                "<tr><td><a href=\"#{}\">{}</a></td><td class=\"own\">{}{star}</td><td>{}</td>\
                 <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                anchor(&scored.name),
                escape(&headline.column),
                number(headline.value),
                number(known.map(|known| known.aki_4b)),
                number(known.map(|known| known.mutual)),
                count(scored.answered),
                count(scored.unparsed),
                escape(&headline.metric),
            );
        }
    }
    out.push_str(
        "</tbody></table>\n<p class=\"small\">AKI-4B and MMA: the paper's tables 2 and 1.",
    );
    if starred {
        out.push_str(" <sup>*</sup> does not compare with published numbers.");
    }
    if let Some(cost) = report.judge {
        let (read, written) = (cost.usage.prompt_tokens, cost.usage.completion_tokens);
        let _ = write!(
            out,
            " Judge: {} replies, {} of them known before; {read} tokens read, {written} written.",
            cost.asked + cost.cached,
            cost.cached
        );
        if let Some(price) = report.price {
            let _ = write!(out, " Price: {price:.2}.");
        }
    }
    out.push_str("</p></div>\n");
    out.push_str(&radar(report));
    out.push_str("</section>\n");
}

fn differences(out: &mut String, comparison: &Comparison) {
    let _ = write!(
        out,
        "<section><h2>Two runs</h2><p>A: {}<br>B: {}</p>\n<table><thead><tr><th>benchmark</th>\
         <th>A</th><th>B</th><th>B − A</th><th>pairs</th><th>only A right</th><th>only B right</th>\
         <th>p</th></tr></thead><tbody>\n",
        escape(&comparison.first),
        escape(&comparison.second)
    );
    for difference in &comparison.benchmarks {
        let change = difference.second - difference.first;
        let class = match (difference.p < 0.05, change > 0.0) {
            (false, _) => "",
            (true, true) => "better",
            (true, false) => "worse",
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{class}\">{change:+.1}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{:.4}</td></tr>",
            escape(&difference.benchmark),
            number(Some(difference.first)),
            number(Some(difference.second)),
            difference.pairs,
            difference.better_first,
            difference.better_second,
            difference.p
        );
    }
    out.push_str(
        "</tbody></table>\n<p class=\"small\">Mean scores of the questions that both answered, of 100. \
         p: how often chance alone makes as large a difference (the exact test of McNemar; where \
         answers are graded, exchanging grades at random).</p></section>\n",
    );
}

fn benchmark(out: &mut String, scored: &Scored) {
    let _ = writeln!(
        out,
        "<section id=\"{}\"><h2>{}</h2><p class=\"small\">{} of {} questions answered, {} not read; \
         rules {}, {}</p>",
        anchor(&scored.name),
        escape(&scored.name),
        scored.answered,
        scored.questions,
        scored.unparsed,
        scored.rules,
        scored
            .judge
            .as_deref()
            .map_or("no judge".to_owned(), |judge| { format!("judge {}", escape(judge)) })
    );
    for note in &scored.notes {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(note));
    }
    for table in &scored.tables {
        out.push_str(&bars(table));
    }
    out.push_str("</section>\n");
}

/// Shows wrong answers, to be searched by benchmark, category and words.
fn wrong(out: &mut String, wrong: &[Shown]) {
    let mut categories: BTreeMap<&str, usize> = BTreeMap::new();
    for shown in wrong {
        *categories.entry(&shown.benchmark).or_default() += 1;
    }
    out.push_str("<section><h2>Wrong answers</h2><div class=\"search\"><select id=\"which\">");
    let _ = write!(out, "<option value=\"\">all ({})</option>", wrong.len());
    for (name, count) in categories {
        let name = escape(name);
        let _ = write!(out, "<option value=\"{name}\">{name} ({count})</option>");
    }
    out.push_str(
        "</select> <input id=\"words\" type=\"search\" placeholder=\"words of question, answer or \
         category\"> <label><input id=\"unread\" type=\"checkbox\"> not read only</label> \
         <span id=\"count\"></span></div>\n<div id=\"wrong\">\n",
    );
    for shown in wrong {
        let Item { index, category, expected, says, found, score } = &shown.item;
        let unread = if *found == Found::Nobody { " data-unread" } else { "" };
        let name = escape(&shown.benchmark);
        let _ = write!(out, "<article data-benchmark=\"{name}\"{unread}><div class=\"images\">");
        for image in &shown.images {
            let _ = write!(out, "<img loading=\"lazy\" alt=\"\" src=\"{}\">", escape(image));
        }
        let grade = if *score > 0.0 { format!(" · {score:.1}") } else { String::new() };
        let read = match found {
            Found::Rule => "read as",
            Found::Judge => "the judge reads",
            Found::Nobody => "nobody can read it:",
        };
        let _ = writeln!(
            out,
            "</div><div><p class=\"small\">{name} · {} · {}{grade}</p><pre class=\"q\">{}</pre>\
             <pre class=\"a\">{}</pre><p class=\"small\">expected <b>{}</b>, {read} <b>{}</b></p></div>\
             </article>",
            escape(index),
            escape(category),
            escape(&shown.question),
            escape(&shown.answer),
            escape(&short(expected)),
            escape(&short(says)),
        );
    }
    out.push_str("</div></section>\n");
}

/// Returns the beginning of a text.
fn short(text: &str) -> String {
    const MOST: usize = 200;
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(MOST).collect();
    if chars.next().is_some() { start + "…" } else { start }
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
