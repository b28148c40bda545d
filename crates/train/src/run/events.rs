//! Event files that `TensorBoard` reads: records of protocol buffers, each with checksums.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// A file of scalars over steps.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

/// The fields of the messages `Event`, `Summary`, `Summary.Value` and `SessionLog` that are written.
mod field {
    pub(super) const WALL_TIME: u8 = 1;
    pub(super) const STEP: u8 = 2;
    pub(super) const FILE_VERSION: u8 = 3;
    pub(super) const SUMMARY: u8 = 5;
    pub(super) const SESSION_LOG: u8 = 7;
    pub(super) const VALUE: u8 = 1;
    pub(super) const TAG: u8 = 1;
    pub(super) const SIMPLE_VALUE: u8 = 2;
    pub(super) const STATUS: u8 = 1;
}

/// `SessionLog.START`: what readers have of this step and later ones is void.
const START: u64 = 1;

impl EventFile {
    /// Makes a new file in a directory at `time` (seconds since 1970) whose first step is `step`;
    /// steps from there on in older files are void.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(directory: &Path, time: f64, step: u64) -> Result<Self, Error> {
        // Readers go through the files in the order of names.
        let name = format!("events.out.tfevents.{time:017.6}.aki");
        let path = directory.join(name);
        let file = File::create(&path).map_err(Error::write(&path))?;
        let mut events = Self { path, file: BufWriter::new(file) };
        events.event(time, 0, &bytes(field::FILE_VERSION, b"brain.Event:2"))?;
        if step > 1 {
            let status = varint_field(field::STATUS, START);
            events.event(time, step, &bytes(field::SESSION_LOG, &status))?;
        }
        events.flush()?;
        Ok(events)
    }

    /// Writes the values of a step.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalars(&mut self, time: f64, step: u64, values: &[(&str, f64)]) -> Result<(), Error> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut message = bytes(field::TAG, tag.as_bytes());
            message.push(field::SIMPLE_VALUE << 3 | 5);
            message.extend_from_slice(&(*value as f32).to_le_bytes());
            summary.extend(bytes(field::VALUE, &message));
        }
        self.event(time, step, &bytes(field::SUMMARY, &summary))?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(Error::write(&self.path))
    }

    fn event(&mut self, time: f64, step: u64, what: &[u8]) -> Result<(), Error> {
        let mut event = vec![field::WALL_TIME << 3 | 1];
        event.extend_from_slice(&time.to_le_bytes());
        event.extend(varint_field(field::STEP, step));
        event.extend_from_slice(what);
        self.file.write_all(&record(&event)).map_err(Error::write(&self.path))
    }
}

/// Returns a record: the length, its checksum, the content, its checksum.
fn record(content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u64).to_le_bytes();
    let mut record = len.to_vec();
    record.extend_from_slice(&masked(&len).to_le_bytes());
    record.extend_from_slice(content);
    record.extend_from_slice(&masked(content).to_le_bytes());
    record
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    while value >= 0x80 {
        encoded.push(value as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
    encoded
}

fn varint_field(number: u8, value: u64) -> Vec<u8> {
    let mut field = vec![number << 3];
    field.extend(varint(value));
    field
}

fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(value.len() as u64));
    field.extend_from_slice(value);
    field
}

/// Returns the checksum of a record: CRC-32C, rotated and shifted, since a checksum of bytes that
/// hold checksums would be weak.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn numbers_have_seven_bits_a_byte() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [127]);
        assert_eq!(varint(300), [0xac, 0x02]);
    }
}
