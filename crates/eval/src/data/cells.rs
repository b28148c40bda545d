//! Cells of a tab-separated file as they come, however long they are.

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

use super::Place;
use crate::Error;

/// What comes out of the bytes of a file.
#[derive(Debug)]
pub(super) enum Event<'b> {
    /// More of a cell, and where its row starts.
    Bytes(&'b [u8], Place),
    /// The end of a cell.
    Cell {
        /// Whether it ends its row.
        last: bool,
        /// Where the row starts.
        place: Place,
    },
}

/// Splits bytes into cells.
#[derive(Debug)]
pub(super) struct Cells {
    reader: Reader,
    out: Vec<u8>,
    /// Bytes that were read so far.
    offset: u64,
    place: Place,
    at_start: bool,
}

impl Cells {
    pub(super) fn new() -> Self {
        Self {
            reader: ReaderBuilder::new().delimiter(b'\t').build(),
            out: vec![0; 1 << 16],
            offset: 0,
            place: Place { offset: 0, line: 1 },
            at_start: true,
        }
    }

    /// Takes the next bytes; none ends the file.
    pub(super) fn feed(
        &mut self,
        mut input: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let is_end = input.is_empty();
        loop {
            if input.is_empty() && !is_end {
                // For the reader no more bytes means no more file, which would end a cell early.
                return Ok(());
            }
            if self.at_start {
                // Line ends that are left over from the row before are not a part of this one.
                let skipped = input.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
                if skipped > 0 {
                    let (_, read, _) = self.reader.read_field(&input[..skipped], &mut self.out);
                    self.offset += read as u64;
                    input = &input[read..];
                    continue;
                }
                self.place = Place { offset: self.offset, line: self.reader.line() };
                self.at_start = input.is_empty();
            }
            let (result, read, written) = self.reader.read_field(input, &mut self.out);
            self.offset += read as u64;
            input = &input[read..];
            if written > 0 {
                on_event(Event::Bytes(&self.out[..written], self.place))?;
            }
            match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::End => return Ok(()),
                ReadFieldResult::OutputFull => {}
                ReadFieldResult::Field { record_end } => {
                    self.at_start = record_end;
                    on_event(Event::Cell { last: record_end, place: self.place })?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the rows of a text that comes in blocks, with where they start.
    fn rows(text: &str, block: usize) -> Vec<(Place, Vec<String>)> {
        let mut cells = Cells::new();
        let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), Vec::new());
        for bytes in text.as_bytes().chunks(block).chain([&[][..]]) {
            let fed = cells.feed(bytes, |event| {
                match event {
                    Event::Bytes(bytes, _) => cell.extend_from_slice(bytes),
                    Event::Cell { last, place } => {
                        row.push(String::from_utf8(std::mem::take(&mut cell)).unwrap());
                        if last {
                            rows.push((place, std::mem::take(&mut row)));
                        }
                    }
                }
                Ok(())
            });
            fed.unwrap();
        }
        rows
    }

    #[test]
    fn rows_are_the_same_wherever_a_block_ends() {
        let text = "a\tb\tc\n1\t\t\"x\t\"\"y\"\"\n\"\r\n\r\n\n2\t\"\"\tz\n3\tw\t";
        let whole = rows(text, text.len());
        let cells: Vec<Vec<&str>> =
            whole.iter().map(|(_, row)| row.iter().map(String::as_str).collect()).collect();
        let expected = [["a", "b", "c"], ["1", "", "x\t\"y\"\n"], ["2", "", "z"], ["3", "w", ""]];
        assert_eq!(cells, expected);
        for ((place, row), start) in whole.iter().zip(["a", "1", "2", "3"]) {
            assert!(text[place.offset as usize..].starts_with(start), "{row:?} at {place:?}");
        }
        for block in 1..text.len() {
            assert_eq!(rows(text, block), whole, "blocks of {block}");
        }
    }
}
