//! How two runs differ.

use std::fmt::Write;

use super::super::Comparison;
use super::super::compare::Difference;
use super::{escape, score};

/// Below this a difference is called one.
const SIGNIFICANT: f64 = 0.05;

pub(super) fn write(out: &mut String, comparison: &Comparison) {
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<section><h2>Two runs</h2><p class=\"small\">A: {}<br>B: {}</p>\n<div class=\"scroll\">\
         <table><thead><tr><th>benchmark</th><th>A</th><th>B</th><th>B − A</th><th>pairs</th>\
         <th>A better</th><th>B better</th><th>p</th></tr></thead><tbody>\n",
        escape(&comparison.first),
        escape(&comparison.second)
    );
    for difference in &comparison.benchmarks {
        let change = difference.second - difference.first;
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{}\">{change:+.1}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{:.4}</td></tr>",
            escape(&difference.benchmark),
            score(Some(difference.first)),
            score(Some(difference.second)),
            class(difference),
            difference.pairs,
            difference.better_first,
            difference.better_second,
            difference.p
        );
    }
    out.push_str(
        "</tbody></table></div>\n<p class=\"small\">Mean scores of the questions that both answered, \
         of 100; coloured where p is below 0.05. p: how often chance alone makes as large a \
         difference (the exact test of McNemar; where answers are graded, exchanging grades at \
         random).</p>\n",
    );
    categories(out, comparison);
    out.push_str("</section>\n");
}

fn class(difference: &Difference) -> &'static str {
    match (difference.p < SIGNIFICANT, difference.second > difference.first) {
        (false, _) => "",
        (true, true) => "better",
        (true, false) => "worse",
    }
}

/// Shows the categories whose scores differ.
fn categories(out: &mut String, comparison: &Comparison) {
    let all = || {
        comparison.benchmarks.iter().flat_map(|known| {
            let differs =
                known.categories.iter().filter(|part| (part.first - part.second).abs() > 1e-9);
            differs.map(|part| (&known.benchmark, part))
        })
    };
    if all().next().is_none() {
        return;
    }
    out.push_str(
        "<details><summary>by category</summary><div class=\"scroll\"><table><thead><tr>\
         <th>category</th><th>A</th><th>B</th><th>B − A</th><th>pairs</th></tr></thead><tbody>\n",
    );
    for (benchmark, part) in all() {
        let _ = writeln!(
            out,
            "<tr><td>{} · {}</td><td>{}</td><td>{}</td><td>{:+.1}</td><td>{}</td></tr>",
            escape(benchmark),
            escape(&part.name),
            score(Some(part.first)),
            score(Some(part.second)),
            part.second - part.first,
            part.pairs
        );
    }
    out.push_str("</tbody></table></div></details>\n");
}
