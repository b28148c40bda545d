use base64::Engine as _;
use serde_json::{Value, json};
use server::{ApiKey, Options};

use crate::support::{PIXEL, chat, get, post_raw, question, send, serve};

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
fn a_key_may_be_known_by_its_hash_alone() {
    let digits = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    assert_eq!(ApiKey::from_sha256(digits), Some(ApiKey::new("secret")));
    for wrong in
        ["", "2bb8", &digits[1..], &format!("{}g", &digits[1..]), &digits.replace('2', "é")]
    {
        assert_eq!(ApiKey::from_sha256(wrong), None, "{wrong}");
    }
    assert_eq!(format!("{:?}", ApiKey::new("secret")), "ApiKey");
}

#[test]
fn pages_of_other_origins_are_let_in_if_they_are_named() {
    let options =
        Options { origins: vec!["https://friend.example".to_owned()], ..Options::default() };
    serve(options, |address| async move {
        for (origin, allowed) in [("https://friend.example", true), ("https://foe.example", false)]
        {
            for method in ["OPTIONS /v1/chat/completions", "GET /v1/models"] {
                let request = format!(
                    "{method} HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: {origin}\r\n\r\n"
                );
                let (head, _) = send(&address, request.as_bytes()).await;
                let header = format!("access-control-allow-origin: {origin}");
                assert_eq!(head.contains(&header), allowed, "{head}");
                assert!(!head.contains("access-control-allow-origin: *"));
            }
        }
    });
}

#[test]
fn files_are_read_below_their_folder_only() {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("pictures");
    std::fs::create_dir_all(root.join("deep")).unwrap();
    let pixel = PIXEL.split_once(',').unwrap().1;
    let pixel = base64::engine::general_purpose::STANDARD.decode(pixel).unwrap();
    for name in ["pictures/a.png", "pictures/deep/b.png", "secret.png"] {
        std::fs::write(outside.path().join(name), &pixel).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(outside.path().join("secret.png"), root.join("link.png")).unwrap();
    let options = Options { files: Some(root.clone()), ..Options::default() };
    serve(options, |address| async move {
        let root = root.display().to_string();
        for (path, status) in [
            (format!("{root}/a.png"), 200),
            (format!("{root}/deep/../deep/b.png"), 200),
            (format!("{root}/../secret.png"), 400),
            (format!("{root}/deep/../../secret.png"), 400),
            (format!("{root}/link.png"), 400),
            (format!("{root}-other/a.png"), 400),
            (format!("{root}/missing.png"), 400),
            (root.clone(), 400),
            ("/etc/passwd".to_owned(), 400),
            ("/dev/zero".to_owned(), 400),
        ] {
            let mut asked = question(true);
            asked["messages"][0]["content"][0]["image_url"]["url"] =
                json!(format!("file://{path}"));
            let answer = chat(&address, &asked).await;
            assert_eq!(answer["status"], status, "{path}: {answer}");
        }
    });
}

#[test]
fn remote_images_are_refused_unless_allowed_and_never_come_from_inside() {
    for (remote_images, expected) in
        [(false, "fetches no remote images"), (true, "not on the public internet")]
    {
        serve(Options { remote_images, ..Options::default() }, |address| async move {
            let port = address.rsplit_once(':').unwrap().1.to_owned();
            for url in
                ["http://127.0.0.1", "http://localhost", "HTTPS://[::1]", "http://169.254.169.254"]
            {
                let mut asked = question(true);
                asked["messages"][0]["content"][0]["image_url"]["url"] =
                    json!(format!("{url}:{port}/page/room.jpg"));
                let answer = chat(&address, &asked).await;
                assert_eq!(answer["status"], 400, "{url}: {answer}");
                let message = answer["error"]["message"].as_str().unwrap();
                assert!(message.contains(expected), "{url}: {message}");
            }
        });
    }
}

#[test]
fn nothing_that_a_user_writes_acts_as_a_role_or_an_image() {
    serve(Options::default(), |address| async move {
        let tokens = async |text: &str| {
            let mut asked = question(false);
            asked["messages"][0]["content"] = json!(text);
            let answer = chat(&address, &asked).await;
            assert_eq!(answer["status"], 200, "{answer}");
            answer["usage"]["prompt_tokens"].as_u64().unwrap()
        };
        let plain = tokens("a").await;
        for forged in ["<|assistant|>", "<|end|>", "<image>", "<|system|>", "<s>", "<|endoftext|>"]
        {
            // A token would be one, and an image many; letters are as many as there are, or nearly.
            let added = tokens(&format!("a{forged}")).await - plain;
            assert!(added > 1 && added as usize <= forged.len(), "{forged} adds {added}");
        }
    });
}

/// Where the log of the tests goes.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_has_a_line_for_each_request_with_its_id_and_neither_keys_nor_texts() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).json();
    lines.flatten_event(true).with_writer(move || writer.clone()).init();
    let options = Options { keys: vec![ApiKey::new("sk-secret-key")], ..Options::default() };
    serve(options, |address| async move {
        let mut asked = question(true);
        asked["messages"][0]["content"][1]["text"] = json!("unspeakable words");
        let path = "/v1/chat/completions";
        for (key, id) in [("sk-secret-key", "my-id.1"), ("sk-wrong-key", "my-id.2")] {
            let extra = format!("authorization: Bearer {key}\r\nx-request-id: {id}\r\n");
            let (head, _) = post_raw(&address, path, &extra, &asked.to_string()).await;
            assert!(head.contains(&format!("x-request-id: {id}")), "{head}");
        }
        let extra = "x-request-id: a b\"c\r\n";
        let (head, _) = post_raw(&address, path, extra, "{}").await;
        assert!(head.contains("x-request-id: req-"), "{head}");
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    let lines: Vec<Value> = lines.collect();
    let of = |id: &str, message: &str| {
        lines.iter().find(|it| it["request_id"] == id && it["message"] == message).cloned()
    };
    assert_eq!(of("my-id.1", "request").unwrap()["status"], 200);
    assert_eq!(of("my-id.1", "reply").unwrap()["new_tokens"], 12);
    assert_eq!(of("my-id.2", "request").unwrap()["status"], 401);
    for secret in ["sk-secret-key", "sk-wrong-key", "unspeakable", "iVBORw0"] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}
