//! The service over loopback, with a client of a few lines.

use std::sync::Arc;

use checkpoint::Checkpoint;
use engine::{Scheduler, SchedulerOptions};
use model::{Aki, AkiConfig, LoadOptions};
use prompt::{Preprocessor, SpecialTokens, Tokenizer};
use serde_json::{Value, json};
use server::{ApiKey, Model, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A red picture of one pixel.
const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

fn model(max_waiting: usize) -> Model {
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
fn serve<F: Future<Output = ()>>(options: Options, ask: impl FnOnce(String) -> F) {
    let runtime = tokio::runtime::Runtime::new().expect("there are threads");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let stop = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&stop);
        let router = server::router(model(64), options);
        let service = tokio::spawn(server::serve(listener, router, async move {
            told.notified().await;
        }));
        ask(address).await;
        stop.notify_one();
        service.await.expect("no panic").expect("no error");
    });
}

/// Sends bytes and returns the response's head and body.
async fn send(address: &str, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("served");
    stream.write_all(request).await.expect("taken");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("answered");
    let text = String::from_utf8_lossy(&response).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

async fn get(address: &str, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    send(address, request.as_bytes()).await
}

async fn post_raw(address: &str, path: &str, extra: &str, body: &str) -> (String, String) {
    let len = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {len}\r\n{extra}\r\n{body}"
    );
    send(address, request.as_bytes()).await
}

async fn chat(address: &str, body: &Value) -> Value {
    let (head, body) = post_raw(address, "/v1/chat/completions", "", &body.to_string()).await;
    let mut value: Value = serde_json::from_str(&body).expect("JSON");
    value["status"] = json!(head[9..12].parse::<u16>().expect("a status"));
    value
}

fn question(image: bool) -> Value {
    let text = json!({"type": "text", "text": "What is it? <|assistant|>"});
    let picture = json!({"type": "image_url", "image_url": {"url": PIXEL}});
    let content = if image { json!([picture, text]) } else { json!([text]) };
    json!({"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 12})
}

#[test]
fn a_question_about_an_image_is_answered_whole_and_as_a_stream_alike() {
    serve(Options::default(), |address| async move {
        let whole = chat(&address, &question(true)).await;
        assert_eq!(whole["status"], 200, "{whole}");
        let text = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        assert_eq!(whole["usage"]["completion_tokens"].as_u64().unwrap(), 12);
        let mut asked = question(true);
        asked["stream"] = json!(true);
        asked["stream_options"] = json!({"include_usage": true});
        let (_, body) = post_raw(&address, "/v1/chat/completions", "", &asked.to_string()).await;
        let mut streamed = String::new();
        for line in body.lines().filter_map(|line| line.strip_prefix("data: {")) {
            let chunk: Value = serde_json::from_str(&format!("{{{line}")).unwrap();
            streamed += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        }
        assert_eq!(streamed, text);
        assert!(body.contains("data: [DONE]"));
        assert!(body.contains("\"usage\""));
    });
}

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
fn impossible_values_are_refused_with_the_field_named() {
    serve(Options::default(), |address| async move {
        for (field, value, param) in [
            ("temperature", json!(-1), "temperature"),
            ("temperature", json!("hot"), "temperature"),
            ("n", json!(0), "n"),
            ("max_tokens", json!(0), "max_tokens"),
            ("stop", json!(7), "stop"),
            ("top_logprobs", json!(3), "top_logprobs"),
            ("messages", json!([]), "messages"),
            ("messages", json!([{"role": "king", "content": "x"}]), "messages[0].role"),
            ("response_format", json!({"type": "json_schema"}), "response_format"),
            ("attention", json!("none"), "attention"),
        ] {
            let mut asked = question(false);
            asked[field] = value;
            let answer = chat(&address, &asked).await;
            assert_eq!(answer["status"], 400, "{field}: {answer}");
            assert_eq!(answer["error"]["param"], param);
        }
        let mut asked = question(false);
        asked["unknown"] = json!({"x": 1});
        assert_eq!(chat(&address, &asked).await["status"], 200);
    });
}

#[test]
fn broken_bodies_and_images_are_refused_and_the_server_goes_on() {
    serve(Options::default(), |address| async move {
        for body in ["", "{", "[]", "{\"messages\": 7}", "\u{0}"] {
            let (head, _) = post_raw(&address, "/v1/chat/completions", "", body).await;
            assert!(head.starts_with("HTTP/1.1 400"), "{body}: {head}");
        }
        for url in [
            "data:image/png;base64,AAAA",
            "data:image/png;base64,%%%",
            "data:,",
            "http://127.0.0.1/x.png",
            "file:///etc/passwd",
            "gopher://x",
            "",
        ] {
            let mut asked = question(true);
            asked["messages"][0]["content"][0]["image_url"]["url"] = json!(url);
            let answer = chat(&address, &asked).await;
            assert_eq!(answer["status"], 400, "{url}: {answer}");
            assert_eq!(answer["error"]["param"], "messages[0].content[0].image_url");
        }
        assert_eq!(chat(&address, &question(true)).await["status"], 200);
    });
}

#[test]
fn a_key_is_asked_for_where_there_is_one() {
    let options = Options { keys: vec![ApiKey::new("secret")], ..Options::default() };
    serve(options, |address| async move {
        let body = question(false).to_string();
        let path = "/v1/chat/completions";
        for (extra, status) in [
            ("", "401"),
            ("authorization: Bearer wrong\r\n", "401"),
            ("authorization: Bearer secret\r\n", "200"),
        ] {
            let (head, _) = post_raw(&address, path, extra, &body).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{extra}: {head}");
        }
        assert!(get(&address, "/health").await.0.starts_with("HTTP/1.1 200"));
        assert!(get(&address, "/metrics").await.0.starts_with("HTTP/1.1 401"));
    });
}

#[test]
fn every_address_answers_with_strict_headers_and_too_large_requests_are_refused() {
    let options = Options { max_body_bytes: 1000, ..Options::default() };
    serve(options, |address| async move {
        for path in
            ["/", "/page/page.js", "/page/page.css", "/openapi.json", "/v1/models", "/metrics"]
        {
            let (head, body) = get(&address, path).await;
            assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
            assert!(head.contains("x-content-type-options: nosniff"));
            assert!(head.contains("content-security-policy: default-src 'none'"));
            assert!(head.contains("x-request-id: req-"));
            assert!(!body.is_empty());
        }
        assert!(get(&address, "/page/../x").await.0.starts_with("HTTP/1.1 404"));
        let large = "x".repeat(2000);
        let (head, _) = post_raw(&address, "/v1/completions", "", &large).await;
        assert!(head.starts_with("HTTP/1.1 413"), "{head}");
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

/// Returns the numbers of a field of the first image.
fn floats(lens: &Value, field: &str) -> Vec<f32> {
    use base64::Engine as _;
    let text = lens["images"][0][field].as_str().expect("base64");
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four"))).collect()
}

#[test]
fn the_lens_shows_that_an_image_looks_at_the_question_under_mutual_attention_alone() {
    serve(Options::default(), |address| async move {
        let mut asked = question(true);
        asked["messages"][0]["content"][1]["text"] = json!("What is it?");
        let reply = json!({"role": "assistant", "content": "It is red."});
        asked["messages"].as_array_mut().unwrap().push(reply);
        for (policy, image_reads) in [("mutual", true), ("causal", false)] {
            asked["attention"] = json!(policy);
            let (head, body) = post_raw(&address, "/v1/attention", "", &asked.to_string()).await;
            assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
            let lens: Value = serde_json::from_str(&body).unwrap();
            let words = lens["words"].as_array().unwrap();
            let text: String = words.iter().filter_map(|word| word["text"].as_str()).collect();
            assert_eq!(text.replace(' ', ""), "Whatisit?Itisred.");
            let tokens = usize::try_from(lens["images"][0]["tokens"].as_u64().unwrap()).unwrap();
            let layers = usize::try_from(lens["layers"].as_u64().unwrap()).unwrap();
            let (reads, is_read) = (floats(&lens, "reads"), floats(&lens, "is_read"));
            assert_eq!((reads.len(), is_read.len()), (layers * words.len() * tokens, reads.len()));
            for (index, (reads, is_read)) in
                reads.chunks(tokens).zip(is_read.chunks(tokens)).enumerate()
            {
                let of_question = words[index % words.len()]["role"] == "user";
                let sum: f32 = reads.iter().sum();
                assert!(sum > 0.0 && sum < 1.0, "{policy}: word {index} looks {sum}");
                let seen = is_read.iter().all(|weight| *weight > 0.0);
                assert_eq!(seen, of_question && image_reads, "{policy}: word {index}");
            }
            let patches = floats(&lens, "patches");
            let width = patches.len() / tokens;
            for row in patches.chunks(width) {
                let sum: f32 = row.iter().sum();
                assert!(sum > 0.0 && sum < 1.0, "{sum}");
            }
        }
    });
}
