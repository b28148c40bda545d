use serde_json::{Value, json};
use server::Options;

use crate::support::{post_raw, question, serve};

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
