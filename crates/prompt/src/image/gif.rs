//! The part of a GIF's screen that its first frame leaves out.

use std::ops::Range;

/// Where a GIF's first frame is, and the colour around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FirstFrame {
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
    /// The colour that Pillow gives what no frame has drawn: the transparent one, or else the
    /// palette's first; not the one that the file calls its background.
    pub(super) around: [u8; 3],
}

impl FirstFrame {
    /// Finds the first frame; none in a file that is damaged before it.
    pub(super) fn find(gif: &[u8]) -> Option<Self> {
        const TABLE_FLAG: u8 = 0x80;
        let table_len = |flags: u8| {
            if flags & TABLE_FLAG == 0 { 0 } else { 3 * (2 << usize::from(flags & 7)) }
        };
        let global_table = gif.get(13..13 + table_len(*gif.get(10)?))?;
        let mut at = 13 + global_table.len();
        let mut transparent = None;
        loop {
            match gif.get(at)? {
                // An extension; that of a frame's looks says which colour is transparent.
                b'!' => {
                    if *gif.get(at + 1)? == 0xF9 && gif.get(at + 3)? & 1 == 1 {
                        transparent = Some(usize::from(*gif.get(at + 6)?));
                    }
                    at += 2;
                    while *gif.get(at)? != 0 {
                        at += 1 + usize::from(gif[at]);
                    }
                    at += 1;
                }
                b',' => break,
                _ => return None,
            }
        }
        let number =
            |at: usize| Some(usize::from(u16::from_le_bytes([*gif.get(at)?, *gif.get(at + 1)?])));
        let (left, top) = (number(at + 1)?, number(at + 3)?);
        let (width, height) = (number(at + 5)?, number(at + 7)?);
        let local_table = gif.get(at + 10..at + 10 + table_len(*gif.get(at + 9)?))?;
        let table = if local_table.is_empty() { global_table } else { local_table };
        let color = 3 * transparent.unwrap_or_default();
        let around = table.get(color..color + 3).map_or([0; 3], |c| [c[0], c[1], c[2]]);
        Some(Self { columns: left..left + width, rows: top..top + height, around })
    }

    /// Fills what is around the frame in an image of `width` pixels.
    pub(super) fn fill_around(&self, width: usize, pixels: &mut [u8]) {
        for (y, row) in pixels.chunks_exact_mut(3 * width.max(1)).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                if !self.rows.contains(&y) || !self.columns.contains(&x) {
                    pixel.copy_from_slice(&self.around);
                }
            }
        }
    }
}
