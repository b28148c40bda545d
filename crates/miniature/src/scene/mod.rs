//! Scenes: everything that is true about a picture.

mod figure;
mod flat;
pub(crate) mod room;
mod sign;
mod words;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::draw::{Font, Rgb};
use crate::random::{Key, Stream};
pub use figure::{Chart, ChartKind, Diagram, Entry};
pub(crate) use sign::{WORDS, letters};
pub use words::{Color, Extent, Kind, Texture};

/// What sort of picture a scene is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// Shapes and small objects side by side.
    Flat,
    /// A room with solids on its floor.
    Room,
    /// Words and numbers on boards.
    Sign,
    /// A bar, line or pie chart.
    Chart,
    /// Boxes with arrows.
    Diagram,
}

/// Whether a scene may be trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// It may.
    Training,
    /// It is kept for tests.
    Test,
}

/// What is behind everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backdrop {
    /// One pale tint.
    Plain,
    /// A sky above a meadow.
    Meadow,
    /// A sky above sand.
    Beach,
    /// Squared paper.
    Paper,
}

/// A rectangle in fractions of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// Its left edge.
    pub x: f32,
    /// Its upper edge.
    pub y: f32,
    /// Its width.
    pub width: f32,
    /// Its height.
    pub height: f32,
}

impl Bounds {
    /// Returns the middle.
    pub fn middle(&self) -> [f32; 2] {
        [self.x + self.width / 2.0, self.y + self.height / 2.0]
    }

    /// Returns how much of the smaller of two rectangles the other covers.
    pub fn overlap(&self, other: &Self) -> f32 {
        let shared =
            |a: f32, wide: f32, b: f32, broad: f32| ((a + wide).min(b + broad) - a.max(b)).max(0.0);
        let area = shared(self.x, self.width, other.x, other.width)
            * shared(self.y, self.height, other.y, other.height);
        area / (self.width * self.height).min(other.width * other.height).max(1e-9)
    }
}

/// Something with a form and a colour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its main colour.
    pub color: Color,
    /// How large it is.
    pub extent: Extent,
    /// What its surface looks like.
    pub texture: Texture,
    /// Where it is in the picture, what is hidden included.
    pub bounds: Bounds,
    /// The middle of the square that it is drawn in, which it need not fill.
    pub center: [f32; 2],
    /// How far away it is: in a room in metres from the camera; else lower numbers are in front.
    pub depth: f32,
    /// Where it stands in a room: to the right and away from the camera, in metres.
    pub floor: Option<[f32; 2]>,
    /// Half its height, as it is drawn: in fractions of the picture, or in metres in a room.
    pub radius: f32,
    /// How far it is turned, in whole turns.
    pub turned: f32,
}

/// Where something is in the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Above.
    Top,
    /// In the middle.
    Middle,
    /// Below.
    Bottom,
}

impl Place {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        ["top", "middle", "bottom"][self as usize]
    }
}

/// A word or number on a board.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Writing {
    /// What is written.
    pub text: String,
    /// How.
    pub font: Font,
    /// The colour of the letters.
    pub color: Color,
    /// The colour of the board.
    pub board: Color,
    /// Where the board is.
    pub place: Place,
    /// Its edges.
    pub bounds: Bounds,
}

/// Everything that is true about a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scene {
    /// What sort of picture it is.
    pub view: View,
    /// What is behind everything.
    pub backdrop: Backdrop,
    /// The tint of the backdrop: red, green and blue.
    pub tint: [u8; 3],
    /// The objects, from back to front.
    pub objects: Vec<Object>,
    /// The words and numbers, from top to bottom.
    pub writing: Vec<Writing>,
    /// The chart, if it is one.
    pub chart: Option<Chart>,
    /// The diagram, if it is one.
    pub diagram: Option<Diagram>,
}

/// The tints of backdrops.
const TINTS: [[u8; 3]; 6] = [
    [250, 240, 226],
    [228, 240, 250],
    [232, 246, 234],
    [246, 232, 244],
    [252, 246, 214],
    [236, 236, 242],
];

/// Of how many scenes one is kept for tests.
const HELD_OUT: u8 = 8;

impl Scene {
    /// Makes the scene of a number in a pool; no other scene has a part in it.
    pub fn make(view: View, split: Split, seed: u64, index: u64) -> Self {
        Self::of_pool(view, split, seed, (view as u64, index))
    }

    /// Makes a scene of one of several pools.
    pub(crate) fn of_pool(view: View, split: Split, seed: u64, place: (u64, u64)) -> Self {
        Self::first(split, seed, place, |stream| match view {
            View::Flat => flat::make(stream, None),
            View::Room => room::make(stream),
            View::Sign => sign::make(stream),
            View::Chart => figure::make_chart(stream),
            View::Diagram => figure::make_diagram(stream),
        })
    }

    /// Makes a flat scene, more often than not with a kind of thing that no other scene has.
    pub(crate) fn with_new(kind: Kind, split: Split, seed: u64, place: (u64, u64)) -> Self {
        Self::first(split, seed, place, |stream| flat::make(stream, Some(kind)))
    }

    /// Makes the crowd of a number: a flat scene of small things that share few kinds and few colours.
    /// On a grid every thing has one of the picture's sixteen parts to itself.
    pub fn crowd(split: Split, seed: u64, index: u64, on_grid: bool) -> Self {
        Self::crowd_of_pool(split, seed, (View::Flat as u64, index), on_grid)
    }

    /// Makes a crowd of one of several pools.
    pub(crate) fn crowd_of_pool(split: Split, seed: u64, place: (u64, u64), on_grid: bool) -> Self {
        Self::first(split, seed, place, |stream| flat::make_crowd(stream, on_grid))
    }

    /// Returns the first scene of a place that is in a split.
    fn first(
        split: Split,
        seed: u64,
        (pool, index): (u64, u64),
        make: impl Fn(&mut Stream) -> Self,
    ) -> Self {
        let mut attempt = 0;
        loop {
            let place = pool << 1 | u64::from(split == Split::Test);
            let scene = make(&mut Stream::new(Key { seed, place, index, attempt }));
            if scene.split() == split {
                return scene;
            }
            attempt += 1;
        }
    }

    /// Leaves so many objects in the scene and one board, if it may still be trained on then.
    pub(crate) fn with_few_things(self, num_objects: usize) -> Self {
        let mut few = self.clone();
        few.objects.truncate(num_objects);
        few.writing.truncate(1);
        if few.split() == Split::Training { few } else { self }
    }

    /// Returns what the scene may be used for: a matter of what it shows, not of who made it.
    ///
    /// Scenes that look nearly alike, with the same things at nearly the same places, are in the
    /// same split.
    pub fn split(&self) -> Split {
        let digest = Sha256::digest(self.signature().as_bytes());
        if digest[0].is_multiple_of(HELD_OUT) { Split::Test } else { Split::Training }
    }

    /// Returns what the scene shows, places only roughly.
    pub fn signature(&self) -> String {
        let rough = |bounds: &Bounds| {
            let [x, y] = bounds.middle();
            format!("{},{}", (x * 3.0) as i32, (y * 3.0) as i32)
        };
        let object = |object: &Object| {
            let Object { kind, color, extent, texture, bounds, .. } = object;
            format!("{extent:?} {texture:?} {color:?} {kind:?} {}", rough(bounds))
        };
        let writing = |writing: &Writing| {
            let Writing { text, font, color, board, place, .. } = writing;
            format!("{text} {font:?} {color:?} {board:?} {place:?}")
        };
        let mut parts: Vec<String> = self.objects.iter().map(object).collect();
        parts.sort();
        parts.extend(self.writing.iter().map(writing));
        parts.extend(self.chart.as_ref().map(|chart| format!("{chart:?}")));
        parts.extend(self.diagram.as_ref().map(|diagram| format!("{diagram:?}")));
        format!("{:?} {:?} {}", self.view, self.backdrop, parts.join("; "))
    }

    /// Makes a scene with nothing in it.
    fn empty(view: View, tint: [u8; 3]) -> Self {
        let (objects, writing, backdrop) = (Vec::new(), Vec::new(), Backdrop::Plain);
        Self { view, backdrop, tint, objects, writing, chart: None, diagram: None }
    }

    /// Returns the tint of the backdrop.
    pub(crate) fn tint(&self) -> Rgb {
        self.tint.map(f32::from)
    }
}
