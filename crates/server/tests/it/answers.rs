use serde_json::{Value, json};
use server::Options;

use crate::support::{chat, metric, post_raw, question, serve, stream, text_of};

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
fn choices_are_drawn_each_its_own_way_and_again_with_the_same_seed() {
    serve(Options::default(), |address| async move {
        let mut asked = question(true);
        asked["temperature"] = json!(1);
        asked["n"] = json!(3);
        asked["seed"] = json!(7);
        asked["stream_options"] = json!({"include_usage": true});
        let first = chat(&address, &asked).await;
        assert_eq!(first["status"], 200, "{first}");
        let texts: Vec<&Value> =
            (0..3).map(|index| &first["choices"][index]["message"]["content"]).collect();
        assert!(texts[0] != texts[1] && texts[1] != texts[2], "{texts:?}");
        let tokens = first["usage"]["completion_tokens"].as_u64().unwrap();
        assert!((4..=36).contains(&tokens), "{tokens}");
        assert_eq!(chat(&address, &asked).await["choices"], first["choices"]);
        let (events, ended) = stream(&address, "/v1/chat/completions", &asked).await;
        assert!(ended);
        for (index, text) in texts.iter().enumerate() {
            assert_eq!(json!(text_of(&events, index as u64)), **text);
        }
        let last = events.last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(last["usage"], first["usage"]);
        asked["seed"] = json!(8);
        assert_ne!(chat(&address, &asked).await["choices"], first["choices"]);
    });
}

#[test]
fn log_probabilities_come_whole_and_streamed_alike() {
    serve(Options::default(), |address| async move {
        let mut asked = question(true);
        asked["logprobs"] = json!(true);
        asked["top_logprobs"] = json!(3);
        let whole = chat(&address, &asked).await;
        let entries = whole["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
        assert_eq!(entries.len(), 12);
        for entry in &entries {
            // Without sampling the token is the likeliest.
            let top = entry["top_logprobs"].as_array().unwrap();
            assert_eq!((top.len(), &top[0]["logprob"]), (3, &entry["logprob"]));
            assert!(entry["logprob"].as_f64().unwrap() < 0.0);
            assert!(!entry["bytes"].as_array().unwrap().is_empty());
        }
        let (events, _) = stream(&address, "/v1/chat/completions", &asked).await;
        let parts = events.iter().filter_map(|event| {
            event["choices"].get(0)?["logprobs"]["content"].as_array().cloned()
        });
        let streamed: Vec<Value> = parts.flatten().collect();
        assert_eq!(streamed.len(), entries.len());
        for (streamed, whole) in streamed.iter().zip(&entries) {
            assert_eq!(streamed["token"], whole["token"]);
            // The prompt was kept: its last row is computed alone, in another order of sums.
            let logprob = |entry: &Value| entry["logprob"].as_f64().unwrap();
            assert!((logprob(streamed) - logprob(whole)).abs() < 1e-4);
        }
        asked["top_logprobs"] = json!(0);
        let none = chat(&address, &asked).await;
        assert_eq!(none["choices"][0]["logprobs"]["content"][0]["top_logprobs"], json!([]));
    });
}

#[test]
fn options_of_sampling_do_what_they_say() {
    serve(Options::default(), |address| async move {
        let reply = async |change: Value| {
            let mut asked = question(false);
            let fields = change.as_object().unwrap();
            fields.iter().for_each(|(name, value)| asked[name] = value.clone());
            let answer = chat(&address, &asked).await;
            assert_eq!(answer["status"], 200, "{answer}");
            answer
        };
        let content = |answer: &Value| answer["choices"][0]["message"]["content"].clone();
        let greedy = content(&reply(json!({})).await);
        // Each of these leaves one token to choose from.
        for only_one in [json!({"top_k": 1}), json!({"top_p": 1e-9}), json!({"min_p": 1})] {
            let mut change = only_one.clone();
            change["temperature"] = json!(2);
            assert_eq!(content(&reply(change).await), greedy, "{only_one}");
        }
        for penalty in [
            json!({"frequency_penalty": 2}),
            json!({"presence_penalty": 2}),
            json!({"repetition_penalty": 5}),
        ] {
            let mut change = penalty.clone();
            change["max_tokens"] = json!(60);
            let changed = content(&reply(change).await);
            assert!(!changed.as_str().unwrap().starts_with(greedy.as_str().unwrap()), "{penalty}");
        }
        for field in ["max_tokens", "max_completion_tokens"] {
            let short = reply(json!({"max_tokens": 5, field: 3})).await;
            assert_eq!(short["usage"]["completion_tokens"], 3, "{field}");
            assert_eq!(short["choices"][0]["finish_reason"], "length");
        }
        // More than any context holds is cut down.
        let greedy = greedy.as_str().unwrap();
        let stop: String = greedy.chars().skip(2).take(1).collect();
        let most = reply(json!({"max_tokens": 32768, "stop": stop})).await;
        assert_eq!(content(&most), greedy[..greedy.find(&stop).unwrap()]);
        assert_eq!(most["choices"][0]["finish_reason"], "stop");
        let bias =
            reply(json!({"logit_bias": {"65": 100}, "max_tokens": 4, "logprobs": true})).await;
        let tokens = bias["choices"][0]["logprobs"]["content"].as_array().unwrap();
        assert!(tokens.iter().all(|entry| entry["token"] == tokens[0]["token"]), "{bias}");
    });
}

#[test]
fn texts_go_on_at_completions() {
    serve(Options::default(), |address| async move {
        let mut asked =
            json!({"prompt": "A raven is", "max_tokens": 6, "temperature": 0, "logprobs": 2});
        let (head, body) = post_raw(&address, "/v1/completions", "", &asked.to_string()).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{body}");
        let whole: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(whole["object"], "text_completion");
        let tokens = whole["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len();
        // The token that ends a text is counted, and not shown.
        let counted = whole["usage"]["completion_tokens"].as_u64().unwrap();
        assert!(tokens > 0 && [counted, counted - 1].contains(&(tokens as u64)), "{whole}");
        let (events, ended) = stream(&address, "/v1/completions", &asked).await;
        let parts = events.iter().filter_map(|event| event["choices"].get(0)?["text"].as_str());
        assert_eq!(json!(parts.collect::<String>()), whole["choices"][0]["text"]);
        assert!(ended);
        asked["prompt"] = json!(["one", "two"]);
        let (head, body) = post_raw(&address, "/v1/completions", "", &asked.to_string()).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{body}");
        let both: Value = serde_json::from_str(&body).unwrap();
        for (index, prompt) in ["one", "two"].into_iter().enumerate() {
            asked["prompt"] = json!(prompt);
            let (_, body) = post_raw(&address, "/v1/completions", "", &asked.to_string()).await;
            let alone: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(alone["choices"][0]["text"], both["choices"][index]["text"]);
            assert_eq!(both["choices"][index]["index"], index);
        }
    });
}

#[test]
fn what_was_said_before_and_images_that_were_seen_are_not_computed_again() {
    serve(Options::default(), |address| async move {
        let mut asked = question(true);
        let first = chat(&address, &asked).await;
        assert_eq!(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
        let read = first["usage"]["prompt_tokens"].as_u64().unwrap();
        // The same once more: everything but the last token is there.
        let again = chat(&address, &asked).await;
        assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], read - 1);
        assert_eq!(again["choices"], first["choices"]);
        let messages = asked["messages"].as_array_mut().unwrap();
        messages.push(first["choices"][0]["message"].clone());
        messages.push(json!({"role": "user", "content": "And now?"}));
        let second = chat(&address, &asked).await;
        assert_eq!(second["status"], 200, "{second}");
        let cached = second["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        assert!(cached >= read, "{cached} of {read}");
        assert_eq!(metric(&address, "aki_image_cache_misses_total").await, "1");
        assert_eq!(metric(&address, "aki_image_cache_hits_total").await, "2");
        // Another question about the image: it reads that question, and is computed anew.
        let mut other = question(true);
        other["messages"][0]["content"][1]["text"] = json!("Where is it?");
        let other = chat(&address, &other).await;
        let cached = other["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        assert!(cached < read - 1, "{cached} of {read}");
    });
}
