//! Where shards are: patterns, folders, files and addresses, and reading them as a stream.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::{ObjectStore, ObjectStoreExt, parse_url_opts};
use reqwest::Url;
use tokio::runtime::{Builder, Runtime};

use super::Error;

/// The most shards that a pattern may name.
const MOST_SHARDS: usize = 10_000_000;
/// What says how many samples the shards beside it have.
const SIZES: &str = "sizes.json";
/// Bytes that are read from a file at once.
const FILE_BUFFER: usize = 1 << 18;

/// Where one shard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// On this machine.
    File(PathBuf),
    /// Somewhere else: `http://`, `https://`, `s3://` or another kind that the store knows.
    Remote(Url),
}

/// How stores are spoken to: the keys of `object_store`, such as `aws_region`.
pub type StoreOptions = BTreeMap<String, String>;

/// The shards of a data set, in the order of the patterns.
#[derive(Debug)]
pub struct Shards {
    locations: Vec<Location>,
    sizes: BTreeMap<String, u64>,
    store: Store,
}

impl Location {
    /// Returns the name of the file.
    pub fn name(&self) -> &str {
        match self {
            Self::File(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or_default(),
            Self::Remote(url) => url.path().rsplit('/').next().unwrap_or_default(),
        }
    }

    /// Returns the place of another file beside this one.
    fn beside(&self, name: &str) -> Option<Self> {
        match self {
            Self::File(path) => Some(Self::File(path.with_file_name(name))),
            Self::Remote(url) => url.join(name).ok().map(Self::Remote),
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Remote(url) => write!(f, "{url}"),
        }
    }
}

impl Shards {
    /// Finds the shards that `patterns` name: files, folders of `.tar` files and addresses, with
    /// braces as in a shell.
    ///
    /// Files need not exist: a shard that is not there is for the reader to skip. A `sizes.json`
    /// beside the shards is read if there is one.
    ///
    /// # Errors
    /// If a pattern has unbalanced braces, a folder cannot be read, or there is no shard.
    pub fn find(patterns: &[String], options: StoreOptions) -> Result<Self, Error> {
        let mut locations = Vec::new();
        for pattern in patterns {
            for place in expand(pattern)? {
                find_at(&place, &mut locations)?;
            }
        }
        if locations.is_empty() {
            return Err(Error::Empty { stream: format!("`{}`", patterns.join("`, `")) });
        }
        let mut shards = Self { locations, sizes: BTreeMap::new(), store: Store::new(options) };
        shards.read_sizes();
        Ok(shards)
    }

    /// Returns how many shards there are.
    pub fn len(&self) -> usize {
        self.locations.len()
    }

    /// Returns whether there are none; never for shards that were found.
    pub fn is_empty(&self) -> bool {
        self.locations.is_empty()
    }

    /// Returns where the shards are.
    pub fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// Returns how many samples there are, if `sizes.json` says it of every shard.
    pub fn num_samples(&self) -> Option<u64> {
        self.locations.iter().map(|location| self.sizes.get(location.name())).sum()
    }

    /// Starts to read a shard.
    pub(super) fn open(&self, index: usize) -> io::Result<ShardReader> {
        self.store.open(&self.locations[index])
    }

    /// Reads every `sizes.json` there is; one that is missing or wrong says nothing.
    fn read_sizes(&mut self) {
        let mut beside: Vec<_> =
            self.locations.iter().filter_map(|location| location.beside(SIZES)).collect();
        beside.dedup();
        for location in beside {
            let mut text = Vec::new();
            let Ok(()) = self.store.open(&location).and_then(|mut file| {
                file.read_to_end(&mut text)?;
                Ok(())
            }) else {
                continue;
            };
            match serde_json::from_slice::<BTreeMap<String, u64>>(&text) {
                Ok(sizes) => self.sizes.extend(sizes),
                Err(error) => tracing::warn!("`{location}` is not used: {error}"),
            }
        }
    }
}

/// Returns what the braces of a pattern stand for: `{000..012}` counts, with zeros in front where
/// a number has them, and `{a,b}` lists; both may be nested.
///
/// # Errors
/// If the braces are not balanced or stand for too much.
pub fn expand(pattern: &str) -> Result<Vec<String>, Error> {
    let bad =
        |expected| Error::Setting { setting: "shards", found: format!("`{pattern}`"), expected };
    let mut depth = 0_usize;
    for letter in pattern.bytes() {
        match letter {
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1).ok_or_else(|| bad("a `{` for every `}`"))?,
            _ => {}
        }
    }
    if depth != 0 {
        return Err(bad("a `}` for every `{`"));
    }
    let mut places = vec![String::new()];
    expand_into(pattern, &mut places).ok_or_else(|| bad("fewer shards"))?;
    Ok(places)
}

/// Appends every form of a balanced pattern to each of `places`; none if that is too much.
fn expand_into(pattern: &str, places: &mut Vec<String>) -> Option<()> {
    let Some(open) = pattern.find('{') else {
        for place in places.iter_mut() {
            place.push_str(pattern);
        }
        return Some(());
    };
    let mut depth = 0;
    let close = pattern.bytes().enumerate().skip(open).find_map(|(at, letter)| {
        depth += i32::from(letter == b'{') - i32::from(letter == b'}');
        (depth == 0).then_some(at)
    })?;
    let forms = alternatives(&pattern[open + 1..close])?;
    (places.len().checked_mul(forms.len())? <= MOST_SHARDS).then_some(())?;
    let before = &pattern[..open];
    let mut all = Vec::with_capacity(places.len() * forms.len());
    for place in &*places {
        all.extend(forms.iter().map(|form| format!("{place}{before}{form}")));
    }
    *places = all;
    expand_into(&pattern[close + 1..], places)
}

/// Returns what the inside of a pair of braces stands for.
fn alternatives(inside: &str) -> Option<Vec<String>> {
    if let Some((first, last)) = inside.split_once("..")
        && let (Ok(from), Ok(to)) = (first.parse::<u64>(), last.parse::<u64>())
    {
        let len = from.abs_diff(to).checked_add(1)?;
        (len <= MOST_SHARDS as u64).then_some(())?;
        let has_zeros = |number: &str| number.len() > 1 && number.starts_with('0');
        let width =
            if has_zeros(first) || has_zeros(last) { first.len().max(last.len()) } else { 0 };
        let number = |value: u64| format!("{value:0width$}");
        let ascending = from.min(to)..=from.max(to);
        return Some(if from <= to {
            ascending.map(number).collect()
        } else {
            ascending.rev().map(number).collect()
        });
    }
    let mut forms = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in inside.bytes().chain([b',']).enumerate() {
        depth += i32::from(letter == b'{') - i32::from(letter == b'}');
        if letter == b',' && depth == 0 {
            let mut places = vec![String::new()];
            expand_into(&inside[start..at], &mut places)?;
            forms.extend(places);
            start = at + 1;
        }
    }
    // As in a shell, braces around a single thing are part of the name.
    if !inside.contains(',') {
        for form in &mut forms {
            *form = format!("{{{form}}}");
        }
    }
    Some(forms)
}

/// Appends the shards at one place.
fn find_at(place: &str, locations: &mut Vec<Location>) -> Result<(), Error> {
    if place.contains("://")
        && let Ok(url) = Url::parse(place)
    {
        locations.push(match url.to_file_path() {
            Ok(path) if url.scheme() == "file" => Location::File(path),
            _ => Location::Remote(url),
        });
        return Ok(());
    }
    let path = Path::new(place);
    if !path.is_dir() {
        locations.push(Location::File(path.to_owned()));
        return Ok(());
    }
    let failed = |source| Error::ReadFile { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "tar") {
            files.push(path);
        }
    }
    files.sort();
    locations.extend(files.into_iter().map(Location::File));
    Ok(())
}

/// Opens shards; speaks to remote stores from the thread that asks.
struct Store {
    options: StoreOptions,
    /// The engine of remote reads, made by the first.
    runtime: std::sync::OnceLock<Arc<Runtime>>,
}

impl Store {
    fn new(options: StoreOptions) -> Self {
        Self { options, runtime: std::sync::OnceLock::new() }
    }

    fn open(&self, location: &Location) -> io::Result<ShardReader> {
        match location {
            Location::File(path) => {
                Ok(ShardReader::File(BufReader::with_capacity(FILE_BUFFER, File::open(path)?)))
            }
            Location::Remote(url) => Ok(ShardReader::Remote(self.open_remote(url)?)),
        }
    }

    fn open_remote(&self, url: &Url) -> io::Result<RemoteReader> {
        let runtime = if let Some(runtime) = self.runtime.get() {
            Arc::clone(runtime)
        } else {
            // Fails if some other part of the program chose before, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
            Arc::clone(self.runtime.get_or_init(|| runtime))
        };
        let mut options = self.options.clone();
        if url.scheme() == "http" {
            options.entry("allow_http".to_owned()).or_insert_with(|| "true".to_owned());
        }
        let (store, path) = parse_url_opts(url, options).map_err(io::Error::other)?;
        let store: Arc<dyn ObjectStore> = Arc::from(store);
        let stream = runtime
            .block_on(async { store.get(&path).await.map(object_store::GetResult::into_stream) })
            .map_err(io::Error::other)?;
        Ok(RemoteReader { runtime, stream, chunk: Chunk::default() })
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Options may hold keys that nobody should see in a log.
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// The bytes of one shard.
pub(super) enum ShardReader {
    File(BufReader<File>),
    Remote(RemoteReader),
}

/// A download that is read as it comes.
pub(super) struct RemoteReader {
    runtime: Arc<Runtime>,
    stream: BoxStream<'static, object_store::Result<bytes::Bytes>>,
    chunk: Chunk,
}

/// What was downloaded and not read yet.
type Chunk = bytes::Bytes;

impl ShardReader {
    /// Passes over `len` bytes; fails where the shard ends before.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<()> {
        if let Self::File(file) = self
            && len > FILE_BUFFER as u64
            && let Ok(offset) = i64::try_from(len)
        {
            file.seek_relative(offset)?;
            // A file lets itself be sought beyond its end.
            let beyond = file.stream_position()? > file.get_ref().metadata()?.len();
            return if beyond { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) };
        }
        let skipped = io::copy(&mut self.take(len), &mut io::sink())?;
        if skipped == len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Read for ShardReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Remote(remote) => remote.read(buffer),
        }
    }
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.stream.next()) {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.chunk.len());
        buffer[..len].copy_from_slice(&self.chunk.split_to(len));
        Ok(len)
    }
}
