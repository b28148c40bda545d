//! Draws scenes of every view: `gallery FOLDER PIXELS`.
#![expect(clippy::print_stdout, reason = "this is a program")]

use std::path::PathBuf;

use miniature::{Scene, Split, View, caption};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().unwrap_or_else(|| "target/gallery".to_owned()));
    let size = args.next().map_or(Ok(192), |size| size.parse())?;
    std::fs::create_dir_all(&folder)?;
    for view in [View::Flat, View::Room, View::Sign, View::Chart, View::Diagram] {
        for index in 0..8 {
            let scene = Scene::make(view, Split::Training, 1, index);
            let name = format!("{view:?}-{index}.png").to_lowercase();
            scene.draw(size).save(folder.join(&name))?;
            println!("{name}: {}", caption(&scene, 1, index));
        }
    }
    Ok(())
}
