use std::time::Duration;

use serde_json::{Value, json};
use server::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{chat, get, metric, model, post_raw, question, serve, serve_model};

#[test]
fn many_questions_at_once_have_the_answers_that_each_has_alone() {
    serve(Options::default(), |address| async move {
        let mut alone = Vec::new();
        let questions: Vec<Value> = (0..8)
            .map(|index| {
                let mut asked = question(index % 2 == 0);
                asked["max_tokens"] = json!(5 + index);
                asked["messages"][0]["content"][0]["text"] = json!(format!("number {index}"));
                asked
            })
            .collect();
        for asked in &questions {
            alone.push(chat(&address, asked).await["choices"].clone());
        }
        let tasks: Vec<_> = questions
            .into_iter()
            .map(|asked| {
                let address = address.clone();
                tokio::spawn(async move { chat(&address, &asked).await["choices"].clone() })
            })
            .collect();
        for (task, alone) in tasks.into_iter().zip(alone) {
            assert_eq!(task.await.unwrap(), alone);
        }
    });
}

#[test]
fn clients_that_go_away_leave_nothing_behind() {
    serve(Options::default(), |address| async move {
        for _ in 0..20 {
            let mut asked = question(true);
            asked["max_tokens"] = json!(400);
            asked["stream"] = json!(true);
            let body = asked.to_string();
            let mut stream = TcpStream::connect(&address).await.unwrap();
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
        }
        loop {
            let health: Value = serde_json::from_str(&get(&address, "/health").await.1).unwrap();
            if health["running"] == 0 && health["waiting"] == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(chat(&address, &question(true)).await["status"], 200);
    });
}

/// A question that is not answered before it is cancelled.
fn endless() -> Value {
    let mut asked = question(false);
    (asked["max_tokens"], asked["ignore_eos"], asked["stream"]) =
        (json!(400), json!(true), json!(true));
    asked
}

async fn open(address: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream
}

async fn health(address: &str) -> Value {
    serde_json::from_str(&get(address, "/health").await.1).expect("JSON")
}

#[test]
fn what_the_queue_does_not_take_is_told_when_to_come_again() {
    serve_model(model(2), Options::default(), |address, _| async move {
        // Four run, two wait, and these have not been read to their end by anybody.
        let mut taken = Vec::new();
        let mut refused = 0;
        for _ in 0..40 {
            let mut asked = endless();
            asked["n"] = json!(6);
            let mut stream = open(&address, &asked).await;
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.unwrap();
            if &start == b"HTTP/1.1 429" {
                refused += 1;
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await.unwrap();
                assert!(rest.contains("retry-after: "), "{rest}");
                assert!(rest.contains("\"code\":\"queue_full\""), "{rest}");
                break;
            }
            taken.push(stream);
        }
        assert_eq!(refused, 1, "{} were taken", taken.len());
        drop(taken);
        while health(&address).await["running"] != 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(chat(&address, &question(true)).await["status"], 200);
    });
}

#[test]
fn a_request_ends_when_its_time_is_over() {
    let options = Options { deadline: Duration::ZERO, ..Options::default() };
    serve(options, |address| async move {
        let answer = chat(&address, &question(true)).await;
        assert_eq!(answer["status"], 504, "{answer}");
        assert_eq!(answer["error"]["code"], "deadline_exceeded");
    });
}

#[test]
fn a_service_that_is_told_to_stop_finishes_what_it_has_begun() {
    serve_model(model(64), Options::default(), |address, stop| async move {
        let mut running = open(&address, &endless()).await;
        let mut start = [0; 15];
        running.read_exact(&mut start).await.unwrap();
        stop.notify_one();
        // From now on nobody is let in.
        while TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let mut rest = String::new();
        running.read_to_string(&mut rest).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200 OK");
        assert!(rest.contains("\"finish_reason\":\"length\""), "{rest}");
        assert!(rest.contains("data: [DONE]"));
    });
}

#[test]
fn the_metrics_count_what_happens() {
    serve(Options::default(), |address| async move {
        chat(&address, &question(true)).await;
        post_raw(&address, "/v1/chat/completions", "", "{").await;
        assert_eq!(metric(&address, "aki_new_tokens_total").await, "12");
        assert_eq!(metric(&address, "aki_requests_total{status=\"2xx\"}").await, "2");
        assert_eq!(metric(&address, "aki_requests_total{status=\"4xx\"}").await, "1");
        assert_eq!(metric(&address, "aki_first_token_seconds_count").await, "1");
        assert_ne!(metric(&address, "aki_cache_bytes").await, "0");
        let (_, text) = get(&address, "/metrics").await;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let name = name.split('{').next().unwrap();
            assert!(name.starts_with("aki_") && value.parse::<f64>().is_ok(), "{line}");
            assert!(text.contains("# HELP aki_") && text.contains("# TYPE aki_"));
        }
    });
}
