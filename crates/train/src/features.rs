//! A frozen encoder's features on disk, so that an image is encoded once and not in every epoch.
//!
//! What is kept is found by content: by the pixel values and by the weights of the encoder. So it
//! is right whatever the data set does, and useless, but never wrong, where pixels are augmented.
//!
//! ```text
//! features-{encoder}-{writer}.bin    entries of one size, one after the other
//! features-{encoder}-{writer}.index  for each entry its key (32 bytes) and its checksum (4 bytes)
//! features-{encoder}-{writer}.lock   empty; locked as long as a process writes the other two
//! ```
//!
//! A rank is the writer of its number, or of the next that no other process has: the models of a
//! table share a folder, whatever ranks they have.
//!
//! An entry is written before its line of the index. Whatever a crash leaves unfinished is not in
//! the index or fails its checksum, and is encoded again.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes of a line of the index.
const LINE: usize = 36;

/// What identifies an encoder or an image.
pub type Key = [u8; 32];

/// What can be wrong with the files.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{}`", path.display())]
pub struct FeatureCacheError {
    /// What was tried.
    what: &'static str,
    /// With which file.
    path: PathBuf,
    /// Why it failed.
    source: io::Error,
}

/// The features of the images that were encoded so far.
#[derive(Debug)]
pub struct FeatureCache {
    directory: PathBuf,
    /// What the names of its files begin with.
    prefix: String,
    /// f32 of an entry.
    len: usize,
    /// Where each entry is: the file, its place there, and its checksum.
    entries: HashMap<Key, (usize, u64, u32)>,
    /// The file that is written, and then those of other processes.
    files: Vec<Entries>,
    index: (PathBuf, File),
    /// Keeps others from writing it.
    _lock: File,
}

/// A file of entries.
#[derive(Debug)]
struct Entries {
    path: PathBuf,
    file: File,
    /// How many of its entries are known.
    known: u64,
}

impl FeatureCache {
    /// Opens the cache of an encoder, whose features are `len` numbers for each image.
    ///
    /// Every process writes files of its own and reads those of the others.
    ///
    /// # Errors
    /// If the directory or its files cannot be read or written.
    pub fn open(
        directory: &Path,
        encoder: &Key,
        rank: usize,
        len: usize,
    ) -> Result<Self, FeatureCacheError> {
        fs::create_dir_all(directory).map_err(failed("make", directory))?;
        let encoder = encoder.as_chunks().0.first().copied().map_or(0, u64::from_be_bytes);
        let prefix = format!("features-{encoder:016x}-");
        let (path, lock) = writer(directory, &prefix, rank)?;
        let index_path = path.with_extension("index");
        let index = OpenOptions::new().write(true).create(true).truncate(false).open(&index_path);
        let index = index.map_err(failed("open", &index_path))?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed("open", &path))?;
        let mut cache = Self {
            directory: directory.to_owned(),
            prefix,
            len,
            entries: HashMap::new(),
            files: vec![Entries { path, file, known: 0 }],
            index: (index_path, index),
            _lock: lock,
        };
        cache.refresh()?;
        // What is in one of the two files only was cut off.
        let (path, index) = &cache.index;
        index.set_len(cache.files[0].known * LINE as u64).map_err(failed("cut", path))?;
        Ok(cache)
    }

    /// Finds what other processes have written meanwhile.
    ///
    /// # Errors
    /// If the directory or its files cannot be read.
    pub fn refresh(&mut self) -> Result<(), FeatureCacheError> {
        let listed = fs::read_dir(&self.directory).map_err(failed("list", &self.directory))?;
        let mut paths = Vec::new();
        for entry in listed {
            paths.push(entry.map_err(failed("list", &self.directory))?.path());
        }
        paths.sort();
        for path in paths {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let is_features = name.is_some_and(|name| {
                name.starts_with(&self.prefix) && path.extension() == Some("bin".as_ref())
            });
            if is_features && self.files.iter().all(|known| known.path != path) {
                let file = File::open(&path).map_err(failed("open", &path))?;
                self.files.push(Entries { path, file, known: 0 });
            }
        }
        for (at, Entries { path, file, known }) in self.files.iter_mut().enumerate() {
            let stored = file.metadata().map_err(failed("read", path))?.len();
            let stored = stored / (self.len * 4) as u64;
            let lines = lines_from(&path.with_extension("index"), *known).unwrap_or_default();
            for (place, line) in (*known..stored).zip(lines.as_chunks::<LINE>().0) {
                let (key, checksum) = parse(line);
                self.entries.insert(key, (at, place, checksum));
                *known += 1;
            }
        }
        Ok(())
    }

    /// Returns how many images are known.
    pub fn num_images(&self) -> usize {
        self.entries.len()
    }

    /// Returns the features of an image, if they are there and whole.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn get(&mut self, image: &Key) -> Result<Option<Vec<f32>>, FeatureCacheError> {
        let Some((file, place, checksum)) = self.entries.get(image) else { return Ok(None) };
        let Entries { path, file, .. } = &mut self.files[*file];
        let mut bytes = vec![0; self.len * 4];
        let start = SeekFrom::Start(place * bytes.len() as u64);
        let read = file.seek(start).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(failed("read", path))?;
        if crc32fast::hash(&bytes) != *checksum {
            return Ok(None);
        }
        Ok(Some(bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()))
    }

    /// Keeps the features of an image.
    ///
    /// # Errors
    /// If they cannot be written; what was kept before is not lost.
    ///
    /// # Panics
    /// If there are not as many numbers as the cache was opened for.
    pub fn put(&mut self, image: Key, features: &[f32]) -> Result<(), FeatureCacheError> {
        assert_eq!(features.len(), self.len, "the features of an image");
        let bytes: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
        let checksum = crc32fast::hash(&bytes);
        let mut line = image.to_vec();
        line.extend(checksum.to_le_bytes());
        let Entries { path: data, file, known } = &mut self.files[0];
        let (path, index) = &mut self.index;
        for ((path, file), bytes) in [((data, file), bytes), ((path, index), line)] {
            let start = SeekFrom::Start(*known * bytes.len() as u64);
            let written = file.seek(start).and_then(|_| file.write_all(&bytes));
            written.map_err(failed("write", path))?;
        }
        self.entries.insert(image, (0, *known, checksum));
        *known += 1;
        Ok(())
    }
}

/// Returns what an error becomes that comes from trying something with a file.
fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FeatureCacheError {
    let path = path.to_owned();
    move |source| FeatureCacheError { what, path, source }
}

/// Returns the first file from a rank's on that no other process writes, and what keeps it so.
fn writer(
    directory: &Path,
    prefix: &str,
    rank: usize,
) -> Result<(PathBuf, File), FeatureCacheError> {
    let mut number = rank;
    loop {
        let path = directory.join(format!("{prefix}{number}.lock"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed("open", &path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => number += 1,
            // Where files cannot be locked, ranks keep processes apart.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok((path.with_extension("bin"), file)),
        }
    }
}

/// Returns the bytes of an index from a line on.
fn lines_from(path: &Path, line: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(line * LINE as u64))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns the key of pixel values or of weights.
pub fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Returns the key of an image. `// [3, size, size]`
pub fn image_key(pixels: &[f32]) -> Key {
    let mut bytes = Vec::with_capacity(pixels.len() * 4);
    for value in pixels {
        // Writing into memory does not fail.
        let _ = bytes.write_all(&value.to_le_bytes());
    }
    key([bytes.as_slice()])
}

fn parse(line: &[u8; LINE]) -> (Key, u32) {
    let mut key = [0; 32];
    key.copy_from_slice(&line[..32]);
    (key, u32::from_le_bytes([line[32], line[33], line[34], line[35]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENCODER: Key = [7; 32];

    fn features(seed: u8) -> Vec<f32> {
        (0..6_u8).map(|i| f32::from(i) * 0.25 - f32::from(seed)).collect()
    }

    fn open(directory: &Path, rank: usize) -> FeatureCache {
        FeatureCache::open(directory, &ENCODER, rank, 6).unwrap()
    }

    fn assert_kept(mut cache: FeatureCache, seeds: &[u8]) -> FeatureCache {
        for seed in seeds {
            assert_eq!(cache.get(&[*seed; 32]).unwrap(), Some(features(*seed)), "{seed}");
        }
        assert_eq!(cache.num_images(), seeds.len());
        cache
    }

    #[test]
    fn what_was_kept_is_there_in_the_next_run() {
        let directory = tempfile::tempdir().unwrap();
        let mut cache = open(directory.path(), 0);
        assert_eq!(cache.get(&[1; 32]).unwrap(), None);
        for seed in [1, 2] {
            cache.put([seed; 32], &features(seed)).unwrap();
        }
        drop(assert_kept(cache, &[1, 2]));
        let mut cache = assert_kept(open(directory.path(), 0), &[1, 2]);
        cache.put([3; 32], &features(3)).unwrap();
        assert_kept(open(directory.path(), 0), &[1, 2, 3]);
    }

    #[test]
    fn ranks_read_each_other_and_write_files_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (open(directory.path(), 0), open(directory.path(), 1));
        first.put([1; 32], &features(1)).unwrap();
        second.put([2; 32], &features(2)).unwrap();
        drop((first, second));
        assert_kept(open(directory.path(), 0), &[1, 2]);
        assert_kept(open(directory.path(), 2), &[1, 2]);
    }

    #[test]
    fn two_processes_of_one_rank_do_not_write_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (open(directory.path(), 0), open(directory.path(), 0));
        first.put([1; 32], &features(1)).unwrap();
        second.put([2; 32], &features(2)).unwrap();
        first.put([3; 32], &features(3)).unwrap();
        // Each sees what the other has written when it looks again.
        assert_eq!(second.get(&[1; 32]).unwrap(), None);
        second.refresh().unwrap();
        drop((first, assert_kept(second, &[1, 2, 3])));
        // Both files are free again, and known to whoever comes next.
        let (first, second) = (open(directory.path(), 0), open(directory.path(), 0));
        assert_kept(first, &[1, 2, 3]).put([4; 32], &features(4)).unwrap();
        drop(assert_kept(second, &[1, 2, 3]));
        assert_kept(open(directory.path(), 5), &[1, 2, 3, 4]);
    }

    #[test]
    fn another_encoder_has_other_features() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), 0).put([1; 32], &features(1)).unwrap();
        let cache = FeatureCache::open(directory.path(), &[8; 32], 0, 6).unwrap();
        assert_eq!(cache.num_images(), 0);
    }

    #[test]
    fn a_crash_at_any_byte_loses_the_last_entries_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let mut cache = open(directory.path(), 0);
        for seed in [1, 2, 3] {
            cache.put([seed; 32], &features(seed)).unwrap();
        }
        drop(cache);
        let data = directory.path().join(format!("features-{}-0.bin", "07".repeat(8)));
        for (path, size) in [(data.with_extension("index"), LINE), (data, 24)] {
            let whole = fs::read(&path).unwrap();
            for len in (0..whole.len()).rev() {
                fs::write(&path, &whole[..len]).unwrap();
                let kept: Vec<u8> = (1..=3).take(len / size).collect();
                let mut cache = assert_kept(open(directory.path(), 0), &kept);
                // Whatever was cut off is written again in its place.
                cache.put([9; 32], &features(9)).unwrap();
                assert_kept(open(directory.path(), 0), &[kept, vec![9]].concat());
                if path.extension().is_some_and(|extension| extension == "bin") {
                    restore(directory.path());
                }
            }
            restore(directory.path());
        }
    }

    /// Writes the three entries anew.
    fn restore(directory: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let mut cache = open(directory, 0);
        for seed in [1, 2, 3] {
            cache.put([seed; 32], &features(seed)).unwrap();
        }
    }

    #[test]
    fn a_damaged_entry_is_encoded_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut cache = open(directory.path(), 0);
        cache.put([1; 32], &features(1)).unwrap();
        let data = directory.path().join(format!("features-{}-0.bin", "07".repeat(8)));
        let mut bytes = fs::read(&data).unwrap();
        bytes[5] ^= 1;
        fs::write(&data, bytes).unwrap();
        let mut cache = open(directory.path(), 0);
        assert_eq!(cache.get(&[1; 32]).unwrap(), None);
        cache.put([1; 32], &features(1)).unwrap();
        assert_eq!(cache.get(&[1; 32]).unwrap(), Some(features(1)));
    }

    #[test]
    fn keys_tell_contents_and_their_division_apart() {
        assert_ne!(image_key(&[1.0, 2.0]), image_key(&[2.0, 1.0]));
        assert_ne!(key([b"ab".as_slice(), b"c"]), key([b"a".as_slice(), b"bc"]));
        assert_eq!(image_key(&[0.5]), key([0.5_f32.to_le_bytes().as_slice()]));
    }
}
