//! Capital letters and digits made of strokes, drawn in several styles.

use serde::Serialize;

use super::path::{Path, Point, stroke};

/// A style of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Font {
    /// Even strokes with round ends.
    Round,
    /// Thick strokes.
    Bold,
    /// Strokes that lean to the right.
    Slanted,
    /// Strokes with square ends.
    Square,
}

impl Font {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Round, Self::Bold, Self::Slanted, Self::Square];

    /// Returns the width of a stroke, in heights of a letter.
    fn weight(self) -> f32 {
        match self {
            Self::Round | Self::Slanted => 0.15,
            Self::Bold => 0.22,
            Self::Square => 0.17,
        }
    }
}

/// From one letter to the next, in heights of a letter.
const STEP: f32 = 0.92;
/// The width of a letter, in heights of a letter.
const WIDTH: f32 = 0.62;

/// Lines of points, two digits each: to the right from 0 to 4, down from 0 to 6.
fn strokes(letter: char) -> &'static str {
    match letter {
        'A' => "062046 1434",
        'B' => "0006 003041423303 3344453606",
        'C' => "4130100105163645",
        'D' => "00062644422000",
        'E' => "40000646 0333",
        'F' => "400006 0333",
        'G' => "41301001051636454323",
        'H' => "0006 4046 0343",
        'I' => "1030 2026 1636",
        'J' => "404536160504",
        'K' => "0006 4004 1346",
        'L' => "000646",
        'M' => "0600234046",
        'N' => "06004640",
        'O' => "103041453616050110",
        'P' => "06003041423303",
        'Q' => "103041453616050110 2446",
        'R' => "06003041423303 2346",
        'S' => "413010010213334445361605",
        'T' => "0040 2026",
        'U' => "000516364540",
        'V' => "002640",
        'W' => "0016233640",
        'X' => "0046 4006",
        'Y' => "002340 2326",
        'Z' => "00400646",
        '0' => "103041453616050110 1432",
        '1' => "112026 1636",
        '2' => "01103041420646",
        '3' => "01103041423323 334445361605",
        '4' => "36300444",
        '5' => "400002324345361605",
        '6' => "413010010516364544331304",
        '7' => "004016",
        '8' => "103041423313020110 3344453616050413",
        '9' => "051636454130100102133342",
        _ => "",
    }
}

/// Returns how wide a word is, in heights of its letters.
pub(crate) fn written_width(word: &str) -> f32 {
    word.chars().count() as f32 * STEP - (STEP - WIDTH)
}

/// Returns the left and right edges of every letter of a word, from the word's middle on.
pub(crate) fn letter_edges(word: &str, height: f32) -> impl Iterator<Item = [f32; 2]> + use<> {
    let left = -written_width(word) * height / 2.0;
    (0..word.chars().count()).map(move |number| {
        let x = left + number as f32 * STEP * height;
        [x, x + WIDTH * height]
    })
}

/// Returns a word around a middle; the height is that of a letter.
pub(crate) fn write(word: &str, font: Font, middle: Point, height: f32) -> Path {
    let weight = font.weight();
    // The strokes' middles leave room for half their width on every side.
    let (width, tall) = (WIDTH - weight, 1.0 - weight);
    let left = middle[0] - written_width(word) * height / 2.0;
    let top = middle[1] - height / 2.0;
    let mut path = Path::new();
    for (number, letter) in word.chars().enumerate() {
        for line in strokes(letter).split(' ').filter(|line| !line.is_empty()) {
            let digit = |byte: u8| f32::from(byte.saturating_sub(b'0'));
            let point = |pair: &[u8]| {
                let y = weight / 2.0 + digit(pair[1]) / 6.0 * tall;
                let lean = if font == Font::Slanted { (0.5 - y) * 0.25 } else { 0.0 };
                let x = weight / 2.0 + digit(pair[0]) / 4.0 * width + lean;
                [left + (number as f32 * STEP + x) * height, top + y * height]
            };
            let points: Vec<Point> = line.as_bytes().chunks_exact(2).map(point).collect();
            path.extend(stroke(&points, weight * height, font != Font::Square));
        }
    }
    path
}
