use serde_json::json;
use server::Options;

use crate::support::{chat, post_raw, question, serve};

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
            ("response_format", json!({"type": "json_schema"}), "response_format.json_schema"),
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
