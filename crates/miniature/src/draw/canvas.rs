//! A square of pixels that polygons are filled on.
#![expect(clippy::cast_sign_loss, reason = "places and colours are not negative here")]

use super::path::{Path, Point};

/// A colour: red, green and blue from 0 to 255.
pub(crate) type Rgb = [f32; 3];

/// How many lines a row of pixels is cut into for smooth edges.
const LINES: usize = 5;

/// Returns a colour between two.
pub(crate) fn mix(from: Rgb, to: Rgb, share: f32) -> Rgb {
    [0, 1, 2].map(|i| from[i] + (to[i] - from[i]) * share)
}

/// A square of pixels; its sides have the length 1 for what is drawn on it.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    size: usize,
    pixels: Vec<Rgb>,
}

impl Canvas {
    /// Paints a canvas by the middle of every pixel.
    pub(crate) fn new(size: usize, paint: impl Fn(Point) -> Rgb) -> Self {
        let place = |i: usize| (i as f32 + 0.5) / size as f32;
        let pixels = (0..size * size).map(|i| paint([place(i % size), place(i / size)])).collect();
        Self { size, pixels }
    }

    /// Fills a path; where it turns around a point more than once, that is filled too.
    pub(crate) fn fill(&mut self, path: &Path, opacity: f32, paint: impl Fn(Point) -> Rgb) {
        let side = self.size as f32;
        let ys = path.iter().flatten().map(|point| point[1]);
        let low = ys.clone().fold(f32::INFINITY, f32::min);
        let high = ys.fold(f32::NEG_INFINITY, f32::max);
        let first = (low * side).max(0.0) as usize;
        let last = ((high * side).max(0.0) as usize + 1).min(self.size);
        let mut coverage = vec![0.0; self.size];
        let edges = edges(path);
        for row in first..last {
            coverage.fill(0.0);
            let (above, below) = (row as f32 / side, (row + 1) as f32 / side);
            let of_row = |edge: &&Edge| {
                let [from, to] = edge.map(|point| point[1]);
                from.min(to) <= below && from.max(to) >= above
            };
            let near: Vec<Edge> = edges.iter().filter(of_row).copied().collect();
            for line in 0..LINES {
                let y = row as f32 + (line as f32 + 0.5) / LINES as f32;
                cover(&mut coverage, &crossings(&near, y / side, side));
            }
            for (column, share) in coverage.iter().enumerate().filter(|(_, share)| **share > 0.0) {
                let at = [(column as f32 + 0.5) / side, (row as f32 + 0.5) / side];
                let pixel = &mut self.pixels[row * self.size + column];
                *pixel = mix(*pixel, paint(at), (share / LINES as f32).min(1.0) * opacity);
            }
        }
    }

    /// Fills a path with one colour.
    pub(crate) fn fill_with(&mut self, path: &Path, color: Rgb) {
        self.fill(path, 1.0, |_| color);
    }

    /// Draws a soft shadow of a path.
    pub(crate) fn shadow(&mut self, path: &Path) {
        for step in 1..=4 {
            let shift = 0.004 * step as f32;
            let moved: Path = path
                .iter()
                .map(|line| line.iter().map(|p| [p[0] + shift * 0.5, p[1] + shift]).collect())
                .collect();
            self.fill(&moved, 0.06, |_| [40.0, 40.0, 70.0]);
        }
    }

    /// Returns the picture.
    pub(crate) fn into_image(self) -> image::RgbImage {
        let bytes = self.pixels.iter().flatten().map(|v| (v + 0.5) as u8).collect();
        let side = self.size as u32;
        image::RgbImage::from_raw(side, side, bytes).unwrap_or_default()
    }
}

/// A side of a path.
type Edge = [Point; 2];

/// Returns the sides of all lines of a path.
fn edges(path: &Path) -> Vec<Edge> {
    let of_line = |line: &Vec<Point>| {
        let next = line.iter().cycle().skip(1);
        line.iter().zip(next).map(|(from, to)| [*from, *to]).collect::<Vec<_>>()
    };
    path.iter().flat_map(of_line).collect()
}

/// Returns where a horizontal line crosses edges, in pixels, and in which direction, in order.
fn crossings(edges: &[Edge], y: f32, side: f32) -> Vec<(f32, i32)> {
    let mut crossings = Vec::new();
    for [from, to] in edges {
        if (from[1] <= y) == (to[1] <= y) {
            continue;
        }
        let x = from[0] + (to[0] - from[0]) * ((y - from[1]) / (to[1] - from[1]));
        crossings.push((x * side, if to[1] > from[1] { 1 } else { -1 }));
    }
    crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
    crossings
}

/// Adds to every pixel how much of it lies between crossings.
fn cover(coverage: &mut [f32], crossings: &[(f32, i32)]) {
    let mut winding = 0;
    for pair in crossings.windows(2) {
        winding += pair[0].1;
        let (start, end) = (pair[0].0.max(0.0), pair[1].0.min(coverage.len() as f32));
        if winding == 0 || end <= start {
            continue;
        }
        let last = (end as usize).min(coverage.len() - 1);
        for (i, share) in coverage.iter_mut().enumerate().take(last + 1).skip(start as usize) {
            *share += (end.min(i as f32 + 1.0) - start.max(i as f32)).max(0.0);
        }
    }
}
