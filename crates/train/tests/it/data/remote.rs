//! Shards that come over HTTP, from a server on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use train::data::{Shards, Source, WebDataset, WebDatasetConfig};

use super::support::{bare_make, keys, shard};

type Files = BTreeMap<String, Vec<u8>>;

/// Serves files, each connection once, until the program ends; returns the address and the list of
/// what was asked for.
fn serve(files: Files) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A client that goes away is no problem of the server.
            let _ = answer(stream, &files, &log);
        }
    });
    (format!("http://{address}"), asked)
}

fn answer(mut stream: TcpStream, files: &Files, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    asked.lock().expect("no test panics with it").push(path.to_owned());
    let (status, body) = match files.get(path) {
        Some(body) => ("200 OK", body.as_slice()),
        None => ("404 Not Found", b"".as_slice()),
    };
    let modified = "Last-Modified: Mon, 23 Nov 2026 08:00:00 GMT";
    let len = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {len}\r\n{modified}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}

fn files() -> Files {
    let mut files: Files =
        (0..4).map(|index| (format!("/set/{index:05}.tar"), shard(index, 30 + index))).collect();
    files.remove("/set/00001.tar");
    files
}

fn open(address: &str) -> WebDataset {
    let pattern = format!("{address}/set/{{00000..00003}}.tar");
    let shards = Shards::find(&[pattern], BTreeMap::new()).unwrap();
    WebDataset::new(shards, WebDatasetConfig::default(), bare_make()).unwrap()
}

#[test]
fn shards_are_streamed_over_http_and_one_that_is_not_there_is_passed_over() {
    let (address, asked) = serve(files());
    let mut source = open(&address);
    let num_failed = source.num_failed();
    let found: BTreeSet<_> = keys(&mut source, 30 + 32 + 33).into_iter().collect();
    assert_eq!(found.len(), 30 + 32 + 33);
    assert!(found.contains("s3-32"));
    assert_eq!(num_failed.load(Ordering::Relaxed), 1);
    assert_eq!(source.num_samples(), None);
    assert_eq!(asked.lock().unwrap()[0], "/set/sizes.json");
}

#[test]
fn a_stream_over_http_goes_on_where_it_was_and_knows_its_size() {
    let mut files = files();
    let sizes = r#"{"00000.tar": 30, "00001.tar": 1, "00002.tar": 32, "00003.tar": 33}"#;
    files.insert("/set/sizes.json".to_owned(), sizes.as_bytes().to_vec());
    let (address, _) = serve(files);
    let mut source = open(&address);
    assert_eq!(source.num_samples(), Some(96));
    keys(&mut source, 41);
    let position = source.position();
    let expected = keys(&mut source, 80);
    let mut resumed = open(&address);
    resumed.seek(&position).unwrap();
    assert_eq!(keys(&mut resumed, 80), expected);
}

#[test]
fn shards_are_streamed_from_a_store_of_the_s3_kind() {
    let (address, asked) = serve(files());
    let options = [
        ("aws_endpoint", address.as_str()),
        ("aws_allow_http", "true"),
        ("aws_skip_signature", "true"),
        ("aws_region", "here"),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let pattern = "s3://set/{00000,00003}.tar".to_owned();
    let shards = Shards::find(&[pattern], BTreeMap::from(options)).unwrap();
    let mut source = WebDataset::new(shards, WebDatasetConfig::default(), bare_make()).unwrap();
    let found: BTreeSet<_> = keys(&mut source, 30 + 33).into_iter().collect();
    assert_eq!(found.len(), 30 + 33);
    assert!(asked.lock().unwrap().contains(&"/set/00003.tar".to_owned()));
}

#[test]
fn an_address_of_an_unknown_kind_is_a_shard_that_cannot_be_read() {
    let shards = Shards::find(&["gopher://host/0.tar".to_owned()], BTreeMap::new()).unwrap();
    let mut source = WebDataset::new(shards, WebDatasetConfig::default(), bare_make()).unwrap();
    let error = source.next().err().unwrap().to_string();
    assert!(error.contains("`gopher://host/0.tar`: "), "{error}");
}
