//! Words and numbers on boards.

use super::{Bounds, Color, Place, Scene, TINTS, View, Writing};
use crate::draw::{Font, letter_edges, written_width};
use crate::random::Stream;

/// What may be written.
pub(crate) const WORDS: [&str; 60] = [
    "CAT", "DOG", "SUN", "SKY", "SEA", "BUS", "CAR", "HAT", "CUP", "BOX", "TEA", "PEN", "MAP",
    "KEY", "ICE", "OWL", "FOX", "BEE", "JAM", "ZOO", "OPEN", "STOP", "FISH", "BIRD", "TREE",
    "MOON", "STAR", "BOOK", "DOOR", "LAMP", "MILK", "CAKE", "RAIN", "SNOW", "WIND", "ROSE", "SHIP",
    "KITE", "BALL", "DRUM", "HOME", "PARK", "EXIT", "TAXI", "QUIZ", "JUMP", "BREAD", "APPLE",
    "GRAPE", "LEMON", "HOUSE", "RIVER", "CLOUD", "PLANT", "MUSIC", "QUEEN", "HAPPY", "TRAIN",
    "WATER", "YOUNG",
];

/// The height of a board, in heights of a letter.
const BOARD: f32 = 1.6;

const LIGHT: [Color; 3] = [Color::Yellow, Color::White, Color::Pink];
const DARK: [Color; 6] =
    [Color::Red, Color::Purple, Color::Blue, Color::Green, Color::Brown, Color::Black];

/// Makes a scene.
pub(super) fn make(stream: &mut Stream) -> Scene {
    let places: &[(Place, f32)] = match stream.below(5) {
        0 | 1 => &[(Place::Middle, 0.5)],
        2 | 3 => &[(Place::Top, 0.28), (Place::Bottom, 0.72)],
        _ => &[(Place::Top, 0.19), (Place::Middle, 0.5), (Place::Bottom, 0.81)],
    };
    let highest = [0.24, 0.2, 0.16][places.len() - 1];
    let mut writing: Vec<Writing> = Vec::new();
    for (place, y) in places {
        let mut text = something(stream);
        while writing.iter().any(|other| other.text == text) {
            text = something(stream);
        }
        let light = stream.pick(&LIGHT);
        // Red and purple are too near to pink.
        let dark = stream.pick(if light == Color::Pink { &DARK[2..] } else { &DARK });
        let is_dark = stream.chance(50);
        let (color, board) = if is_dark { (dark, light) } else { (light, dark) };
        let height = (0.8 / written_width(&text)).min(highest);
        let (width, tall) = (written_width(&text) * height + height * 0.7, height * BOARD);
        let x = 0.5 + stream.between(-0.5, 0.5) * (0.96 - width).max(0.0);
        let bounds = Bounds { x: x - width / 2.0, y: y - tall / 2.0, width, height: tall };
        let font = stream.pick(&Font::ALL);
        writing.push(Writing { text, font, color, board, place: *place, bounds });
    }
    Scene { writing, ..Scene::empty(View::Sign, stream.pick(&TINTS)) }
}

/// Returns the edges of every letter of a board.
pub(crate) fn letters(text: &str, board: &Bounds) -> impl Iterator<Item = Bounds> + use<> {
    let (height, middle) = (board.height / BOARD, board.middle());
    letter_edges(text, height).map(move |[left, right]| Bounds {
        x: middle[0] + left,
        y: middle[1] - height / 2.0,
        width: right - left,
        height,
    })
}

/// Returns a word or a number.
fn something(stream: &mut Stream) -> String {
    if stream.chance(70) { stream.pick(&WORDS).to_owned() } else { stream.below(100).to_string() }
}
