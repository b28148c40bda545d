//! What things can be, and what that is called.

use serde::Serialize;

use crate::draw::Rgb;

/// A shape, a small object or a solid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Kind {
    Circle,
    Square,
    Triangle,
    Star,
    Heart,
    Ring,
    Diamond,
    Cross,
    Moon,
    House,
    Tree,
    Car,
    Fish,
    Cup,
    Boat,
    Flower,
    Mushroom,
    Rocket,
    Sphere,
    Cube,
    Cylinder,
    Cone,
}

impl Kind {
    /// Shapes and small objects, of flat pictures.
    pub const FLAT: [Self; 17] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Heart,
        Self::Ring,
        Self::Diamond,
        Self::Cross,
        Self::Moon,
        Self::House,
        Self::Tree,
        Self::Car,
        Self::Fish,
        Self::Cup,
        Self::Boat,
        Self::Flower,
        Self::Mushroom,
    ];
    /// What no world has, for a model to learn.
    pub const NEW: Self = Self::Rocket;
    /// Solids, of rooms.
    pub const SOLID: [Self; 4] = [Self::Sphere, Self::Cube, Self::Cylinder, Self::Cone];

    /// Returns the word for one of them.
    pub fn word(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Heart => "heart",
            Self::Ring => "ring",
            Self::Diamond => "diamond",
            Self::Cross => "cross",
            Self::Moon => "moon",
            Self::House => "house",
            Self::Tree => "tree",
            Self::Car => "car",
            Self::Fish => "fish",
            Self::Cup => "cup",
            Self::Boat => "boat",
            Self::Flower => "flower",
            Self::Mushroom => "mushroom",
            Self::Rocket => "rocket",
            Self::Sphere => "sphere",
            Self::Cube => "cube",
            Self::Cylinder => "cylinder",
            Self::Cone => "cone",
        }
    }

    /// Returns the word for several of them.
    pub fn plural(self) -> String {
        match self {
            Self::Fish => "fish".to_owned(),
            Self::Cross => "crosses".to_owned(),
            _ => format!("{}s", self.word()),
        }
    }

    /// Returns whether it stands on the ground, where there is one.
    pub(crate) fn stands(self) -> bool {
        !self.is_shape() && self != Self::Fish && self != Self::Rocket
    }

    /// Returns whether its surface is large enough for a pattern.
    pub(crate) fn is_shape(self) -> bool {
        (self as usize) < Self::House as usize
    }
}

/// The colour of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Color {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    Brown,
    Black,
    White,
}

impl Color {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::Brown,
        Self::Black,
        Self::White,
    ];

    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Pink => "pink",
            Self::Brown => "brown",
            Self::Black => "black",
            Self::White => "white",
        }
    }

    /// Returns red, green and blue from 0 to 255.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [218, 60, 62],
            Self::Orange => [243, 140, 44],
            Self::Yellow => [246, 208, 62],
            Self::Green => [74, 160, 88],
            Self::Blue => [62, 116, 206],
            Self::Purple => [136, 82, 178],
            Self::Pink => [244, 146, 184],
            Self::Brown => [138, 90, 58],
            Self::Black => [46, 46, 54],
            Self::White => [252, 252, 250],
        }
    }

    pub(crate) fn paint(self) -> Rgb {
        self.rgb().map(f32::from)
    }

    /// Returns the second colour of a pattern on this one.
    pub(crate) fn light(self) -> Rgb {
        let toward = match self {
            Self::White => [150.0, 160.0, 176.0],
            Self::Yellow | Self::Pink => [255.0, 253.0, 246.0],
            _ => [255.0, 250.0, 240.0],
        };
        crate::draw::mix(self.paint(), toward, 0.72)
    }
}

/// How large something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Extent {
    Small,
    Large,
}

impl Extent {
    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

/// What a surface looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Texture {
    Plain,
    Striped,
    Dotted,
    Checked,
}

impl Texture {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Striped, Self::Dotted, Self::Checked];

    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Striped => "striped",
            Self::Dotted => "dotted",
            Self::Checked => "checked",
        }
    }
}
