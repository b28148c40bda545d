//! Models from the Hugging Face hub, through its cache.
//!
//! The cache has the layout of the Python library, so what either has downloaded the other finds.
//! Where it lies, the token and the rest come in [`HubOptions`]; nothing here reads the
//! environment. A snapshot is pinned to one commit before the first file is asked for, and its
//! branch is recorded only when all files are there.

mod error;
mod snapshot;

use std::fmt;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

pub use error::HubError;
use snapshot::{INDEX, Missing, SINGLE};

/// Where the hub is, unless the user says otherwise.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// How often a download that broke off is taken up again.
const ATTEMPTS: usize = 4;
/// How many bytes pass between two reports of progress.
const REPORT_EVERY: u64 = 1 << 20;

/// How to reach the hub.
#[derive(Clone)]
pub struct HubOptions {
    /// The cache, `$HF_HOME/hub` in the Python library.
    pub cache_dir: PathBuf,
    /// The hub's address.
    pub endpoint: String,
    /// The access token, for gated and private models.
    pub token: Option<String>,
    /// Whether to use nothing but the cache.
    pub offline: bool,
    /// The branch, tag or commit.
    pub revision: String,
}

impl HubOptions {
    /// Returns options for the public hub without a token.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            offline: false,
            revision: "main".to_owned(),
        }
    }
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret: it must not get into a log.
        f.debug_struct("HubOptions")
            .field("cache_dir", &self.cache_dir)
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .field("offline", &self.offline)
            .field("revision", &self.revision)
            .finish()
    }
}

/// Watches a download.
pub trait Progress {
    /// Is told that so many bytes of a file's total are there; the two are equal at the end.
    fn advanced(&self, file: &str, done: u64, total: u64);
}

impl<F: Fn(&str, u64, u64)> Progress for F {
    fn advanced(&self, file: &str, done: u64, total: u64) {
        self(file, done, total);
    }
}

/// Returns the directory of a model's configuration, tokenizer and weights, downloaded if needed.
///
/// When the hub cannot be reached, a snapshot that is complete in the cache serves.
///
/// # Errors
/// If the model is unknown, gated, incomplete or not reachable, or the cache cannot be written.
pub fn fetch(
    repo_id: &str,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    let download = Download::new(repo_id, options)?;
    if options.offline {
        return download.cached().map_err(|missing| HubError::Offline {
            repo: repo_id.to_owned(),
            cache_dir: options.cache_dir.clone(),
            file: missing.file,
        });
    }
    match download.run(progress) {
        // Without a network, what is complete in the cache is as good as yesterday.
        Err(unreachable @ HubError::Unreachable { .. }) => {
            download.cached().map_err(|_| unreachable)
        }
        result => result,
    }
}

struct Download<'o> {
    repo_id: &'o str,
    options: &'o HubOptions,
    cache: Cache,
}

impl<'o> Download<'o> {
    fn new(repo_id: &'o str, options: &'o HubOptions) -> Result<Self, HubError> {
        let is_word = |part: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(is_plain)
        };
        // Both become parts of paths and addresses.
        if repo_id.split('/').count() > 2 || !repo_id.split('/').all(is_word) {
            return Err(HubError::RepoId { repo: repo_id.to_owned() });
        }
        if !options.revision.split('/').all(is_word) {
            return Err(HubError::Revision { revision: options.revision.clone() });
        }
        Ok(Self { repo_id, options, cache: Cache::new(options.cache_dir.clone()) })
    }

    fn at(&self, revision: &str) -> Repo {
        Repo::with_revision(self.repo_id.to_owned(), RepoType::Model, revision.to_owned())
    }

    fn in_cache(&self, revision: &str) -> CacheRepo {
        self.cache.repo(self.at(revision))
    }

    /// Returns the snapshot that the cache holds, if it is complete.
    fn cached(&self) -> Result<PathBuf, Missing> {
        let revision = &self.options.revision;
        let repo = self.options.cache_dir.join(self.at(revision).folder_name());
        let commit = std::fs::read_to_string(repo.join("refs").join(revision));
        // A full commit id has no reference of its own.
        let commit = commit.map_or_else(|_| revision.clone(), |text| text.trim().to_owned());
        let directory = self.in_cache(revision).pointer_path(&commit);
        snapshot::check(&directory)?;
        Ok(directory)
    }

    fn run(&self, progress: &dyn Progress) -> Result<PathBuf, HubError> {
        let revision = &self.options.revision;
        let api = self.api().map_err(|e| self.failed("", e))?;
        let listing = api.repo(self.at(revision)).info().map_err(|e| self.failed("", e))?;
        let commit = listing.sha;
        if commit.is_empty() || !commit.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(HubError::Commit { repo: self.repo_id.to_owned(), commit });
        }
        let files: Vec<String> = listing.siblings.into_iter().map(|s| s.rfilename).collect();
        let directory = self.in_cache(revision).pointer_path(&commit);
        let repo = api.repo(self.at(&commit));
        let get = |file: &str| self.get(&repo, &directory, file, progress);
        // Small files first: a wrong model is noticed before gigabytes are there.
        for file in snapshot::small_files(&files) {
            get(file)?;
        }
        if files.iter().any(|file| file == SINGLE) {
            get(SINGLE)?;
        } else if files.iter().any(|file| file == INDEX) {
            get(INDEX)?;
            let index = directory.join(INDEX);
            for shard in snapshot::shards(&index)? {
                get(&shard)?;
            }
        } else {
            let found = snapshot::of_models(files);
            return Err(HubError::NoCheckpoint { repo: self.repo_id.to_owned(), found });
        }
        let recorded = self.in_cache(revision).create_ref(&commit);
        recorded.map_err(|e| self.failed("refs", ApiError::IoError(e)))?;
        Ok(directory)
    }

    fn api(&self) -> Result<Api, ApiError> {
        ApiBuilder::from_cache(self.cache.clone())
            .with_endpoint(self.options.endpoint.trim_end_matches('/').to_owned())
            .with_token(self.options.token.clone())
            .with_progress(false)
            .with_user_agent("aki", env!("CARGO_PKG_VERSION"))
            .build()
    }

    /// Downloads a file unless the snapshot has it.
    fn get(
        &self,
        repo: &ApiRepo,
        directory: &Path,
        file: &str,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        if directory.join(file).exists() {
            return Ok(());
        }
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            let mut total = 0;
            let report = Report { progress, file, done: 0, reported: 0, total: &mut total };
            match repo.download_with_progress(file, report) {
                Ok(path) => return self.check_len(&path, file, total),
                // The part that is there is kept, and the next attempt goes on from it.
                Err(ApiError::IoError(e)) if left > 0 && is_broken_off(&e) => {}
                Err(e) => return Err(self.failed(file, e)),
            }
        }
    }

    /// Refuses a file of another length than announced, which a hub without ranges may cause.
    fn check_len(&self, path: &Path, file: &str, expected: u64) -> Result<(), HubError> {
        let found = std::fs::metadata(path).map_err(|e| self.failed(file, e.into()))?.len();
        if found == expected {
            return Ok(());
        }
        // The snapshot has a link, and the blob is what it leads to.
        let removed = std::fs::canonicalize(path).and_then(std::fs::remove_file);
        let is_link = path.is_symlink();
        let removed =
            removed.and_then(|()| if is_link { std::fs::remove_file(path) } else { Ok(()) });
        removed.map_err(|e| self.failed(file, e.into()))?;
        Err(HubError::Length {
            repo: self.repo_id.to_owned(),
            file: file.to_owned(),
            expected,
            found,
        })
    }

    fn failed(&self, file: &str, source: ApiError) -> HubError {
        let (repo, file) = (self.repo_id.to_owned(), file.to_owned());
        let endpoint = self.options.endpoint.clone();
        let ApiError::RequestError(request) = source else {
            return HubError::Download { repo, file, source: Box::new(source) };
        };
        match *request {
            ureq::Error::StatusCode(404) => {
                let revision = self.options.revision.clone();
                HubError::NotFound { repo, revision, file, endpoint }
            }
            ureq::Error::StatusCode(status @ (401 | 403)) => {
                let has_token = self.options.token.is_some();
                HubError::Denied { repo, status, has_token, endpoint }
            }
            ureq::Error::StatusCode(status) => HubError::Status { repo, status, endpoint },
            other @ ureq::Error::Json(_) => {
                HubError::Download { repo, file, source: Box::new(other) }
            }
            other => HubError::Unreachable { repo, endpoint, source: Box::new(other) },
        }
    }
}

fn is_broken_off(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::TimedOut
            | ErrorKind::BrokenPipe
    )
}

/// Turns the library's steps into totals, and few enough of them.
struct Report<'p> {
    progress: &'p dyn Progress,
    file: &'p str,
    done: u64,
    reported: u64,
    total: &'p mut u64,
}

impl hf_hub::api::Progress for Report<'_> {
    fn init(&mut self, size: usize, _: &str) {
        (self.done, self.reported, *self.total) = (0, 0, size as u64);
        self.progress.advanced(self.file, 0, *self.total);
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        if self.done - self.reported >= REPORT_EVERY {
            self.reported = self.done;
            self.progress.advanced(self.file, self.done, *self.total);
        }
    }

    fn finish(&mut self) {
        self.progress.advanced(self.file, self.done, *self.total);
    }
}
