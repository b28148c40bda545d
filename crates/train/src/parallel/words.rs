//! Numbers as bytes.

use bytes::Bytes;

use crate::Error;

/// Writes numbers one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn put(&mut self, word: u64) {
        self.bytes.extend_from_slice(&word.to_le_bytes());
    }

    pub(crate) fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

/// Reads them again.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the next number.
    ///
    /// # Errors
    /// If there is none: the processes do not run the same program.
    pub(crate) fn take(&mut self) -> Result<u64, Error> {
        let Some((word, rest)) = self.rest.split_first_chunk() else {
            let reason = "a message is too short; start the same program with the same recipe in \
                          every process";
            return Err(Error::Collective { reason: reason.to_owned() });
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*word))
    }
}

/// Writes values; `bytes` are four times as many.
pub(crate) fn write_values(values: &[f32], bytes: &mut [u8]) {
    for (bytes, value) in bytes.chunks_exact_mut(4).zip(values) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// Reads what [`write_values`] wrote.
pub(crate) fn read_values(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}
