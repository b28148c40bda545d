//! A document of headings, text, tables and figures, as Markdown and as one page of HTML.

use std::fmt::Write;

/// The colours of lines.
const COLORS: [&str; 10] = [
    "#4c566a", "#d08770", "#5e81ac", "#a3be8c", "#b48ead", "#ebcb8b", "#88c0d0", "#bf616a",
    "#8a6d3b", "#2e8b57",
];
/// The size of a figure, and its margins to the left and below.
const SIZE: (f64, f64) = (640.0, 300.0);
const MARGIN: (f64, f64) = (52.0, 36.0);

/// A part of a document.
#[derive(Clone, Debug)]
pub(super) enum Block {
    Heading(String),
    /// Text; code is in backticks.
    Text(String),
    /// The first column is to the left.
    Table {
        head: Vec<String>,
        rows: Vec<Vec<String>>,
    },
    /// Lines of points, by name.
    Figure {
        name: String,
        x: String,
        y: String,
        scale: Scale,
        lines: Vec<Line>,
    },
}

/// How high a value stands in a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// By its logarithm: values are above zero.
    Logarithmic,
}

impl Scale {
    /// Returns the height of a value.
    fn height(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic => value.max(f64::MIN_POSITIVE).ln(),
        }
    }

    /// Returns the value of a height.
    fn value(self, height: f64) -> f64 {
        match self {
            Self::Linear => height,
            Self::Logarithmic => height.exp(),
        }
    }
}

/// A line of a figure.
pub(super) type Line = (String, Vec<(f64, f64)>);

/// Returns the document as Markdown; figures are files in `images`.
pub(super) fn markdown(title: &str, blocks: &[Block], images: &str) -> String {
    let mut out = format!("# {title}\n");
    for block in blocks {
        out.push('\n');
        // Writing to a string cannot fail.
        let _ = match block {
            Block::Heading(text) => writeln!(out, "## {text}"),
            Block::Text(text) => writeln!(out, "{text}"),
            Block::Figure { name, y, .. } => writeln!(out, "![{y}]({images}/{name}.svg)"),
            Block::Table { head, rows } => {
                let line = |cells: &[String]| {
                    let cells = cells.iter().map(|cell| cell.replace('|', "\\|"));
                    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
                };
                let rule: Vec<String> =
                    (0..head.len()).map(|at| if at == 0 { "---" } else { "---:" }.into()).collect();
                let rows: String = rows.iter().map(|row| line(row)).collect();
                write!(out, "{}{}{rows}", line(head), line(&rule))
            }
        };
    }
    out
}

/// Returns the document as a page that needs nothing else.
pub(super) fn html(title: &str, blocks: &[Block]) -> String {
    let title = escape(title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n<style>{}</style>\
         </head>\n<body><main>\n<h1>{title}</h1>\n",
        include_str!("style.css")
    );
    for block in blocks {
        let _ = match block {
            Block::Heading(text) => writeln!(out, "<h2>{}</h2>", escape(text)),
            Block::Text(text) => writeln!(out, "<p>{}</p>", code(&escape(text))),
            Block::Figure { .. } => writeln!(out, "<figure>{}</figure>", svg(block)),
            Block::Table { head, rows } => {
                let cells = |row: &[String], tag: &str| {
                    let cell = |cell: &String| format!("<{tag}>{}</{tag}>", code(&escape(cell)));
                    let cells: Vec<String> = row.iter().map(cell).collect();
                    format!("<tr>{}</tr>\n", cells.concat())
                };
                let rows: Vec<String> = rows.iter().map(|row| cells(row, "td")).collect();
                writeln!(
                    out,
                    "<div class=\"wide\"><table><thead>{}</thead><tbody>\n{}</tbody></table></div>",
                    cells(head, "th"),
                    rows.concat()
                )
            }
        };
    }
    out.push_str("</main></body></html>\n");
    out
}

/// Turns backticks into code.
fn code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(
            |(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() },
        )
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Draws a figure; nothing for another block.
pub(super) fn svg(block: &Block) -> String {
    let Block::Figure { x, y, scale, lines, .. } = block else { return String::new() };
    let points = || lines.iter().flat_map(|(_, points)| points);
    let range = |value: &dyn Fn(&(f64, f64)) -> f64| {
        let low = points().map(value).fold(f64::INFINITY, f64::min);
        let high = points().map(value).fold(f64::NEG_INFINITY, f64::max);
        if low.is_finite() { (low, high.max(low + 1e-9)) } else { (0.0, 1.0) }
    };
    let (left, right) = range(&|point| point.0);
    let (low, high) = range(&|point| scale.height(point.1));
    let (wide, tall) = (SIZE.0 - MARGIN.0 - 150.0, SIZE.1 - MARGIN.1 - 12.0);
    let at = |(x, y): &(f64, f64)| {
        let x = MARGIN.0 + (x - left) / (right - left) * wide;
        (x, 12.0 + (high - scale.height(*y)) / (high - low) * tall)
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        SIZE.0, SIZE.1
    );
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let (value_x, value_y) =
            (left + share * (right - left), scale.value(low + share * (high - low)));
        let (px, py) = at(&(value_x, value_y));
        let _ = writeln!(
            out,
            "<line x1=\"{0}\" x2=\"{1}\" y1=\"{py:.1}\" y2=\"{py:.1}\" stroke=\"#e5e9f0\"/>\
             <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>\
             <text x=\"{px:.1}\" y=\"{5}\" text-anchor=\"middle\">{6}</text>",
            MARGIN.0,
            MARGIN.0 + wide,
            MARGIN.0 - 6.0,
            py + 4.0,
            short(value_y),
            12.0 + tall + 16.0,
            short(value_x),
        );
    }
    for (number, (name, points)) in lines.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        let places: Vec<String> =
            points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.6\" points=\"{}\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{color}\">{}</text>",
            places.join(" "),
            MARGIN.0 + wide + 10.0,
            24.0 + 16.0 * number as f64,
            escape(name),
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text x=\"{}\" y=\"10\">{}</text>\
         </svg>",
        MARGIN.0 + wide / 2.0,
        SIZE.1 - 4.0,
        escape(x),
        MARGIN.0 + 4.0,
        escape(y),
    );
    out
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_markdown_and_a_page() {
        let blocks = [
            Block::Heading("Scores".to_owned()),
            Block::Text("Run `aki <x>`.".to_owned()),
            Block::Table {
                head: vec!["row".to_owned(), "a|b".to_owned()],
                rows: vec![vec!["MMA".to_owned(), "1 ± 2".to_owned()]],
            },
            Block::Figure {
                name: "losses".to_owned(),
                x: "step".to_owned(),
                y: "loss".to_owned(),
                scale: Scale::Linear,
                lines: vec![("MMA".to_owned(), vec![(0.0, 2.0), (10.0, 1.0)])],
            },
        ];
        insta::assert_snapshot!(markdown("Table", &blocks, "images"), @r"
        # Table

        ## Scores

        Run `aki <x>`.

        | row | a\|b |
        | --- | ---: |
        | MMA | 1 ± 2 |

        ![loss](images/losses.svg)
        ");
        let page = html("Table", &blocks);
        assert!(page.contains("<p>Run <code>aki &lt;x&gt;</code>.</p>"));
        assert!(page.contains("points=\"52.0,12.0 490.0,264.0\""), "{page}");
    }

    #[test]
    fn a_tenth_is_as_far_from_one_as_one_from_ten() {
        let figure = |scale| Block::Figure {
            name: "losses".to_owned(),
            x: "step".to_owned(),
            y: "loss".to_owned(),
            scale,
            lines: vec![("MMA".to_owned(), vec![(0.0, 10.0), (5.0, 1.0), (10.0, 0.1)])],
        };
        let drawn = svg(&figure(Scale::Logarithmic));
        assert!(drawn.contains("points=\"52.0,12.0 271.0,138.0 490.0,264.0\""), "{drawn}");
        for value in ["0.10", "1.00", "10.00"] {
            assert!(drawn.contains(&format!(">{value}</text>")), "{drawn}");
        }
        assert!(!svg(&figure(Scale::Linear)).contains("271.0,138.0"));
    }
}
