//! Losses as a picture and as a line of text.

use std::fmt::Write as _;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 56.0;
/// How much of the smoothed value a step keeps.
const SMOOTHING: f64 = 0.95;
/// More points than this are averaged in groups: the picture has fewer pixels.
const MAX_POINTS: usize = 800;

/// Returns a picture of losses over steps: each, smoothed, and those of validation.
pub fn svg(training: &[(u64, f64)], validation: &[(u64, f64)]) -> String {
    let all = || training.iter().chain(validation).filter(|(_, loss)| loss.is_finite());
    let last = all().map(|(step, _)| *step).max().unwrap_or(1).max(1) as f64;
    let low = all().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    let high = all().map(|(_, loss)| *loss).fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = match (low.is_finite(), low < high) {
        (true, true) => (low, high),
        (true, false) => (low - 0.5, low + 0.5),
        _ => (0.0, 1.0),
    };
    let x = |step: f64| MARGIN + step / last * (WIDTH - 2.0 * MARGIN);
    let y = |loss: f64| HEIGHT - MARGIN - (loss - low) / (high - low) * (HEIGHT - 2.0 * MARGIN);
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{}\" y=\"24\" text-anchor=\"middle\" font-size=\"15\">loss</text>\n",
        WIDTH / 2.0
    );
    // Writing to a string cannot fail.
    for tick in 0..=4 {
        let part = f64::from(tick) / 4.0;
        let (loss, step) = (low + part * (high - low), (part * last).round());
        let (left, right, at) = (MARGIN, WIDTH - MARGIN, y(loss));
        let _ = writeln!(
            picture,
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{loss:.3}</text>",
            left - 6.0,
            at + 4.0
        );
        let _ = writeln!(
            picture,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{step}</text>",
            x(step),
            HEIGHT - MARGIN + 18.0
        );
    }
    let thinned = thin(training);
    let place = |points: &[(f64, f64)]| {
        let places = points.iter().filter(|(_, loss)| loss.is_finite());
        places.map(|(step, loss)| format!("{:.1},{:.1}", x(*step), y(*loss))).collect::<Vec<_>>()
    };
    let held: Vec<_> = validation.iter().map(|(step, loss)| (*step as f64, *loss)).collect();
    for (points, stroke) in [
        (place(&thinned), "stroke=\"#9ecae1\" stroke-width=\"1\""),
        (place(&smooth(&thinned)), "stroke=\"#08519c\" stroke-width=\"2\""),
        (place(&held), "stroke=\"#d95f0e\" stroke-width=\"2\""),
    ] {
        if !points.is_empty() {
            let points = points.join(" ");
            let _ = writeln!(picture, "<polyline fill=\"none\" {stroke} points=\"{points}\"/>");
        }
    }
    if !held.is_empty() {
        let _ = writeln!(
            picture,
            "<text x=\"{}\" y=\"24\" text-anchor=\"end\" fill=\"#d95f0e\">validation</text>",
            WIDTH - MARGIN
        );
    }
    picture.push_str("</svg>\n");
    picture
}

/// Returns a line of at most `width` blocks whose heights follow the values.
pub fn sparkline(values: &[f64], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if finite.is_empty() || width == 0 {
        return String::new();
    }
    let size = finite.len().div_ceil(width);
    let means: Vec<f64> =
        finite.chunks(size).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = if high > low { high - low } else { 1.0 };
    let block = |mean: &f64| {
        // The eighths that the value reaches.
        let reached = (1..8).filter(|at| (mean - low) / range * 7.0 >= f64::from(*at) - 0.5);
        BLOCKS[reached.count()]
    };
    means.iter().map(block).collect()
}

/// Returns a plot of values in text, `width` columns and `height` rows large, each row an end of
/// line and the highest and the lowest value at their rows.
pub fn chart(values: &[f64], (width, height): (usize, usize)) -> String {
    const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if finite.is_empty() || width == 0 || height == 0 {
        return String::new();
    }
    let means: Vec<f64> = finite
        .chunks(finite.len().div_ceil(width))
        .map(|part| part.iter().sum::<f64>() / part.len() as f64)
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = if high > low { high - low } else { 1.0 };
    let mut text = String::new();
    for row in (0..height).rev() {
        let label = match row {
            0 => format!("{low:>9.4}"),
            row if row + 1 == height => format!("{high:>9.4}"),
            _ => " ".repeat(9),
        };
        let _ = write!(text, "{label} ");
        for mean in &means {
            // The lowest value has one eighth, so that it is seen.
            let eighths = 1.0 + (mean - low) / range * (height * 8 - 1) as f64;
            let here = eighths - (row * 8) as f64;
            text.push(EIGHTHS[(1..=8).filter(|at| here >= f64::from(*at) - 0.5).count()]);
        }
        text.push('\n');
    }
    text
}

fn thin(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(MAX_POINTS).max(1);
    let mean = |part: &[(u64, f64)]| {
        let count = part.len() as f64;
        let steps = part.iter().map(|(step, _)| *step as f64).sum::<f64>() / count;
        (steps, part.iter().map(|(_, loss)| *loss).sum::<f64>() / count)
    };
    points.chunks(size).map(mean).collect()
}

fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let mut smoothed = Vec::with_capacity(points.len());
    for (step, loss) in points.iter().filter(|(_, loss)| loss.is_finite()) {
        sum = SMOOTHING * sum + (1.0 - SMOOTHING) * loss;
        weight = SMOOTHING * weight + (1.0 - SMOOTHING);
        smoothed.push((*step, sum / weight));
    }
    smoothed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_blocks_follows_the_values() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[3.0, f64::NAN, 1.0, 1.0], 2), "█▁");
        assert_eq!(sparkline(&[], 8), "");
        assert_eq!(sparkline(&[2.0], 8), "▁");
    }

    #[test]
    fn a_chart_has_its_highest_value_at_the_top() {
        assert_eq!(chart(&[3.0, f64::NAN, 2.0, 1.0], (3, 2)), "   3.0000 █▁ \n   1.0000 ██▁\n");
        assert_eq!(chart(&[2.0], (4, 1)), "   2.0000 ▁\n");
        assert_eq!(chart(&[], (4, 4)), "");
    }

    #[test]
    fn a_picture_has_no_number_that_is_none() {
        for losses in [vec![], vec![(1, 2.0)], vec![(1, f64::NAN), (2, 1.0), (3, 0.5)]] {
            let picture = svg(&losses, &[]);
            assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
            assert!(picture.ends_with("</svg>\n"));
        }
    }
}
