//! Draws scenes of every view, alone and on one sheet: `gallery FOLDER PIXELS SEED`.
//!
//! Beside each picture of the held-out sheet stands what is asked about it.
#![expect(clippy::print_stdout, reason = "this is a program")]

use std::path::PathBuf;

use image::{GenericImage, RgbImage};
use miniature::{Quiz, Scene, Split, View, caption};

/// The columns and rows of a sheet.
const SHEET: (u32, u32) = (5, 4);
/// Between the pictures of a sheet, in pixels.
const GAP: u32 = 6;

/// Makes the quiz of a seed and a number.
type Make = fn(u64, u64) -> Quiz;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().unwrap_or_else(|| "target/gallery".to_owned()));
    let size = args.next().map_or(Ok(192), |size| size.parse())?;
    let seed = args.next().map_or(Ok(1), |seed| seed.parse())?;
    std::fs::create_dir_all(&folder)?;
    for view in [View::Flat, View::Room, View::Sign, View::Chart, View::Diagram] {
        let name = format!("{view:?}").to_lowercase();
        let mut pictures = Vec::new();
        for index in 0..u64::from(SHEET.0 * SHEET.1) {
            let scene = Scene::make(view, Split::Training, seed, index);
            println!("{name} {index}: {}", caption(&scene, seed, index));
            pictures.push(scene.draw(size));
        }
        sheet(&pictures)?.save(folder.join(format!("{name}.png")))?;
    }
    let quizzes = [("quiz", Quiz::make as Make), ("rockets", Quiz::on_new)];
    for (name, make) in quizzes {
        let mut pictures = Vec::new();
        for index in 0..u64::from(SHEET.0 * SHEET.1) {
            let quiz = make(seed, index);
            println!("{name} {index}: {}", quiz.names.join(", "));
            for question in &quiz.questions {
                println!("  {}: {} [{}]", question.topic, question.text, question.answer);
            }
            pictures.push(quiz.scene.draw(size));
        }
        sheet(&pictures)?.save(folder.join(format!("{name}.png")))?;
    }
    Ok(())
}

/// Puts pictures side by side, row by row.
fn sheet(pictures: &[RgbImage]) -> Result<RgbImage, image::ImageError> {
    let size = pictures.first().map_or(0, RgbImage::width) + GAP;
    let mut sheet = RgbImage::from_pixel(
        SHEET.0 * size + GAP,
        SHEET.1 * size + GAP,
        image::Rgb([255, 255, 255]),
    );
    for (picture, number) in pictures.iter().zip(0..) {
        let (column, row) = (number % SHEET.0, number / SHEET.0);
        sheet.copy_from(picture, GAP + column * size, GAP + row * size)?;
    }
    Ok(sheet)
}
