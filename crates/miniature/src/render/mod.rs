//! From a scene to its picture.

mod figure;
mod room;

use image::RgbImage;

use crate::draw::{Canvas, Part, Path, Point, Rgb, mix, parts, turn};
use crate::scene::{Backdrop, Color, Object, Scene, Texture, View};

impl Scene {
    /// Draws the scene as a square picture of some pixels a side.
    pub fn draw(&self, size: usize) -> RgbImage {
        if self.view == View::Room {
            return room::draw(self, size).into_image();
        }
        let mut canvas = backdrop(self, size);
        for object in &self.objects {
            draw_object(&mut canvas, object);
        }
        for writing in &self.writing {
            figure::board(&mut canvas, writing);
        }
        if let Some(chart) = &self.chart {
            figure::chart(&mut canvas, chart);
        }
        if let Some(diagram) = &self.diagram {
            figure::diagram(&mut canvas, diagram);
        }
        canvas.into_image()
    }
}

/// Paints what is behind everything.
fn backdrop(scene: &Scene, size: usize) -> Canvas {
    let tint = scene.tint();
    let horizon = 0.62;
    let ground = |[x, y]: Point, near: Rgb, far: Rgb| {
        // A gentle hill.
        let edge = horizon + 0.05 * (x - 0.5) * (x - 0.5) * 4.0;
        if y > edge {
            mix(far, near, (y - edge) / (1.0 - edge))
        } else {
            mix([190.0, 222.0, 246.0], [240.0, 246.0, 248.0], y / edge)
        }
    };
    Canvas::new(size, |at| match scene.backdrop {
        Backdrop::Plain => mix(tint, [255.0, 255.0, 255.0], 0.5 * (1.0 - at[1])),
        Backdrop::Meadow => ground(at, [168.0, 208.0, 142.0], [206.0, 230.0, 180.0]),
        Backdrop::Beach => ground(at, [236.0, 216.0, 168.0], [248.0, 236.0, 204.0]),
        Backdrop::Paper => {
            let is_line = |v: f32| {
                let cell = v * 12.0;
                cell - cell.floor() < 0.06
            };
            let paper = [252.0, 251.0, 246.0];
            if is_line(at[0]) || is_line(at[1]) { mix(paper, tint, 0.9) } else { paper }
        }
    })
}

/// Draws an object: its shadow, a dark edge, its pieces.
fn draw_object(canvas: &mut Canvas, object: &Object) {
    let pieces = parts(object.kind);
    let placed = |part: &Part, grown: f32| place(&part.path, object, grown);
    for part in &pieces {
        canvas.shadow(&placed(part, 1.0));
    }
    let (base, light) = (object.color.paint(), object.color.light());
    // White is seen by its edge on pale paper.
    let share = if object.color == Color::White { 0.65 } else { 0.4 };
    let edge = mix(base, [30.0, 30.0, 50.0], share);
    for part in &pieces {
        let path = placed(part, 1.0);
        if let Some(color) = part.fixed {
            canvas.fill_with(&path, color);
            continue;
        }
        canvas.fill(&outline(&path, 0.008), 0.75, |_| edge);
        let back = unplace(object);
        canvas.fill(&path, 1.0, |at| if is_light(object.texture, back(at)) { light } else { base });
    }
}

/// Returns the bands along the lines of a path.
fn outline(path: &Path, width: f32) -> Path {
    let closed = |line: &Vec<Point>| {
        let mut points = line.clone();
        points.extend(line.first());
        crate::draw::stroke(&points, width, true)
    };
    path.iter().flat_map(closed).collect()
}

/// Moves a path from the square of an object into the picture.
fn place(path: &Path, object: &Object, grown: f32) -> Path {
    let ([cos, sin], middle) = (turn(object.turned), object.center);
    let radius = object.radius * grown;
    let point = |[x, y]: &Point| {
        [middle[0] + radius * (x * cos - y * sin), middle[1] + radius * (x * sin + y * cos)]
    };
    path.iter().map(|line| line.iter().map(point).collect()).collect()
}

/// Returns how a point of the picture is moved into the square of an object.
fn unplace(object: &Object) -> impl Fn(Point) -> Point {
    let ([cos, sin], middle, radius) = (turn(object.turned), object.center, object.radius);
    move |at| {
        let (x, y) = ((at[0] - middle[0]) / radius, (at[1] - middle[1]) / radius);
        [x * cos + y * sin, y * cos - x * sin]
    }
}

/// Returns whether a texture shows its second colour at a point of an object.
fn is_light(texture: Texture, [x, y]: Point) -> bool {
    // A cell is large enough to be seen in a small picture; a cell's middle is at 0, 0.
    let cell = |v: f32, width: f32| {
        let scaled = v / width + 0.5;
        (scaled.floor(), scaled - scaled.floor() - 0.5)
    };
    match texture {
        Texture::Plain => false,
        Texture::Striped => cell(y, 0.5).0.rem_euclid(2.0) > 0.5,
        Texture::Checked => (cell(x, 0.5).0 + cell(y, 0.5).0).rem_euclid(2.0) > 0.5,
        Texture::Dotted => {
            let ((_, dx), (_, dy)) = (cell(x + 0.275, 0.55), cell(y + 0.275, 0.55));
            dx * dx + dy * dy < 0.085
        }
    }
}
