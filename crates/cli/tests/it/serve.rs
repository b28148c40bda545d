//! The server as a process: what it says, whom it answers, and how it ends.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::program::{aki, command, goldens};

/// A server, and where it listens.
struct Served {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    address: String,
}

fn serve(extra: &[&str]) -> Served {
    let model = goldens("base/model");
    let mut command = command(["serve", "--port", "0", "--model", &model]);
    let mut child = command
        .args(extra)
        .env_remove("AKI_API_KEY")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("it says where it listens");
    let address = line.trim().strip_prefix("listening on http://").expect(&line).to_owned();
    Served { child, stderr, address }
}

impl Served {
    fn post(&self, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let length = body.len();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        stream
    }

    fn signal(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    }

    /// Waits for its end; returns its exit code and what it has said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).expect("text");
        (self.child.wait().expect("it ends").code(), said)
    }
}

const LONG: &str = r#"{"messages": [{"role": "user", "content": "Why?"}], "stream": true,
    "max_tokens": 300, "ignore_eos": true}"#;

#[test]
fn sigterm_lets_a_running_answer_come_to_its_end() {
    let served = serve(&["--log-json"]);
    let mut answer = served.post("", LONG);
    let mut text = vec![0; 15];
    answer.read_exact(&mut text).expect("the answer has begun");
    served.signal();
    answer.read_to_end(&mut text).expect("the answer goes on");
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("data: [DONE]"), "{text}");
    let (code, said) = served.end();
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<serde_json::Value> =
        said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let reply = lines.iter().find(|line| line["message"] == "reply").expect("a line of the reply");
    assert_eq!(reply["finish"], "length");
    let request = lines.iter().find(|line| line["message"] == "request").expect("a line");
    assert_eq!(request["request_id"], reply["request_id"]);
}

#[test]
fn keys_come_from_a_file_plain_or_hashed() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    let hash = "1a06df824ed741b53c785079a6347f00eec5af82f9850775409ca69dff4068a6";
    std::fs::write(&keys, format!("# who may ask\nplain\n\nsha256:{hash}\n")).expect("a file");
    let served = serve(&["--api-keys", &keys.display().to_string()]);
    let body = r#"{"messages": [{"role": "user", "content": "Why?"}], "max_tokens": 2}"#;
    for (key, status) in [("plain", "200"), ("hashed", "200"), (hash, "401"), ("x", "401")] {
        let mut answer = String::new();
        let header = format!("authorization: Bearer {key}\r\n");
        served.post(&header, body).read_to_string(&mut answer).expect("text");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{key}: {answer}");
    }
    served.signal();
    assert_eq!(served.end().0, Some(0));
    for (text, place) in [("", "has no key"), ("plain\nsha256:12\n", "line 2")] {
        std::fs::write(&keys, text).expect("a file");
        let path = keys.display().to_string();
        let model = goldens("base/model");
        let said = aki(["serve", "--model", &model, "--api-keys", &path]).failure(2);
        assert!(said.contains(place) && !said.contains("plain"), "{said}");
    }
}
