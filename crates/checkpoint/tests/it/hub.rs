//! Downloads from a hub that the test serves on the loopback interface.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use checkpoint::Checkpoint;
use checkpoint::hub::{HubError, HubOptions, fetch};
use tempfile::TempDir;

use crate::{f32s, message};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const REPO: &str = "someone/tiny";

/// What the hub does.
#[derive(Default)]
struct Script {
    files: BTreeMap<String, Vec<u8>>,
    /// The token without which it answers 401.
    token: Option<&'static str>,
    /// After how many bytes the next download breaks off.
    break_off: Option<usize>,
    /// Whether downloads, but not questions for the length, ignore the range.
    ignores_ranges: bool,
    /// What was asked: path, range and authorization.
    log: Vec<[String; 3]>,
    is_over: bool,
}

struct Hub {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    fn serve(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(script));
        let shared = Arc::clone(&script);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut script = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if script.is_over {
                    return;
                }
                // A client that goes away early is its own affair.
                let _ = script.answer(stream.unwrap());
            }
        });
        Self { address, script, thread: Some(thread) }
    }

    fn options(&self, cache: &TempDir) -> HubOptions {
        HubOptions {
            endpoint: format!("http://{}", self.address),
            ..HubOptions::new(cache.path().join("hub"))
        }
    }

    fn edit<T>(&self, edit: impl FnOnce(&mut Script) -> T) -> T {
        edit(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns how often a file was asked for from its beginning or a later byte.
    fn downloads(&self, file: &str) -> Vec<String> {
        let is_body =
            |[path, range, _]: &&[String; 3]| path.ends_with(file) && range != "bytes=0-0";
        self.edit(|script| script.log.iter().filter(is_body).map(|l| l[1].clone()).collect())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.edit(|script| script.is_over = true);
        // Wakes the thread up.
        let _ = TcpStream::connect(self.address);
        self.thread.take().map(JoinHandle::join);
    }
}

impl Script {
    fn answer(&mut self, stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or(Ok(String::new()))?;
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut range, mut authorization) = (String::new(), String::new());
        for line in lines {
            let line = line?;
            match line.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("range") => range = value.into(),
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                    authorization = value.into();
                }
                Some(_) => {}
                None => break,
            }
        }
        self.log.push([path.clone(), range.clone(), authorization.clone()]);
        if self.token.is_some_and(|token| authorization != format!("Bearer {token}")) {
            return respond(stream, "401 Unauthorized", "", b"");
        }
        if path == format!("/api/models/{REPO}/revision/main") {
            return respond(stream, "200 OK", "", self.listing().as_bytes());
        }
        let file = path.strip_prefix(&format!("/{REPO}/resolve/{COMMIT}/"));
        let Some((name, data)) = file.and_then(|file| self.files.get_key_value(file)) else {
            return respond(stream, "404 Not Found", "", b"");
        };
        let is_question = range == "bytes=0-0";
        let all = data.len();
        let start = range.trim_start_matches("bytes=").split('-').next().unwrap_or_default();
        let mut start = start.parse().unwrap_or(0);
        if self.ignores_ranges && !is_question {
            start = 0;
        }
        let end = if is_question { all.min(1) } else { all };
        let headers = format!(
            "ETag: \"etag-{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {start}-{}/{all}\r\n",
            end.saturating_sub(1)
        );
        let breaks = self.break_off.take_if(|_| !is_question);
        let body = &data[start..end];
        match breaks {
            Some(len) => respond_partly(stream, &headers, body.len(), &body[..len]),
            None => respond(stream, "206 Partial Content", &headers, body),
        }
    }

    fn listing(&self) -> String {
        let files: Vec<_> =
            self.files.keys().map(|name| format!(r#"{{"rfilename":"{name}"}}"#)).collect();
        format!(r#"{{"sha":"{COMMIT}","siblings":[{}]}}"#, files.join(","))
    }
}

fn respond(mut stream: TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let len = body.len();
    let head = "Connection: close\r\nContent-Type: application/json";
    write!(stream, "HTTP/1.1 {status}\r\n{head}\r\n{headers}Content-Length: {len}\r\n\r\n")?;
    stream.write_all(body)
}

fn respond_partly(
    mut stream: TcpStream,
    headers: &str,
    len: usize,
    body: &[u8],
) -> std::io::Result<()> {
    let status = "206 Partial Content";
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {len}\r\n\r\n")?;
    stream.write_all(body)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // Reads the rest, so that closing does not reset what is still on its way.
    stream.read_to_end(&mut Vec::new()).map(drop)
}

/// A model in two shards.
fn script() -> Script {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (f32s(&[512], (0..512_u16).map(f32::from)), f32s(&[1], [2.0]));
    checkpoint::save(directory.path(), [("a", &a), ("b", &b)], 2048).unwrap();
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        files.insert(name, std::fs::read(path).unwrap());
    }
    for name in ["config.json", "tokenizer.json"] {
        files.insert(name.to_owned(), b"{}".to_vec());
    }
    files.insert("README.md".to_owned(), b"never asked for".to_vec());
    Script { files, ..Script::default() }
}

const SHARD: &str = "model-00001-of-00002.safetensors";

fn quiet(_: &str, _: u64, _: u64) {}

fn failure(options: &HubOptions) -> HubError {
    fetch(REPO, options, &quiet).unwrap_err()
}

#[test]
fn a_model_is_downloaded_once_and_opens() {
    let (hub, cache) = (Hub::serve(script()), tempfile::tempdir().unwrap());
    let steps = Mutex::new(Vec::new());
    let watch =
        |file: &str, done, total| steps.lock().unwrap().push((file.to_owned(), done, total));
    let directory = fetch(REPO, &hub.options(&cache), &watch).unwrap();
    let repo = cache.path().join("hub/models--someone--tiny");
    assert_eq!(directory, repo.join("snapshots").join(COMMIT));
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    let opened = Checkpoint::open(&directory).unwrap();
    assert_eq!(opened.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(opened.tensor("a").unwrap().to_f32_vec().unwrap()[510..], [510.0, 511.0]);
    let steps = steps.into_inner().unwrap();
    let last = steps.iter().rfind(|(file, ..)| file == SHARD).unwrap();
    assert_eq!(last.1, last.2);
    assert!(last.2 > 2048);
    assert!(hub.downloads("README.md").is_empty());

    assert_eq!(fetch(REPO, &hub.options(&cache), &quiet).unwrap(), directory);
    assert_eq!(hub.downloads(SHARD).len(), 1);
}

#[test]
fn a_complete_snapshot_serves_without_the_hub() {
    let (hub, cache) = (Hub::serve(script()), tempfile::tempdir().unwrap());
    let mut options = hub.options(&cache);
    let directory = fetch(REPO, &options, &quiet).unwrap();
    drop(hub);
    assert_eq!(fetch(REPO, &options, &quiet).unwrap(), directory);
    options.offline = true;
    assert_eq!(fetch(REPO, &options, &quiet).unwrap(), directory);
    options.revision = COMMIT.to_owned();
    assert_eq!(fetch(REPO, &options, &quiet).unwrap(), directory);
}

#[test]
fn offline_the_missing_file_is_named() {
    let (hub, cache) = (Hub::serve(script()), tempfile::tempdir().unwrap());
    let mut options = hub.options(&cache);
    options.offline = true;
    let said = |options: &HubOptions| message_of(&failure(options), &cache);
    let rest = format!(
        "of model `{REPO}` is not in the cache `hub`, and offline mode forbids to download it; run \
         once without offline mode"
    );
    assert_eq!(said(&options), format!("`config.json` {rest}"));
    options.offline = false;
    let directory = fetch(REPO, &options, &quiet).unwrap();
    std::fs::remove_file(directory.join(SHARD)).unwrap();
    options.offline = true;
    assert_eq!(said(&options), format!("`{SHARD}` {rest}"));
}

#[test]
fn the_token_is_sent_as_bearer_and_never_printed() {
    let (hub, cache) = (Hub::serve(script()), tempfile::tempdir().unwrap());
    hub.edit(|script| script.token = Some("secret"));
    let mut options = hub.options(&cache);
    let endpoint = &options.endpoint;
    let start = format!(
        "{endpoint} refuses access to model `{REPO}` (status 401): it is gated, private or does \
         not exist, and"
    );
    assert_eq!(
        message_of(&failure(&options), &cache),
        format!("{start} no token was given, set `HF_TOKEN`")
    );
    options.token = Some("wrong".to_owned());
    assert_eq!(
        message_of(&failure(&options), &cache),
        format!("{start} the token may not read it")
    );
    options.token = Some("secret".to_owned());
    fetch(REPO, &options, &quiet).unwrap();
    let logged = hub.edit(|script| script.log.iter().filter(|l| l[2] == "Bearer secret").count());
    assert!(logged > 4);
    assert!(!format!("{options:?}").contains("secret"));
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let (hub, cache) = (Hub::serve(script()), tempfile::tempdir().unwrap());
    let mut options = hub.options(&cache);
    let endpoint = options.endpoint.clone();
    assert_eq!(
        message_of(&fetch("someone/else", &options, &quiet).unwrap_err(), &cache),
        format!("there is no model `someone/else` with revision `main` at {endpoint}")
    );
    options.revision = "v2".to_owned();
    assert_eq!(
        message_of(&failure(&options), &cache),
        format!("there is no model `{REPO}` with revision `v2` at {endpoint}")
    );
    options.revision = "main".to_owned();
    hub.edit(|script| script.files.retain(|name, _| !name.contains("model")));
    hub.edit(|script| script.files.insert("old.bin".to_owned(), vec![1]));
    assert_eq!(
        message_of(&failure(&options), &cache),
        format!(
            "model `{REPO}` has neither `model.safetensors` nor an index of shards, but \
             `config.json`, `old.bin`, `tokenizer.json`"
        )
    );
}

#[test]
fn a_hub_that_is_gone_is_named() {
    let (hub, cache) = (Hub::serve(script()), tempfile::tempdir().unwrap());
    let options = hub.options(&cache);
    drop(hub);
    let said = message_of(&failure(&options), &cache);
    let start = format!(
        "cannot reach {} for model `{REPO}`, which is not complete in the cache: ",
        options.endpoint
    );
    assert!(said.starts_with(&start), "{said}");
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let (hub, cache) = (Hub::serve(script()), tempfile::tempdir().unwrap());
    let options = hub.options(&cache);
    hub.edit(|script| script.files.remove("tokenizer.json"));
    fetch(REPO, &options, &quiet).unwrap();
    let directory = cache.path().join("hub/models--someone--tiny/snapshots").join(COMMIT);
    let blob = std::fs::canonicalize(directory.join(SHARD)).unwrap();
    let whole = std::fs::read(&blob).unwrap();
    std::fs::remove_file(directory.join(SHARD)).unwrap();
    std::fs::remove_file(blob).unwrap();
    hub.edit(|script| script.break_off = Some(1000));
    fetch(REPO, &options, &quiet).unwrap();
    assert_eq!(hub.downloads(SHARD), ["bytes=0-", "bytes=0-", "bytes=1000-"]);
    assert_eq!(std::fs::read(directory.join(SHARD)).unwrap(), whole);
}

#[test]
fn a_file_of_the_wrong_length_is_removed() {
    let (hub, cache) = (Hub::serve(script()), tempfile::tempdir().unwrap());
    let options = hub.options(&cache);
    hub.edit(|script| script.files.retain(|name, _| name == "config.json"));
    hub.edit(|script| script.files.insert("config.json".to_owned(), vec![b' '; 64]));
    hub.edit(|script| (script.break_off, script.ignores_ranges) = (Some(10), true));
    assert_eq!(
        message_of(&failure(&options), &cache),
        format!("`config.json` of model `{REPO}` came with 74 bytes, expected 64")
    );
    let directory = cache.path().join("hub/models--someone--tiny/snapshots").join(COMMIT);
    assert!(!directory.join("config.json").is_symlink());
}

#[test]
fn names_that_would_leave_the_cache_are_refused() {
    let cache = tempfile::tempdir().unwrap();
    let mut options = HubOptions::new(cache.path());
    for repo in ["", "/", "../x", "a/b/c", "a/..", "a b/c", "a/b?c", ".hidden/x"] {
        assert_eq!(
            fetch(repo, &options, &quiet).unwrap_err().to_string(),
            format!("`{repo}` is not a model of the hub, expected `owner/name`")
        );
    }
    options.revision = "../main".to_owned();
    assert_eq!(
        failure(&options).to_string(),
        "`../main` is not a revision, expected a branch, tag or commit"
    );
}

fn message_of(error: &HubError, cache: &TempDir) -> String {
    message(error, cache.path())
}
