//! What comes too slowly, too often or too late.

use std::time::Duration;

use engine::{CancelToken, Job, Sampling};
use serde_json::Value;
use server::{ConnectionLimits, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{chat, get, model, post_raw, question, serve, serve_model, serve_within};

/// Short, for what has to be waited for.
const SOON: Duration = Duration::from_millis(200);
/// Long, for what should not happen.
const LATE: Duration = Duration::from_secs(20);

async fn connect(address: &str, start: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(start.as_bytes()).await.unwrap();
    stream
}

/// The head of a question, and nothing of its body.
fn head(length: usize) -> String {
    format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

/// Reads until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(LATE, stream.read_to_end(&mut text)).await.expect("it is closed").unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether something comes within a short time.
async fn comes(stream: &mut TcpStream) -> bool {
    timeout(SOON, stream.read_exact(&mut [0; 12])).await.is_ok()
}

#[test]
fn a_body_that_does_not_keep_up_is_not_waited_for_whatever_it_promises() {
    let options = Options { body_time: SOON, ..Options::default() };
    serve(options, |address| async move {
        // Of one that is as long as any a little comes, of the others nothing.
        for (length, start) in [(60 << 20, "{\"messages\": "), (60 << 20, ""), (1, "")] {
            let mut stream = connect(&address, &(head(length) + start)).await;
            let answer = rest(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 408 "), "{length}: {answer}");
            assert!(answer.contains("\"code\":\"request_timeout\""), "{answer}");
        }
        // Bodies in pieces do not say how long they are.
        let pieces = head(0).replace("content-length: 0", "transfer-encoding: chunked");
        let mut stream = connect(&address, &(pieces + "5\r\n{\"mes\r\n")).await;
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 408 "));
        assert_eq!(chat(&address, &question(false)).await["status"], 200);
    });
}

#[test]
fn a_body_in_pieces_is_no_larger_than_others() {
    let options = Options { max_body_bytes: 1000, ..Options::default() };
    serve(options, |address| async move {
        let pieces = head(0).replace("content-length: 0", "transfer-encoding: chunked");
        let piece = format!("200\r\n{}\r\n", " ".repeat(0x200));
        let mut stream = connect(&address, &(pieces + &piece + &piece)).await;
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 413 "));
    });
}

#[test]
fn a_connection_that_says_nothing_or_half_a_head_is_closed() {
    let limits = ConnectionLimits { head_time: SOON, ..ConnectionLimits::default() };
    serve_within(limits, model(4), Options::default(), |address, _| async move {
        for start in ["", "POST /v1/chat/comp", "GET /health HTTP/1.1\r\nhost: x\r\nx-slow: "] {
            let mut stream = connect(&address, start).await;
            let answer = rest(&mut stream).await;
            assert!(!answer.contains("200 OK"), "{start}: {answer}");
        }
        // After an answer, too.
        let mut stream = connect(&address, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    });
}

#[test]
fn a_connection_that_takes_nothing_of_its_answers_is_closed() {
    let limits = ConnectionLimits { write_time: SOON, ..ConnectionLimits::default() };
    serve_within(limits, model(4), Options::default(), |address, _| async move {
        let request = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
        let answers = |text: &str| text.matches("HTTP/1.1 200 OK").count();
        // More than the buffers between the two can hold.
        let asked = 1000;
        let mut stream = connect(&address, &request.repeat(asked)).await;
        tokio::time::sleep(3 * SOON).await;
        let mut text = Vec::new();
        // It may end with what a connection says that was given up.
        let _ = timeout(LATE, stream.read_to_end(&mut text)).await.expect("it is closed");
        let found = answers(&String::from_utf8_lossy(&text));
        assert!(found < asked, "{found} answers were kept for a client that took none");

        // One that is slow is not.
        let closing = request.replacen("host: x", "host: x\r\nconnection: close", 1);
        let mut stream = connect(&address, &(request.repeat(2) + &closing)).await;
        tokio::time::sleep(3 * SOON).await;
        assert_eq!(answers(&rest(&mut stream).await), 3);
    });
}

#[test]
fn connections_beyond_the_most_wait_to_be_accepted() {
    let limits = ConnectionLimits { max_connections: 2, ..ConnectionLimits::default() };
    serve_within(limits, model(4), Options::default(), |address, _| async move {
        let first = connect(&address, "").await;
        let _second = connect(&address, "").await;
        let mut third = connect(&address, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(!comes(&mut third).await, "a third connection is answered");
        drop(first);
        let mut start = [0; 12];
        timeout(LATE, third.read_exact(&mut start)).await.expect("its turn comes").unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    });
}

#[test]
fn all_bodies_together_have_a_bound_and_those_beyond_it_wait() {
    let options = Options { max_body_bytes: 1000, ..Options::default() };
    serve(options, |address| async move {
        let mut slow = Vec::new();
        for _ in 0..4 {
            slow.push(connect(&address, &head(900)).await);
        }
        // They have to have come before the next one does.
        tokio::time::sleep(SOON).await;
        let body = question(false).to_string();
        let mut next = connect(&address, &(head(body.len()) + &body)).await;
        assert!(!comes(&mut next).await, "a fifth body is read");
        assert!(get(&address, "/health").await.0.contains("200 OK"));
        slow.pop();
        let mut start = [0; 12];
        timeout(LATE, next.read_exact(&mut start)).await.expect("its turn comes").unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
    });
}

/// A job that nobody reads the answer of.
fn job() -> Job {
    let mut layout = sequence::Layout::new();
    layout.push(sequence::SpanKind::Text(sequence::Role::User), 1);
    Job {
        ids: vec![sequence::TokenId(1)],
        layout,
        images: Vec::new(),
        policy: sequence::AttentionPolicy::default(),
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        max_new_tokens: 1,
        top_logprobs: None,
        bias: Vec::new(),
        constraint: None,
        client: 0,
        deadline: None,
        cancel: CancelToken::new(),
    }
}

#[test]
fn an_engine_that_has_ended_is_told_with_503_and_when_to_come_again() {
    let model = model(4);
    let watch = model.scheduler.watch();
    assert!(watch.is_alive());
    model.scheduler.submit(job(), |_| panic!("the engine ends with this test")).unwrap();
    while watch.is_alive() {
        std::thread::yield_now();
    }
    serve_model(model, Options::default(), |address, _| async move {
        let (head, body) = get(&address, "/health").await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        let health: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(health["status"], "the engine has stopped");
        let body = question(false).to_string();
        let (head, body) = post_raw(&address, "/v1/chat/completions", "", &body).await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(head.contains("retry-after: 1"), "{head}");
        assert!(body.contains("\"code\":\"stopping\""), "{body}");
    });
}
