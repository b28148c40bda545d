//! A raster to draw on: rectangles, lines and antialiased text, written as PNG.

use std::io::Write;

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use anyhow::{Context, Result};

/// An sRGB colour.
pub(crate) type Colour = [u8; 3];

/// Where text starts, relative to its anchor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Align {
    Left,
    Centre,
    Right,
}

/// The size, weight, colour and direction of a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextStyle {
    pub(crate) size: f32,
    pub(crate) bold: bool,
    pub(crate) colour: Colour,
    pub(crate) align: Align,
    /// Counter-clockwise, in degrees, about the anchor.
    pub(crate) angle: f32,
}

/// Pixel coordinates, from the top left corner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rect {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) width: f32,
    pub(crate) height: f32,
}

/// The two weights of the embedded font.
#[derive(Debug)]
pub(crate) struct Fonts {
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

impl Fonts {
    /// Parses the embedded fonts.
    pub(crate) fn embedded() -> Result<Self> {
        let regular = include_bytes!("../../assets/fonts/DejaVuSans.ttf");
        let bold = include_bytes!("../../assets/fonts/DejaVuSans-Bold.ttf");
        Ok(Self {
            regular: FontRef::try_from_slice(regular).context("cannot parse the embedded font")?,
            bold: FontRef::try_from_slice(bold).context("cannot parse the embedded font")?,
        })
    }

    fn of(&self, style: &TextStyle) -> &FontRef<'static> {
        if style.bold { &self.bold } else { &self.regular }
    }

    /// Returns the width of `text` in pixels.
    pub(crate) fn width(&self, text: &str, style: &TextStyle) -> f32 {
        self.shape(text, style).1
    }

    /// Places the glyphs of `text` on a baseline at the origin; returns the width too.
    fn shape(&self, text: &str, style: &TextStyle) -> (Vec<Glyph>, f32) {
        let font = self.of(style).as_scaled(PxScale::from(style.size));
        let mut pen = 0.0;
        let mut last = None;
        let mut glyphs = Vec::new();
        for character in text.chars() {
            let mut glyph = font.scaled_glyph(character);
            pen += last.map_or(0.0, |last| font.kern(last, glyph.id));
            glyph.position = point(pen, 0.0);
            pen += font.h_advance(glyph.id);
            last = Some(glyph.id);
            glyphs.push(glyph);
        }
        (glyphs, pen)
    }
}

/// The picture being drawn.
#[derive(Debug)]
pub(crate) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// Rotated text is sampled from a raster this many times finer.
const OVERSAMPLING: f32 = 3.0;

impl Canvas {
    /// Returns a white canvas.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![255; width * height * 3] }
    }

    /// Mixes `colour` into a pixel; nothing happens outside the canvas.
    fn blend(&mut self, x: i64, y: i64, colour: Colour, coverage: f32) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.width || y >= self.height || coverage <= 0.0 {
            return;
        }
        let at = (y * self.width + x) * 3;
        for (pixel, value) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            let (old, new) = (f32::from(*pixel), f32::from(value));
            *pixel = (old + (new - old) * coverage.min(1.0)).round() as u8;
        }
    }

    /// Fills a rectangle; edges between pixels are antialiased.
    pub(crate) fn fill(&mut self, rect: Rect, colour: Colour) {
        let (right, bottom) = (rect.x + rect.width, rect.y + rect.height);
        let cover = |pixel: i64, start: f32, end: f32| {
            (end.min(pixel as f32 + 1.0) - start.max(pixel as f32)).clamp(0.0, 1.0)
        };
        for y in rect.y.floor() as i64..bottom.ceil() as i64 {
            let rows = cover(y, rect.y, bottom);
            for x in rect.x.floor() as i64..right.ceil() as i64 {
                self.blend(x, y, colour, rows * cover(x, rect.x, right));
            }
        }
    }

    /// Draws a straight line of the given thickness.
    pub(crate) fn line(&mut self, from: (f32, f32), to: (f32, f32), width: f32, colour: Colour) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1e-6);
        let margin = width + 1.0;
        for y in (from.1.min(to.1) - margin) as i64..=(from.1.max(to.1) + margin) as i64 {
            for x in (from.0.min(to.0) - margin) as i64..=(from.0.max(to.0) + margin) as i64 {
                let (px, py) = (x as f32 + 0.5 - from.0, y as f32 + 0.5 - from.1);
                let along = (px * dx + py * dy) / length;
                let across = (px * dy - py * dx).abs() / length;
                let outside = (-along).max(along - length).max(0.0);
                self.blend(x, y, colour, 0.5 + width / 2.0 - across.max(outside));
            }
        }
    }

    /// Writes `text` with the middle of its lower-case letters at the height of the anchor.
    pub(crate) fn text(&mut self, fonts: &Fonts, text: &str, at: (f32, f32), style: &TextStyle) {
        let zoom = if style.angle == 0.0 { 1.0 } else { OVERSAMPLING };
        let zoomed = TextStyle { size: style.size * zoom, ..*style };
        let (glyphs, width) = fonts.shape(text, &zoomed);
        let start = match style.align {
            Align::Left => 0.0,
            Align::Centre => -width / 2.0,
            Align::Right => -width,
        };
        let origin = if style.angle == 0.0 { at } else { (0.0, 0.0) };
        let (sin, cos) = style.angle.to_radians().sin_cos();
        let mut drops = Drops::around(at, width / zoom + style.size);
        for mut glyph in glyphs {
            glyph.position.x += start + origin.0;
            glyph.position.y += zoomed.size * 0.27 + origin.1;
            let Some(outline) = fonts.of(style).outline_glyph(glyph) else { continue };
            let (left, top) = (outline.px_bounds().min.x, outline.px_bounds().min.y);
            outline.draw(|x, y, coverage| {
                let (x, y) = (left + x as f32, top + y as f32);
                if style.angle == 0.0 {
                    self.blend(x as i64, y as i64, style.colour, coverage);
                } else {
                    let (x, y) = ((x + 0.5) / zoom, (y + 0.5) / zoom);
                    let place = (at.0 + x * cos + y * sin, at.1 - x * sin + y * cos);
                    drops.add(place, coverage / (zoom * zoom));
                }
            });
        }
        if style.angle != 0.0 {
            for (index, coverage) in drops.coverage.iter().enumerate() {
                let x = drops.left + (index % drops.side) as i64;
                let y = drops.top + (index / drops.side) as i64;
                self.blend(x, y, style.colour, *coverage);
            }
        }
    }

    /// Writes the picture as PNG.
    pub(crate) fn write_png(&self, out: impl Write) -> Result<()> {
        let mut encoder = png::Encoder::new(out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(())
    }
}

/// How much of each pixel of a square a rotated text covers.
struct Drops {
    left: i64,
    top: i64,
    side: usize,
    coverage: Vec<f32>,
}

impl Drops {
    /// Returns a dry square of the given radius.
    fn around(centre: (f32, f32), radius: f32) -> Self {
        let side = 2 * radius.ceil() as usize + 2;
        let left = (centre.0 - radius).floor() as i64;
        let top = (centre.1 - radius).floor() as i64;
        Self { left, top, side, coverage: vec![0.0; side * side] }
    }

    /// Spreads a drop over the four pixels around a point.
    fn add(&mut self, at: (f32, f32), coverage: f32) {
        let (x, y) = (at.0 - 0.5, at.1 - 0.5);
        let (fx, fy) = (x - x.floor(), y - y.floor());
        let shares = [
            (0, 0, (1.0 - fx) * (1.0 - fy)),
            (1, 0, fx * (1.0 - fy)),
            (0, 1, (1.0 - fx) * fy),
            (1, 1, fx * fy),
        ];
        for (dx, dy, share) in shares {
            let column = usize::try_from(x.floor() as i64 + dx - self.left);
            let row = usize::try_from(y.floor() as i64 + dy - self.top);
            if let (Ok(column), Ok(row)) = (column, row)
                && column < self.side
                && row < self.side
            {
                self.coverage[row * self.side + column] += coverage * share;
            }
        }
    }
}
