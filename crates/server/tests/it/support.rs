//! A service with a tiny model, and a client of a few lines.

use std::sync::Arc;

use checkpoint::Checkpoint;
use engine::{Scheduler, SchedulerOptions};
use model::{Aki, AkiConfig, LoadOptions};
use prompt::{Preprocessor, SpecialTokens, Tokenizer};
use serde_json::{Value, json};
use server::{ConnectionLimits, Model, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A red picture of one pixel.
pub(crate) const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

pub(crate) fn model(max_waiting: usize) -> Model {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/base/model");
    let json = std::fs::read_to_string(format!("{folder}/config.json")).expect("golden");
    let config = AkiConfig::from_json(&json).expect("golden");
    let checkpoint = Checkpoint::open(folder).expect("golden");
    let aki = Aki::load(config.clone(), &checkpoint, LoadOptions::default()).expect("golden");
    let tokenizer = Tokenizer::open(folder).expect("golden");
    let options = SchedulerOptions {
        max_running: 4,
        max_waiting,
        max_cache_bytes: 64 << 20,
        max_feature_bytes: 1 << 20,
        prefill_rows: 16,
    };
    Model {
        name: "tiny".to_owned(),
        special: SpecialTokens::find(&tokenizer).expect("golden"),
        tokenizer,
        preprocessor: Preprocessor {
            image_size: config.image_size,
            mean: config.norm_mean,
            std: config.norm_std,
        },
        num_vision_tokens: config.num_vision_tokens,
        max_positions: aki.max_positions(),
        scheduler: Scheduler::start(aki, options).expect("there are threads"),
    }
}

/// Serves while `ask` runs, which gets the address.
pub(crate) fn serve<F: Future<Output = ()>>(options: Options, ask: impl FnOnce(String) -> F) {
    serve_model(model(64), options, |address, _| ask(address));
}

/// Serves a model while `ask` runs, which gets the address and what stops the service.
pub(crate) fn serve_model<F: Future<Output = ()>>(
    model: Model,
    options: Options,
    ask: impl FnOnce(String, Arc<tokio::sync::Notify>) -> F,
) {
    serve_within(ConnectionLimits::default(), model, options, ask);
}

/// Serves a model to so many connections while `ask` runs.
pub(crate) fn serve_within<F: Future<Output = ()>>(
    limits: ConnectionLimits,
    model: Model,
    options: Options,
    ask: impl FnOnce(String, Arc<tokio::sync::Notify>) -> F,
) {
    let runtime = tokio::runtime::Runtime::new().expect("there are threads");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let stop = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&stop);
        let router = server::router(model, options);
        let service = tokio::spawn(server::serve(listener, router, limits, async move {
            told.notified().await;
        }));
        ask(address, Arc::clone(&stop)).await;
        stop.notify_one();
        service.await.expect("no panic").expect("no error");
    });
}

/// Sends bytes and returns the response's head and body.
pub(crate) async fn send(address: &str, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("served");
    stream.write_all(request).await.expect("taken");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("answered");
    let text = String::from_utf8_lossy(&response).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

pub(crate) async fn get(address: &str, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    send(address, request.as_bytes()).await
}

pub(crate) async fn post_raw(
    address: &str,
    path: &str,
    extra: &str,
    body: &str,
) -> (String, String) {
    let len = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {len}\r\n{extra}\r\n{body}"
    );
    send(address, request.as_bytes()).await
}

pub(crate) async fn chat(address: &str, body: &Value) -> Value {
    let (head, body) = post_raw(address, "/v1/chat/completions", "", &body.to_string()).await;
    let mut value: Value = serde_json::from_str(&body).expect("JSON");
    value["status"] = json!(head[9..12].parse::<u16>().expect("a status"));
    value
}

pub(crate) fn question(image: bool) -> Value {
    let text = json!({"type": "text", "text": "What is it? <|assistant|>"});
    let picture = json!({"type": "image_url", "image_url": {"url": PIXEL}});
    let content = if image { json!([picture, text]) } else { json!([text]) };
    json!({"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 12})
}

/// Returns the value of a counter.
pub(crate) async fn metric(address: &str, name: &str) -> String {
    let (_, body) = get(address, "/metrics").await;
    let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

/// Returns the events of a streamed answer, and whether it was ended as it should be.
pub(crate) async fn stream(address: &str, path: &str, body: &Value) -> (Vec<Value>, bool) {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let (_, text) = post_raw(address, path, "", &body.to_string()).await;
    // Chunks of the transfer may cut lines: their sizes stand on lines of their own.
    let events = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<&str> = events.collect();
    let ended = events.last() == Some(&"[DONE]");
    let events = events.iter().filter(|event| **event != "[DONE]");
    (events.map(|event| serde_json::from_str(event).expect("JSON")).collect(), ended)
}

/// Returns the text of a choice of a streamed conversation.
pub(crate) fn text_of(events: &[Value], index: u64) -> String {
    let choices = events.iter().filter_map(|event| event["choices"].get(0));
    let choices = choices.filter(|choice| choice["index"] == index);
    choices.filter_map(|choice| choice["delta"]["content"].as_str()).collect()
}
