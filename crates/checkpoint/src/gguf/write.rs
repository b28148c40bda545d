//! Writes a GGUF file, one tensor at a time, complete or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::{ALIGNMENT, ALIGNMENT_KEY, MAGIC, TYPES};
use crate::writer::{remove_stale, temporary};
use crate::{Error, TensorSink, TensorSpec};

const VERSION: u32 = 3;
const FORMAT: &str = "GGUF";
/// The most dimensions that readers take.
const MAX_DIMENSIONS: usize = 4;

/// A value of a file's metadata.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetadataValue {
    /// Text.
    Text(String),
    /// A 32-bit number without sign.
    U32(u32),
    /// A 32-bit float.
    F32(f32),
    /// Yes or no.
    Bool(bool),
}

/// The tensors and the metadata of a file to be written.
#[derive(Clone, Debug)]
pub struct GgufPlan {
    tensors: Vec<(TensorSpec, usize)>,
    metadata: BTreeMap<String, MetadataValue>,
}

impl GgufPlan {
    /// Plans a file of tensors, in the order given.
    ///
    /// # Errors
    /// If a name is given twice, or the format cannot hold a tensor.
    pub fn new(
        tensors: impl IntoIterator<Item = TensorSpec>,
        mut metadata: BTreeMap<String, MetadataValue>,
    ) -> Result<Self, Error> {
        let mut names = BTreeSet::new();
        let mut planned = Vec::new();
        let mut total = 0_usize;
        for spec in tensors {
            let TensorSpec { name, dtype, shape } = spec.clone();
            let is_known = TYPES.iter().any(|(_, known)| *known == dtype);
            let is_whole = shape.last().copied().unwrap_or(1).is_multiple_of(dtype.block_len());
            if !is_known || !is_whole || shape.len() > MAX_DIMENSIONS {
                return Err(Error::NotInFormat { name, dtype, shape, format: FORMAT });
            }
            let padded = |len: usize| len.checked_next_multiple_of(ALIGNMENT);
            let size = dtype.num_bytes(&shape);
            let sum = size.and_then(padded).and_then(|size| total.checked_add(size));
            let (Some(size), Some(sum)) = (size, sum) else {
                return Err(Error::Overflow { name, shape });
            };
            total = sum;
            if !names.insert(name.clone()) {
                return Err(Error::Duplicate { name });
            }
            planned.push((spec, size));
        }
        metadata.insert(ALIGNMENT_KEY.to_owned(), MetadataValue::U32(ALIGNMENT as u32));
        Ok(Self { tensors: planned, metadata })
    }

    /// Returns the number of bytes of all tensors.
    pub fn num_bytes(&self) -> usize {
        self.tensors.iter().map(|(_, size)| size).sum()
    }

    /// Writes the file; `fill` is asked for each tensor once, in the order of the plan. It appears
    /// under its name only when it is complete, and what an earlier checkpoint left in its
    /// directory goes.
    ///
    /// # Errors
    /// What `fill` returns, or if the file cannot be written.
    pub fn write<E: From<Error>>(
        &self,
        path: &Path,
        mut fill: impl FnMut(&TensorSpec, &mut TensorSink<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(|e| Error::write(directory, 0, e))?;
        let header = self.header();
        let padded: usize = self.tensors.iter().map(|(_, s)| s.next_multiple_of(ALIGNMENT)).sum();
        let file_len = (header.len() + padded) as u64;
        let failed = |e| Error::write(path, file_len, e);
        let mut file = BufWriter::with_capacity(1 << 20, temporary(path).map_err(failed)?);
        file.write_all(&header).map_err(failed)?;
        for (spec, size) in &self.tensors {
            let tensor = (spec.name.as_str(), *size);
            let mut sink = TensorSink::new(tensor, &mut file, (path, file_len));
            fill(spec, &mut sink)?;
            sink.finish()?;
            let padding = size.next_multiple_of(ALIGNMENT) - size;
            file.write_all(&[0; ALIGNMENT][..padding]).map_err(failed)?;
        }
        let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        remove_stale(directory, &[path.to_owned()])?;
        file.persist(path).map_err(|e| Error::write(path, 0, e.error))?;
        Ok(())
    }

    /// Returns everything before the data, with its padding.
    fn header(&self) -> Vec<u8> {
        let mut header = [MAGIC, &VERSION.to_le_bytes()].concat();
        for count in [self.tensors.len(), self.metadata.len()] {
            header.extend((count as u64).to_le_bytes());
        }
        for (key, value) in &self.metadata {
            put_text(&mut header, key);
            put_value(&mut header, value);
        }
        let mut offset = 0;
        for (spec, size) in &self.tensors {
            put_text(&mut header, &spec.name);
            header.extend((spec.shape.len() as u32).to_le_bytes());
            for dimension in spec.shape.iter().rev() {
                header.extend((*dimension as u64).to_le_bytes());
            }
            let kind = TYPES.iter().find(|(_, dtype)| *dtype == spec.dtype);
            header.extend(kind.map_or(u32::MAX, |(number, _)| *number).to_le_bytes());
            header.extend((offset as u64).to_le_bytes());
            offset += size.next_multiple_of(ALIGNMENT);
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
        header
    }
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

fn put_value(to: &mut Vec<u8>, value: &MetadataValue) {
    let put = |to: &mut Vec<u8>, kind: u32, bytes: &[u8]| {
        to.extend(kind.to_le_bytes());
        to.extend(bytes);
    };
    match value {
        MetadataValue::U32(value) => put(to, 4, &value.to_le_bytes()),
        MetadataValue::F32(value) => put(to, 6, &value.to_le_bytes()),
        MetadataValue::Bool(value) => put(to, 7, &[u8::from(*value)]),
        MetadataValue::Text(text) => {
            put(to, 8, &[]);
            put_text(to, text);
        }
    }
}
