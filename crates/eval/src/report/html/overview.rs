//! The scores beside the paper's, at the top of a page.

use std::fmt::Write;

use super::super::text::judge_line;
use super::super::{Report, paper};
use super::figure::radar;
use super::{anchor, escape, score};
use crate::score::Headline;

pub(super) fn write(out: &mut String, report: &Report, first: Option<&Report>) {
    facts(out, report);
    out.push_str("<section class=\"overview\"><div class=\"scroll\"><table class=\"scores");
    out.push_str(match first {
        Some(_) => " two\"><thead><tr><th>benchmark</th><th>A</th><th>B</th>",
        None => "\"><thead><tr><th>benchmark</th><th>score</th>",
    });
    out.push_str(
        "<th class=\"bullet\"></th><th>AKI-4B</th><th class=\"extra\">±</th><th>MMA</th>\
         <th class=\"extra\">answers</th><th class=\"extra\">unread</th></tr></thead><tbody>\n",
    );
    let mut starred = false;
    for scored in &report.benchmarks {
        for (at, headline) in scored.headlines.iter().enumerate() {
            let is_starred = !headline.comparable && headline.value.is_some();
            starred |= is_starred;
            let star = if is_starred { "<sup>*</sup>" } else { "" };
            let of_first = first.map(|first| {
                let same = |known: &&Headline| known.column == headline.column;
                let known = first.benchmarks.iter().flat_map(|scored| &scored.headlines).find(same);
                format!("<td>{}</td>", score(known.and_then(|known| known.value)))
            });
            let known = paper(&headline.column);
            let count = |count: usize| if at == 0 { count.to_string() } else { String::new() };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "<tr><td><a href=\"#{}\">{}</a><span class=\"metric\">{}</span></td>{}\
                 <td class=\"own\">{}{star}</td>{}<td>{}</td><td class=\"extra\">{}</td><td>{}</td>\
                 <td class=\"extra\">{}</td><td class=\"extra\">{}</td></tr>",
                anchor(&scored.name),
                escape(&headline.column),
                escape(&headline.metric),
                of_first.unwrap_or_default(),
                score(headline.value),
                bullet(headline),
                known.map(|known| score(Some(known.aki_4b))).unwrap_or_default(),
                change(headline),
                known.map(|known| score(Some(known.mutual))).unwrap_or_default(),
                count(scored.answered),
                count(scored.unparsed),
            );
        }
    }
    out.push_str(
        "</tbody></table>\n<p class=\"small\">AKI-4B and MMA: the paper's tables 2 and 1.",
    );
    if starred {
        out.push_str(" <sup>*</sup> does not compare with published numbers.");
    }
    if let Some(line) = judge_line(report) {
        let _ = write!(out, "<br>{}.", escape(&line));
    }
    out.push_str("</p></div>\n");
    out.push_str(&radar(report, first));
    out.push_str("</section>\n");
}

/// Says how many answers there are, and how they were scored.
fn facts(out: &mut String, report: &Report) {
    let sum = |count: fn(&crate::score::Scored) -> usize| -> usize {
        report.benchmarks.iter().map(count).sum()
    };
    let (answered, questions) = (sum(|scored| scored.answered), sum(|scored| scored.questions));
    let unread = sum(|scored| scored.unparsed);
    let first = report.benchmarks.first();
    let rules = first.map(|scored| scored.rules.as_str()).unwrap_or_default();
    let judge = first.and_then(|scored| scored.judge.as_deref());
    let judge = judge.map_or("no judge".to_owned(), |judge| format!("judge {}", escape(judge)));
    let count = report.benchmarks.len();
    let _ = writeln!(
        out,
        "<p class=\"facts\"><span>{count} benchmark{}</span><span>{answered} of {questions} questions \
         answered</span><span>{unread} answers that nobody could read</span><span>rules {rules}</span>\
         <span>{judge}</span></p>",
        if count == 1 { "" } else { "s" },
    );
}

/// Returns a bar of a score with marks where the paper's are.
fn bullet(headline: &Headline) -> String {
    let known = paper(&headline.column);
    let best = known.map_or(100.0, |known| known.best);
    let share = |value: f64| (value / best * 100.0).clamp(0.0, 100.0);
    let mut out = String::from("<td class=\"bullet\"><div>");
    if let Some(value) = headline.value {
        let _ = write!(out, "<i style=\"width:{:.1}%\"></i>", share(value));
    }
    if let Some(known) = known {
        let _ = write!(
            out,
            "<b class=\"published\" style=\"left:{:.1}%\"></b><b class=\"mutual\" \
             style=\"left:{:.1}%\"></b>",
            share(known.aki_4b),
            share(known.mutual)
        );
    }
    out + "</div></td>"
}

/// Returns how far a score is from AKI-4B's, where they compare.
fn change(headline: &Headline) -> String {
    let published = paper(&headline.column).filter(|_| headline.comparable);
    let Some((known, value)) = published.zip(headline.value) else { return String::new() };
    format!("{:+.1}", value - known.aki_4b)
}
