//! Flat pictures: shapes and small objects side by side, some partly behind others.

use super::{Backdrop, Bounds, Color, Extent, Kind, Object, Scene, TINTS, Texture, View};
use crate::draw::edges;
use crate::random::Stream;

/// How much of an object another may cover, and one of its own colour.
const HIDDEN: [f32; 2] = [0.2, 0.05];
/// What stands on the ground of a landscape reaches down at least to here.
const GROUND: f32 = 0.72;
/// How near to the edge of the picture objects may come.
const MARGIN: f32 = 0.01;
/// How often a place is looked for.
const TRIES: usize = 60;
/// Half the height of objects.
const RADII: [(Extent, f32); 2] = [(Extent::Small, 0.105), (Extent::Large, 0.175)];
/// In how many of a hundred pictures there is what is new.
const OFTEN: usize = 65;
/// What the things of crowds are. Words that are met often are learned soon.
const CROWD: ([Kind; 6], [Color; 5]) = (
    [Kind::Circle, Kind::Square, Kind::Triangle, Kind::Star, Kind::Heart, Kind::Cross],
    [Color::Red, Color::Yellow, Color::Green, Color::Blue, Color::Black],
);
/// How many parts a picture has from side to side where every thing has one to itself.
const CELLS: usize = 4;
/// How many of these kinds and colours the things of one crowd share.
const SHARED: usize = 3;
/// What several objects share.
#[derive(Clone, Copy)]
struct Look {
    kind: Kind,
    color: Color,
    extent: Extent,
    texture: Texture,
}

/// Makes a scene, more often than not with a kind of thing that is new.
pub(super) fn make(stream: &mut Stream, new: Option<Kind>) -> Scene {
    let backdrop =
        [Backdrop::Plain, Backdrop::Plain, Backdrop::Meadow, Backdrop::Beach, Backdrop::Paper]
            [stream.below(5)];
    let looks = looks(stream, new);
    placed(backdrop, looks, stream)
}

/// Makes a scene of many small things. Few kinds and few colours are shared among them, so that a
/// kind or a colour alone says little of what is asked for; one of them has a kind of its own.
///
/// On a grid every thing has one of the sixteen parts of the picture to itself.
pub(super) fn make_crowd(stream: &mut Stream, on_grid: bool) -> Scene {
    let backdrop = stream.pick(&[Backdrop::Plain, Backdrop::Paper]);
    let (mut kinds, mut colors) = CROWD;
    stream.shuffle(&mut kinds);
    stream.shuffle(&mut colors);
    let look = |kind, color| Look { kind, color, extent: Extent::Small, texture: Texture::Plain };
    let color = colors[stream.below(SHARED)];
    let mut looks = vec![look(kinds[SHARED], color)];
    looks.extend(vec![look(kinds[0], colors[0]); stream.below(5)]);
    for _ in 0..2 + stream.below(3) {
        // Something else of the same kind or of the same colour, most of the time.
        let other = 1 + stream.below(SHARED - 1);
        looks.push(match stream.below(5) {
            0 | 1 => look(kinds[0], colors[other]),
            2 | 3 => look(kinds[other], colors[0]),
            _ => look(kinds[other], colors[1 + stream.below(SHARED - 1)]),
        });
    }
    stream.shuffle(&mut looks);
    if on_grid { on_cells(backdrop, &looks, stream) } else { placed(backdrop, looks, stream) }
}

/// Puts every thing into a part of the picture of its own.
fn on_cells(backdrop: Backdrop, looks: &[Look], stream: &mut Stream) -> Scene {
    let mut cells: Vec<usize> = (0..CELLS * CELLS).collect();
    stream.shuffle(&mut cells);
    let side = 1.0 / CELLS as f32;
    let objects = looks.iter().copied().zip(cells).map(|(look, cell)| {
        let (radius, turned, [low, high]) = drawn(look, stream);
        let mut from = |axis: usize, cell: usize| {
            // Within the part, as far as it is wider than the thing.
            let room = (side - (high[axis] - low[axis])).max(0.0);
            cell as f32 * side + stream.between(0.0, 1.0) * room
        };
        let (x, y) = (from(0, cell % CELLS), from(1, cell / CELLS));
        let (width, height) = (high[0] - low[0], high[1] - low[1]);
        object(look, (radius, turned), Bounds { x, y, width, height }, low)
    });
    scene_of(backdrop, objects.collect(), stream)
}

/// Puts things into a scene, as far as there is room.
fn placed(backdrop: Backdrop, looks: Vec<Look>, stream: &mut Stream) -> Scene {
    let mut objects: Vec<Object> = Vec::new();
    for look in looks {
        let on_ground =
            look.kind.stands() && matches!(backdrop, Backdrop::Meadow | Backdrop::Beach);
        let least = if on_ground { GROUND } else { MARGIN };
        if let Some(object) = put(stream, look, least, &objects) {
            objects.push(object);
        }
    }
    scene_of(backdrop, objects, stream)
}

/// Returns the scene with these things, the last in front.
fn scene_of(backdrop: Backdrop, mut objects: Vec<Object>, stream: &mut Stream) -> Scene {
    let num_objects = objects.len();
    for (number, object) in objects.iter_mut().enumerate() {
        object.depth = (num_objects - number) as f32;
    }
    Scene { backdrop, objects, ..Scene::empty(View::Flat, stream.pick(&TINTS)) }
}

/// Chooses what there is: often several of one look, so that there is something to count, and
/// things that share a kind or a colour, so that words have to be read with care.
fn looks(stream: &mut Stream, new: Option<Kind>) -> Vec<Look> {
    let mut first = look(stream);
    if let Some(kind) = new.filter(|_| stream.chance(OFTEN)) {
        first = Look { kind, texture: Texture::Plain, ..first };
    }
    let mut looks = vec![first; [1, 1, 2, 3, 4, 5][stream.below(6)]];
    let extra = 1 + stream.below(if looks.len() > 3 { 2 } else { 4 });
    for _ in 0..extra {
        let mut other = look(stream);
        match stream.below(4) {
            0 => other.kind = first.kind,
            1 => other.color = first.color,
            _ => {}
        }
        if !other.kind.is_shape() {
            other.texture = Texture::Plain;
        }
        looks.push(other);
    }
    if looks.len() > 4 {
        for look in looks.iter_mut().skip(1) {
            look.extent = Extent::Small;
        }
    }
    stream.shuffle(&mut looks);
    looks
}

fn look(stream: &mut Stream) -> Look {
    let kind = stream.pick(&Kind::FLAT);
    let has_pattern = kind.is_shape() && stream.chance(45);
    let pattern = stream.pick(&[Texture::Striped, Texture::Dotted, Texture::Checked]);
    Look {
        kind,
        color: stream.pick(&Color::ALL),
        extent: stream.pick(&[Extent::Small, Extent::Large]),
        texture: if has_pattern { pattern } else { Texture::Plain },
    }
}

/// Finds a place for an object that reaches down to a height, if there is one.
fn put(stream: &mut Stream, look: Look, least: f32, others: &[Object]) -> Option<Object> {
    let (radius, turned, [low, high]) = drawn(look, stream);
    let color = look.color;
    let [width, height] = [high[0] - low[0], high[1] - low[1]];
    for _ in 0..TRIES {
        let x = stream.between(MARGIN, 1.0 - MARGIN - width);
        let y = stream.between((least - height).max(MARGIN), 1.0 - MARGIN - height);
        let bounds = Bounds { x, y, width, height };
        let is_seen = |other: &Object| {
            other.bounds.overlap(&bounds) < HIDDEN[usize::from(other.color == color)]
        };
        if others.iter().all(is_seen) {
            return Some(object(look, (radius, turned), bounds, low));
        }
    }
    None
}

/// Returns half the height of a thing, how far it is turned, and its edges from its middle on.
fn drawn(look: Look, stream: &mut Stream) -> (f32, f32, [[f32; 2]; 2]) {
    let radius = RADII[look.extent as usize].1 * stream.between(0.92, 1.08);
    let turned = if look.kind.is_shape() { stream.between(-0.03, 0.03) } else { 0.0 };
    (radius, turned, edges(look.kind, turned).map(|edge| edge.map(|at| at * radius)))
}

/// Returns a thing at a place, whose lower edges are `low` from its middle.
fn object(look: Look, (radius, turned): (f32, f32), bounds: Bounds, low: [f32; 2]) -> Object {
    let Look { kind, color, extent, texture } = look;
    let center = [bounds.x - low[0], bounds.y - low[1]];
    let (depth, floor) = (0.0, None);
    Object { kind, color, extent, texture, bounds, center, depth, floor, radius, turned }
}
