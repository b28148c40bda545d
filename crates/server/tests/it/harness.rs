//! Requests in the form in which the programs that measure models send them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jpeg_encoder::{ColorType, Encoder};
use serde_json::{Value, json};
use server::Options;

use crate::support::{PIXEL, post_raw, serve};

/// A JPEG picture with these colours, as a data URI.
fn jpeg(colours: ColorType, width: u16) -> String {
    let channels = match colours {
        ColorType::Luma => 1,
        ColorType::Cmyk => 4,
        _ => 3,
    };
    let bytes = usize::from(width) * 60 * channels;
    let pixels: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    let mut file = Vec::new();
    Encoder::new(&mut file, 75).encode(&pixels, width, 60, colours).expect("a picture");
    format!("data:image/jpeg;base64,{}", STANDARD.encode(file))
}

async fn content(address: &str, headers: &str, body: &Value) -> String {
    let path = "/v1/chat/completions";
    let (head, text) = post_raw(address, path, headers, &body.to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    for field in ["id", "object", "created", "model", "usage"] {
        assert!(!answer[field].is_null(), "{field} is missing");
    }
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
}

#[test]
fn vlmevalkit_is_answered() {
    serve(Options::default(), |address| async move {
        let headers = "authorization: Bearer sk-admin\r\nuser-agent: python-requests/2.32.3\r\n";
        let text = |text: &str| json!({"type": "text", "text": text});
        let image =
            |url: String| json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}});
        let contents = [
            // Text first, several images, one of them twice; grey and CMYK.
            json!([
                text("Question: "),
                image(jpeg(ColorType::Rgb, 100)),
                text("and"),
                image(jpeg(ColorType::Luma, 100)),
                image(jpeg(ColorType::Cmyk, 101)),
                image(jpeg(ColorType::Rgb, 100)),
                text("Please answer yes or no."),
            ]),
            // The judge's question before it starts.
            json!([text("hello")]),
        ];
        for content_parts in contents {
            let body = json!({
                "model": "aki", "n": 1, "max_tokens": 32768, "temperature": 0.0, "top_k": 1,
                "repetition_penalty": 1.0, "img_detail": "low", "chat_template_kwargs": {"a": [1]},
                "messages": [
                    {"role": "system", "content": "Answer briefly."},
                    {"role": "user", "content": content_parts},
                ],
            });
            assert!(!content(&address, headers, &body).await.trim().is_empty());
        }
    });
}

#[test]
fn lmms_eval_is_answered() {
    serve(Options::default(), |address| async move {
        let headers = "authorization: Bearer sk-x\r\nuser-agent: OpenAI/Python 1.99.0\r\n\
                       x-stainless-read-timeout: 600\r\nx-stainless-retry-count: 0\r\n";
        let body = json!({
            "model": "aki",
            "messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": PIXEL}},
                {"type": "text", "text": "Is it red?\nAnswer the question using a single word."},
            ]}],
            "max_tokens": 16, "temperature": 0.0, "top_p": 1.0, "seed": 42,
            "presence_penalty": 0, "frequency_penalty": 0.0, "n": 1,
        });
        assert!(!content(&address, headers, &body).await.is_empty());
    });
}
