use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;

use super::*;

/// Looks names up in a table: each look takes the next of a name's addresses, the last one again.
#[derive(Debug)]
struct Table(Mutex<Vec<(&'static str, Vec<SocketAddr>)>>);

impl Resolver for Table {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut table = self.0.lock().unwrap();
        let row = table.iter_mut().find(|(name, _)| uri.host() == Some(name));
        let (_, addresses) = row.ok_or(ureq::Error::HostNotFound)?;
        let next = if addresses.len() > 1 { addresses.remove(0) } else { addresses[0] };
        let mut found = self.empty();
        found.push(next);
        Ok(found)
    }
}

/// Answers connections with these responses, one each; returns the address.
fn answer(responses: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for response in responses {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(response.as_bytes()).unwrap();
        }
    });
    address
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn moved(to: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
}

fn table(rows: Vec<(&'static str, Vec<SocketAddr>)>) -> Table {
    Table(Mutex::new(rows))
}

#[test]
fn only_addresses_that_everybody_can_reach_are_public() {
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:c0a8:101::1",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "4000::1",
    ] {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
    for address in [
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.17.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2002:101:101::1",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn a_picture_comes_through_redirections_but_not_too_many_nor_too_large() {
    let there = || answer(vec![moved("http://b.example/x"), ok("four")]);
    let fetcher = |max_bytes, address| {
        let rows = vec![("a.example", vec![address]), ("b.example", vec![address])];
        Fetcher::with_resolver(max_bytes, TIME, table(rows))
    };
    assert_eq!(fetcher(4, there()).fetch("http://a.example/").unwrap(), b"four");
    let error = fetcher(3, there()).fetch("http://a.example/").unwrap_err();
    assert_eq!(error, "the image has more than 3 bytes");
    let circle = answer(vec![moved("http://a.example/"); 10]);
    let error = fetcher(4, circle).fetch("http://a.example/").unwrap_err();
    assert_eq!(error, "the image was moved more than 3 times");
    let missing = answer(vec!["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()]);
    let error = fetcher(4, missing).fetch("http://a.example/").unwrap_err();
    assert_eq!(error, "the server of the image answered with status 404");
}

#[test]
fn addresses_that_are_not_public_are_never_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let inside = listener.local_addr().unwrap();
    let rows = vec![("inside.example", vec![inside])];
    let fetcher = Fetcher::with_resolver(9, TIME, Public { lookup: table(rows) });
    let refused = "the image's server is not known, or not on the public internet";
    assert_eq!(fetcher.fetch("http://inside.example/").unwrap_err(), refused);
    let fetcher = Fetcher::new(9);
    let port = inside.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433"] {
        let error = fetcher.fetch(&format!("http://{host}:{port}/")).unwrap_err();
        assert_eq!(error, refused, "{host}");
    }
    assert!(listener.accept().is_err(), "somebody connected");
}

#[test]
fn a_server_that_is_slow_in_any_way_is_not_waited_for() {
    let time = Duration::from_millis(200);
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
    // Nothing, a part of the head, the head alone, and a part of the body.
    for begun in ["", &head[..20], head, &format!("{head}fo")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let begun = begun.to_owned();
        let (done, until) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(begun.as_bytes()).unwrap();
            // The connection stays open as long as the test.
            until.recv().unwrap_err();
        });
        let fetcher = Fetcher::with_resolver(9, time, table(vec![("a.example", vec![address])]));
        let started = std::time::Instant::now();
        let error = fetcher.fetch("http://a.example/").unwrap_err();
        assert_eq!(error, "the image did not come within 0.2 seconds");
        assert!(started.elapsed() < Duration::from_secs(10));
        drop(done);
        server.join().unwrap();
    }
}

/// Checks a name's first address, and lets the second look find another.
#[derive(Debug)]
struct Rebinding {
    public: SocketAddr,
    table: Table,
}

impl Resolver for Rebinding {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.table.resolve(uri, config, timeout)?;
        // Stands for the check of public addresses, which no address of a test passes.
        if found.iter().all(|address| *address == self.public) {
            Ok(found)
        } else {
            Err(ureq::Error::HostNotFound)
        }
    }
}

#[test]
fn a_name_is_looked_up_once_for_a_connection_and_again_for_a_redirection() {
    let outside = answer(vec![ok("one"), moved("http://a.example/again"), ok("two")]);
    let inside = answer(vec![ok("secret")]);
    // The first request takes the first look only; the second one is redirected into the trap.
    let rows = vec![("a.example", vec![outside, outside, inside])];
    let resolver = Rebinding { public: outside, table: table(rows) };
    let fetcher = Fetcher::with_resolver(9, TIME, resolver);
    assert_eq!(fetcher.fetch("http://a.example/").unwrap(), b"one");
    assert!(fetcher.fetch("http://a.example/").unwrap_err().contains("not on the public internet"));
}

#[test]
fn redirections_lead_to_no_other_scheme() {
    for to in ["file:///etc/passwd", "ftp://b.example/x", "gopher://b.example/", "data:,x"] {
        let (first, second) = (answer(vec![moved(to)]), answer(vec![ok("secret")]));
        let rows = vec![("a.example", vec![first]), ("b.example", vec![second])];
        let fetcher = Fetcher::with_resolver(9, TIME, table(rows));
        let found = fetcher.fetch("http://a.example/");
        assert_eq!(found.unwrap_err(), "the image could not be fetched", "{to}");
    }
}
