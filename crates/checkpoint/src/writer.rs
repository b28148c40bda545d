//! Writes safetensors files, one tensor at a time, complete or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::{NamedTempFile, TempPath};

use crate::source::GGUF;
use crate::{Dtype, Error, Tensor};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The data begins at a multiple of this, so that a map of it can be read in place.
const DATA_ALIGNMENT: usize = 64;

/// What a tensor will be, before its bytes are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name.
    pub name: String,
    /// The type of the elements.
    pub dtype: Dtype,
    /// The shape, outermost dimension first.
    pub shape: Vec<usize>,
}

/// A set of tensors divided into files, ready to be written.
#[derive(Clone, Debug)]
pub struct ShardPlan {
    shards: Vec<Shard>,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    tensors: Vec<(TensorSpec, usize)>,
    num_bytes: usize,
}

/// Takes the bytes of one tensor, in as many pieces as the caller likes.
pub struct TensorSink<'a> {
    name: &'a str,
    expected: usize,
    given: usize,
    file: &'a mut dyn Write,
    path: &'a Path,
    file_len: u64,
}

impl std::fmt::Debug for TensorSink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorSink({}, {} of {})", self.name, self.given, self.expected)
    }
}

impl<'a> TensorSink<'a> {
    /// Expects the bytes of a tensor.
    pub(crate) fn new(
        (name, expected): (&'a str, usize),
        file: &'a mut dyn Write,
        (path, file_len): (&'a Path, u64),
    ) -> Self {
        Self { name, expected, given: 0, file, path, file_len }
    }

    /// Returns an error unless all bytes came.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.given == self.expected { Ok(()) } else { Err(self.length()) }
    }
}

impl TensorSink<'_> {
    /// Writes the next bytes of the tensor, little-endian and row-major.
    ///
    /// # Errors
    /// If the tensor would get too long, or the file cannot be written.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.given += bytes.len();
        if self.given > self.expected {
            return Err(self.length());
        }
        self.file.write_all(bytes).map_err(|e| Error::write(self.path, self.file_len, e))
    }

    fn length(&self) -> Error {
        Error::Length { name: self.name.to_owned(), expected: self.expected, found: self.given }
    }
}

impl ShardPlan {
    /// Divides the tensors, in the order given, into files of at most `max_shard_bytes` of data;
    /// a larger tensor gets a file of its own.
    ///
    /// # Errors
    /// If a name is given twice or a shape is too large.
    pub fn new(
        tensors: impl IntoIterator<Item = TensorSpec>,
        max_shard_bytes: usize,
    ) -> Result<Self, Error> {
        let mut names = BTreeSet::new();
        let mut shards = vec![Shard::default()];
        let mut total = 0_usize;
        for spec in tensors {
            let TensorSpec { name, dtype, shape } = spec.clone();
            if dtype.block_len() > 1 {
                return Err(Error::NotInFormat { name, dtype, shape, format: "safetensors" });
            }
            let size = dtype.num_bytes(&shape);
            let sum = size.and_then(|size| Some((size, total.checked_add(size)?)));
            let Some((size, sum)) = sum else {
                return Err(Error::Overflow { name: spec.name, shape: spec.shape });
            };
            total = sum;
            if !names.insert(spec.name.clone()) {
                return Err(Error::Duplicate { name: spec.name });
            }
            let is_full = |shard: &Shard| {
                !shard.tensors.is_empty() && shard.num_bytes + size > max_shard_bytes
            };
            if shards.last().is_none_or(is_full) {
                shards.push(Shard::default());
            }
            if let Some(shard) = shards.last_mut() {
                shard.num_bytes += size;
                shard.tensors.push((spec, size));
            }
        }
        for shard in &mut shards {
            // The format allows no holes: sizes that keep the alignment come first, and of the
            // others wide elements before narrow ones, so that each is at least readable in place.
            shard.tensors.sort_by_key(|(spec, size)| {
                (!size.is_multiple_of(DATA_ALIGNMENT), std::cmp::Reverse(spec.dtype.size()))
            });
        }
        Ok(Self { shards })
    }

    /// Returns the number of files.
    pub fn num_shards(&self) -> usize {
        self.shards.len()
    }

    /// Returns the number of bytes of all tensors.
    pub fn num_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.num_bytes).sum()
    }

    /// Writes `model.safetensors`, or shards and their index, into a directory.
    ///
    /// `fill` is asked for each tensor once, in the order of the files, where tensors of odd sizes
    /// come last. The files appear under their names only when all are complete, the index last,
    /// and what an earlier checkpoint left in the directory goes. Returns the paths of the tensor
    /// files.
    ///
    /// # Errors
    /// What `fill` returns, or if a file cannot be written.
    pub fn write<E: From<Error>>(
        &self,
        directory: &Path,
        mut fill: impl FnMut(&TensorSpec, &mut TensorSink<'_>) -> Result<(), E>,
    ) -> Result<Vec<PathBuf>, E> {
        fs::create_dir_all(directory).map_err(|e| Error::write(directory, 0, e))?;
        let mut written = Vec::new();
        for (index, shard) in self.shards.iter().enumerate() {
            let path = directory.join(self.file_name(index));
            written.push((shard.write(&path, &mut fill)?, path));
        }
        let index = (self.num_shards() > 1).then(|| self.index(directory)).transpose()?;
        let keep: Vec<PathBuf> = written.iter().map(|(_, path)| path.clone()).collect();
        remove_stale(directory, &keep)?;
        for (temporary, path) in written.into_iter().chain(index) {
            temporary.persist(&path).map_err(|e| Error::write(&path, 0, e.error))?;
        }
        Ok(keep)
    }

    fn file_name(&self, index: usize) -> String {
        match self.num_shards() {
            1 => SINGLE.to_owned(),
            all => format!("model-{:05}-of-{all:05}.safetensors", index + 1),
        }
    }

    fn index(&self, directory: &Path) -> Result<(TempPath, PathBuf), Error> {
        let mut weight_map = BTreeMap::new();
        for (index, shard) in self.shards.iter().enumerate() {
            let file = self.file_name(index);
            weight_map.extend(shard.tensors.iter().map(|(spec, _)| (&spec.name, file.clone())));
        }
        let json = json!({
            "metadata": { "total_size": self.num_bytes() },
            "weight_map": weight_map,
        });
        let text = format!("{json:#}\n");
        let path = directory.join(INDEX);
        let failed = |e| Error::write(&path, text.len() as u64, e);
        let mut file = temporary(&path).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        Ok((file.into_temp_path(), path))
    }
}

impl Shard {
    fn write<E: From<Error>>(
        &self,
        path: &Path,
        fill: &mut impl FnMut(&TensorSpec, &mut TensorSink<'_>) -> Result<(), E>,
    ) -> Result<TempPath, E> {
        let header = self.header();
        let file_len = (header.len() + self.num_bytes) as u64;
        let failed = |e| Error::write(path, file_len, e);
        let mut file = BufWriter::with_capacity(1 << 20, temporary(path).map_err(failed)?);
        file.write_all(&header).map_err(failed)?;
        for (spec, expected) in &self.tensors {
            let tensor = (spec.name.as_str(), *expected);
            let mut sink = TensorSink::new(tensor, &mut file, (path, file_len));
            fill(spec, &mut sink)?;
            sink.finish()?;
        }
        let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        Ok(file.into_temp_path())
    }

    /// Returns the length, the JSON and the padding.
    fn header(&self) -> Vec<u8> {
        let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
        let mut offset = 0;
        for (spec, size) in &self.tensors {
            let entry = json!({
                "dtype": spec.dtype.name(),
                "shape": spec.shape,
                "data_offsets": [offset, offset + size],
            });
            offset += size;
            // Writing to a string cannot fail.
            let _ = write!(json, ",{}:{entry}", json!(spec.name));
        }
        json.push('}');
        let len = (8 + json.len()).next_multiple_of(DATA_ALIGNMENT) - 8;
        let mut header = (len as u64).to_le_bytes().to_vec();
        header.extend_from_slice(json.as_bytes());
        header.resize(8 + len, b' ');
        header
    }
}

/// Writes tensors that are in memory into a directory, as [`ShardPlan::write`] does.
///
/// # Errors
/// If a name is given twice, a tensor's bytes do not match its shape, or a file cannot be written.
pub fn save<'a>(
    directory: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    max_shard_bytes: usize,
) -> Result<Vec<PathBuf>, Error> {
    let (specs, by_name) = described(tensors);
    let plan = ShardPlan::new(specs, max_shard_bytes)?;
    plan.write(directory, |spec, sink| put(&by_name, spec, sink))
}

/// Writes tensors that are in memory into one file of any name.
///
/// # Errors
/// If a name is given twice, a tensor's bytes do not match its shape, or the file cannot be
/// written.
pub fn save_file<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), Error> {
    let (specs, by_name) = described(tensors);
    for shard in &ShardPlan::new(specs, usize::MAX)?.shards {
        let file = shard.write(path, &mut |spec: &_, sink: &mut _| put(&by_name, spec, sink))?;
        file.persist(path).map_err(|e| Error::write(path, 0, e.error))?;
    }
    Ok(())
}

type ByName<'a> = BTreeMap<&'a str, &'a Tensor>;

fn described<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> (Vec<TensorSpec>, ByName<'a>) {
    let tensors: Vec<_> = tensors.into_iter().collect();
    let spec = |&(name, tensor): &(&str, &Tensor)| TensorSpec {
        name: name.to_owned(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
    };
    (tensors.iter().map(spec).collect(), tensors.into_iter().collect())
}

fn put(tensors: &ByName<'_>, spec: &TensorSpec, sink: &mut TensorSink<'_>) -> Result<(), Error> {
    sink.put(&tensors[spec.name.as_str()].bytes)
}

/// Makes a file beside `path` that vanishes unless it is kept.
pub(crate) fn temporary(path: &Path) -> std::io::Result<NamedTempFile> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-").suffix(".tmp");
    // A temporary file is private by default, but a checkpoint is an ordinary file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory)
}

/// Removes the files of an earlier checkpoint, so that old and new are never mixed.
pub(crate) fn remove_stale(directory: &Path, keep: &[PathBuf]) -> Result<(), Error> {
    let failed = |source| Error::Write { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_shard = name.starts_with("model-") && name.ends_with(".safetensors");
        let is_single = [SINGLE, INDEX, GGUF].contains(&name);
        let is_ours = is_single || (is_shard && name.contains("-of-"));
        if is_ours && !keep.contains(&path) {
            fs::remove_file(&path).map_err(|e| Error::write(&path, 0, e))?;
        }
    }
    Ok(())
}
