//! What shapes and small objects are made of.

use super::canvas::Rgb;
use super::path::{
    Path, Point, circle, ellipse, polygon, rectangle, ring, rounded, stroke, turn, union,
};
use crate::scene::Kind;

/// A piece of an object, in a square from -1 to 1.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its outline.
    pub(crate) path: Path,
    /// Its colour, if it has not that of the object.
    pub(crate) fixed: Option<Rgb>,
}

const BARK: Rgb = [134.0, 96.0, 66.0];
const GLASS: Rgb = [222.0, 240.0, 250.0];
const INK: Rgb = [52.0, 52.0, 62.0];
const STEEL: Rgb = [150.0, 156.0, 170.0];
const FLAME: Rgb = [250.0, 178.0, 64.0];
const CREAM: Rgb = [250.0, 240.0, 216.0];

fn own(path: Path) -> Part {
    Part { path, fixed: None }
}

fn fixed(path: Path, color: Rgb) -> Part {
    Part { path, fixed: Some(color) }
}

/// Returns the pieces of a kind, from back to front.
pub(crate) fn parts(kind: Kind) -> Vec<Part> {
    match kind {
        Kind::Circle | Kind::Sphere => vec![own(circle([0.0, 0.0], 1.0))],
        Kind::Square | Kind::Cube => vec![own(rectangle(-0.88, -0.88, 0.88, 0.88))],
        Kind::Triangle | Kind::Cone => {
            vec![own(polygon(&[[0.0, -0.95], [1.0, 0.85], [-1.0, 0.85]]))]
        }
        Kind::Diamond => vec![own(polygon(&[[0.0, -1.0], [0.72, 0.0], [0.0, 1.0], [-0.72, 0.0]]))],
        Kind::Cylinder => vec![own(rounded([-0.7, -1.0], [0.7, 1.0], 0.3))],
        Kind::Star => vec![own(star())],
        Kind::Heart => vec![own(heart())],
        Kind::Ring => vec![own(ring([0.0, 0.0], 1.0, 0.52))],
        Kind::Cross => vec![own(cross())],
        Kind::Moon => vec![own(moon())],
        Kind::House => house(),
        Kind::Tree => tree(),
        Kind::Car => car(),
        Kind::Fish => fish(),
        Kind::Cup => cup(),
        Kind::Boat => boat(),
        Kind::Flower => flower(),
        Kind::Mushroom => mushroom(),
        Kind::Rocket => rocket(),
    }
}

/// Returns the least and the greatest place of a turned kind, in its square.
pub(crate) fn edges(kind: Kind, turned: f32) -> [Point; 2] {
    let [cos, sin] = turn(turned);
    let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    for [x, y] in parts(kind).iter().flat_map(|part| part.path.iter().flatten()) {
        let at = [x * cos - y * sin, x * sin + y * cos];
        for axis in 0..2 {
            low[axis] = low[axis].min(at[axis]);
            high[axis] = high[axis].max(at[axis]);
        }
    }
    [low, high]
}

fn star() -> Path {
    let point = |i: usize| {
        let [x, y] = turn(i as f32 / 10.0 - 0.25);
        let radius = if i.is_multiple_of(2) { 1.05 } else { 0.46 };
        [x * radius, y * radius + 0.06]
    };
    vec![(0..10).map(point).collect()]
}

fn heart() -> Path {
    let mut points = vec![[0.0, 1.0]];
    let lobe = |middle: f32, from: f32, to: f32| {
        (0..=16).map(move |i| {
            let [x, y] = turn(from + (to - from) * i as f32 / 16.0);
            [middle + 0.52 * x, -0.36 + 0.54 * y]
        })
    };
    points.extend(lobe(-0.47, 0.4, 0.95));
    points.extend(lobe(0.47, 0.55, 1.1));
    vec![points]
}

fn cross() -> Path {
    let (a, b) = (0.34, 0.98);
    polygon(&[
        [-a, -b],
        [a, -b],
        [a, -a],
        [b, -a],
        [b, a],
        [a, a],
        [a, b],
        [-a, b],
        [-a, a],
        [-b, a],
        [-b, -a],
        [-a, -a],
    ])
}

fn moon() -> Path {
    let outer = (0..=32).map(|i| turn(0.12 + 0.76 * i as f32 / 32.0));
    let inner = (0..=32).rev().map(|i| {
        let [x, y] = turn(0.198 + 0.604 * i as f32 / 32.0);
        [0.5 + x * 0.718, y * 0.718]
    });
    let shift = |[x, y]: Point| [x + 0.15, y];
    vec![outer.chain(inner).map(shift).collect()]
}

fn house() -> Vec<Part> {
    vec![
        fixed(rectangle(-0.72, -0.1, 0.72, 0.95), CREAM),
        own(rectangle(-0.72, -0.05, 0.72, 0.95)),
        fixed(polygon(&[[0.0, -1.0], [1.0, -0.05], [-1.0, -0.05]]), [120.0, 82.0, 72.0]),
        fixed(rectangle(-0.16, 0.38, 0.2, 0.95), BARK),
        fixed(rectangle(-0.56, 0.12, -0.28, 0.42), GLASS),
        fixed(rectangle(0.3, 0.12, 0.58, 0.42), GLASS),
    ]
}

fn tree() -> Vec<Part> {
    let mut crown = circle([0.0, -0.45], 0.52);
    for middle in [[-0.42, -0.05], [0.42, -0.05], [0.0, 0.02]] {
        crown.extend(circle(middle, 0.48));
    }
    vec![fixed(rectangle(-0.15, 0.2, 0.15, 1.0), BARK), own(crown)]
}

fn car() -> Vec<Part> {
    let mut body = rounded([-1.0, -0.12], [1.0, 0.5], 0.18);
    body.extend(polygon(&[[-0.62, -0.02], [-0.4, -0.6], [0.34, -0.6], [0.64, -0.02]]));
    vec![
        own(union(body)),
        fixed(polygon(&[[-0.46, -0.12], [-0.32, -0.46], [-0.06, -0.46], [-0.06, -0.12]]), GLASS),
        fixed(polygon(&[[0.06, -0.12], [0.06, -0.46], [0.28, -0.46], [0.46, -0.12]]), GLASS),
        fixed(circle([-0.52, 0.5], 0.27), INK),
        fixed(circle([0.52, 0.5], 0.27), INK),
        fixed(circle([-0.52, 0.5], 0.11), [200.0, 200.0, 206.0]),
        fixed(circle([0.52, 0.5], 0.11), [200.0, 200.0, 206.0]),
    ]
}

fn fish() -> Vec<Part> {
    let mut body = ellipse([0.18, 0.0], 0.8, 0.56);
    body.extend(polygon(&[[-0.4, 0.0], [-1.0, -0.52], [-0.85, 0.0], [-1.0, 0.52]]));
    vec![
        own(union(body)),
        fixed(circle([0.56, -0.14], 0.14), [255.0, 255.0, 255.0]),
        fixed(circle([0.6, -0.14], 0.07), INK),
    ]
}

fn cup() -> Vec<Part> {
    vec![
        own(ring([0.6, -0.05], 0.4, 0.22)),
        own(polygon(&[[-0.8, -0.75], [0.6, -0.75], [0.44, 0.85], [-0.64, 0.85]])),
        fixed(ellipse([-0.1, -0.75], 0.7, 0.17), [92.0, 66.0, 52.0]),
    ]
}

fn boat() -> Vec<Part> {
    vec![
        fixed(rectangle(-0.05, -1.0, 0.05, 0.4), BARK),
        fixed(polygon(&[[0.12, -0.95], [0.85, 0.2], [0.12, 0.2]]), CREAM),
        fixed(polygon(&[[-0.12, -0.7], [-0.66, 0.2], [-0.12, 0.2]]), CREAM),
        own(polygon(&[[-1.0, 0.32], [1.0, 0.32], [0.66, 0.92], [-0.66, 0.92]])),
    ]
}

fn flower() -> Vec<Part> {
    let mut petals = Path::new();
    for i in 0..6 {
        let [x, y] = turn(i as f32 / 6.0);
        petals.extend(circle([x * 0.4, y * 0.4 - 0.36], 0.28));
    }
    vec![
        fixed(stroke(&[[0.0, -0.2], [0.0, 0.95]], 0.14, true), [92.0, 150.0, 84.0]),
        fixed(ellipse([0.26, 0.62], 0.26, 0.12), [92.0, 150.0, 84.0]),
        own(petals),
        fixed(circle([0.0, -0.36], 0.2), [248.0, 214.0, 110.0]),
    ]
}

fn rocket() -> Vec<Part> {
    // From the nose to the foot: narrow, wide, a little less wide.
    let side = |step: usize| {
        let down = step as f32 / 16.0;
        [0.42 * (down * (2.0 - down)).sqrt() * (1.0 - 0.16 * down), 1.6 * down - 1.0]
    };
    let right = (0..=16).map(side);
    let left = (1..=16).rev().map(side).map(|[x, y]| [-x, y]);
    vec![
        fixed(polygon(&[[-0.22, 0.55], [0.22, 0.55], [0.0, 1.0]]), FLAME),
        fixed(polygon(&[[-0.36, 0.0], [-0.36, 0.5], [-0.68, 0.72]]), STEEL),
        fixed(polygon(&[[0.36, 0.0], [0.36, 0.5], [0.68, 0.72]]), STEEL),
        own(vec![right.chain(left).collect()]),
        fixed(circle([0.0, -0.3], 0.19), STEEL),
        fixed(circle([0.0, -0.3], 0.13), GLASS),
    ]
}

fn mushroom() -> Vec<Part> {
    let cap = (0..=24).map(|i| turn(0.5 + i as f32 / 48.0)).map(|[x, y]| [x, y * 0.95 + 0.12]);
    vec![fixed(rounded([-0.32, 0.0], [0.32, 0.98], 0.15), CREAM), own(vec![cap.collect()])]
}
