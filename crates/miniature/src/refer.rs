//! Phrases that fit one object alone.

use crate::language::{Says, alike, phrase};
use crate::random::Stream;
use crate::scene::{Object, Scene, Texture, View};

impl Says {
    /// What it is.
    pub(crate) const KIND: Self = Self { kind: true, color: false, extent: false, texture: false };

    /// All that phrases may say, short ones first.
    fn all() -> impl Iterator<Item = Self> {
        (0..16_u8).map(|bits| Self {
            kind: bits & 1 == 0,
            color: bits & 2 != 0,
            extent: bits & 4 != 0,
            texture: bits & 8 != 0,
        })
    }

    /// Returns whether nothing is said that the other says.
    fn avoids(self, other: Self) -> bool {
        !((self.kind && other.kind)
            || (self.color && other.color)
            || (self.extent && other.extent)
            || (self.texture && other.texture))
    }
}

/// How far apart two middles are when one of them is clearly more to the left, or higher.
pub(crate) const APART: f32 = 0.15;

/// Where an object can be among those a phrase fits.
const EDGES: [(&str, usize, f32); 4] = [
    ("on the left", 0, -1.0),
    ("on the right", 0, 1.0),
    ("at the top", 1, -1.0),
    ("at the bottom", 1, 1.0),
];

/// Returns a phrase that fits one object alone, without saying some things; `the` is left out.
///
/// Where adjectives do not do it, the place does: `star on the left`.
pub(crate) fn refer(
    scene: &Scene,
    object: &Object,
    unsaid: Says,
    stream: &mut Stream,
) -> Option<String> {
    let mut found = Vec::new();
    for says in Says::all().filter(|says| says.avoids(unsaid)) {
        if says.texture && object.texture == Texture::Plain {
            continue;
        }
        let others: Vec<&Object> = scene
            .objects
            .iter()
            .filter(|other| !std::ptr::eq(*other, object) && alike(other, object, says))
            .collect();
        let words = phrase(object, says);
        if others.is_empty() {
            if says.kind || says.color {
                found.push(words);
            }
        } else if !(says.extent || says.texture) {
            found.extend(edge(scene, object, &others).map(|edge| format!("{words} {edge}")));
        }
    }
    // Short phrases are likelier than long ones.
    let num_choices = found.len().min(3);
    (num_choices > 0).then(|| found.swap_remove(stream.below(num_choices)))
}

/// Returns the edge of the picture that an object is nearer to than all others.
fn edge(scene: &Scene, object: &Object, others: &[&Object]) -> Option<&'static str> {
    let num_edges = if scene.view == View::Room { 2 } else { 4 };
    let is_at = |&&(_, axis, sign): &&(&str, usize, f32)| {
        let at = |object: &Object| object.bounds.middle()[axis] * sign;
        others.iter().all(|other| at(object) > at(other) + APART)
    };
    EDGES[..num_edges].iter().find(is_at).map(|(words, ..)| *words)
}
