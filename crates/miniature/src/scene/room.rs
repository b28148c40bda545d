//! A room: solids on a floor, seen by a camera.

use super::{Bounds, Color, Extent, Kind, Object, Scene, TINTS, Texture, View};
use crate::draw::turn;
use crate::random::Stream;

/// A place or direction in metres: to the right, up, away.
pub(crate) type Space = [f32; 3];

/// Where the camera is.
pub(crate) const CAMERA: Space = [0.0, 1.9, -3.4];
/// Where it looks; of length 1.
pub(crate) const FORWARD: Space = [0.0, -0.338_7, 0.940_9];
/// What is up for it.
pub(crate) const UP: Space = [0.0, 0.940_9, 0.338_7];
/// Half the width of what it sees at a distance of 1.
pub(crate) const FIELD: f32 = 0.55;

/// Half the height of solids.
const RADII: [f32; 2] = [0.4, 0.64];
/// How much of a solid another may cover in the picture.
const HIDDEN: f32 = 0.25;
/// How often a place is looked for.
const TRIES: usize = 80;

pub(crate) fn dot(a: Space, b: Space) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Makes a scene.
pub(super) fn make(stream: &mut Stream) -> Scene {
    let mut objects: Vec<Object> = Vec::new();
    let num_objects = 2 + stream.below(4);
    let first = (stream.pick(&Kind::SOLID), stream.pick(&Color::ALL));
    for number in 0..num_objects {
        let kind =
            if number > 0 && stream.chance(30) { first.0 } else { stream.pick(&Kind::SOLID) };
        let color =
            if number > 0 && stream.chance(25) { first.1 } else { stream.pick(&Color::ALL) };
        objects.extend(put(stream, (kind, color), &objects));
    }
    objects.sort_by(|a, b| b.depth.total_cmp(&a.depth));
    Scene { objects, ..Scene::empty(View::Room, stream.pick(&TINTS)) }
}

/// Finds a place for a solid, if there is one.
fn put(stream: &mut Stream, (kind, color): (Kind, Color), others: &[Object]) -> Option<Object> {
    let extent = stream.pick(&[Extent::Small, Extent::Large]);
    let texture = if stream.chance(25) { Texture::Striped } else { Texture::Plain };
    let radius = RADII[extent as usize] * stream.between(0.94, 1.06);
    let turned = stream.between(0.0, 0.25);
    for _ in 0..TRIES {
        let (x, z) = (stream.between(-1.7, 1.7), stream.between(-1.3, 1.5));
        let bounds = outline(kind, [x, z], radius, turned);
        let is_inside =
            bounds.x > 0.01 && bounds.x + bounds.width < 0.99 && bounds.y + bounds.height < 0.99;
        let is_free = |other: &Object| {
            let [ox, oz] = other.floor.unwrap_or_default();
            let apart = (ox - x) * (ox - x) + (oz - z) * (oz - z);
            let least = (radius + other.radius) * 1.15;
            apart > least * least && other.bounds.overlap(&bounds) < HIDDEN
        };
        if is_inside && others.iter().all(is_free) {
            let away = [x - CAMERA[0], radius - CAMERA[1], z - CAMERA[2]];
            let (depth, floor) = (dot(away, away).sqrt(), Some([x, z]));
            let center = bounds.middle();
            return Some(Object {
                kind,
                color,
                extent,
                texture,
                bounds,
                center,
                depth,
                floor,
                radius,
                turned,
            });
        }
    }
    None
}

/// Returns how wide a solid is, at its foot and at its head, in halves of its height.
pub(crate) fn widths(kind: Kind) -> (f32, f32) {
    match kind {
        Kind::Cone => (1.0, 0.0),
        Kind::Cylinder => (0.78, 0.78),
        _ => (1.0, 1.0),
    }
}

/// Returns the rectangle around a solid in the picture.
fn outline(kind: Kind, [x, z]: [f32; 2], radius: f32, turned: f32) -> Bounds {
    let (foot, head) = widths(kind);
    let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    for ring in 0..=8 {
        let up = ring as f32 / 4.0 - 1.0;
        let wide = match kind {
            Kind::Sphere => (1.0 - up * up).max(0.0).sqrt(),
            // From the middle to the corners.
            Kind::Cube => height(kind) * core::f32::consts::SQRT_2,
            _ => foot + (head - foot) * (up + 1.0) / 2.0,
        };
        // The corners of a cube, or many points of a circle.
        let (steps, first) = if kind == Kind::Cube { (4, turned + 0.125) } else { (24, 0.0) };
        for step in 0..steps {
            let [cos, sin] = turn(first + step as f32 / steps as f32);
            let half = wide * radius;
            let at = project([x + cos * half, radius * height(kind) * (up + 1.0), z + sin * half]);
            for axis in 0..2 {
                low[axis] = low[axis].min(at[axis]);
                high[axis] = high[axis].max(at[axis]);
            }
        }
    }
    Bounds { x: low[0], y: low[1], width: high[0] - low[0], height: high[1] - low[1] }
}

/// Returns half the height of a solid, in its radii.
pub(crate) fn height(kind: Kind) -> f32 {
    if kind == Kind::Cube { 0.8 } else { 1.0 }
}

/// Returns where a place of the room is in the picture.
pub(crate) fn project(place: Space) -> [f32; 2] {
    let d = [0, 1, 2].map(|axis| place[axis] - CAMERA[axis]);
    let far = dot(d, FORWARD) * FIELD * 2.0;
    [0.5 + d[0] / far, 0.5 - dot(d, UP) / far]
}
