//! The form `tokenizer.model`, against slow tokenizers of transformers 4.41.2.

use prompt::Tokenizer;
use serde_json::Value;

use crate::support::{fixture, ids, json};

/// Runs `check` on each tokenizer of the fixture and what is expected of it.
pub(crate) fn for_each_tokenizer(check: impl Fn(&str, &Tokenizer, &Value)) {
    for (name, expected) in json(fixture("tokenizer_expected.json")).as_object().unwrap() {
        let dir = tempfile::tempdir().unwrap();
        let model = fixture("tokenizer.model");
        std::fs::copy(model, dir.path().join("tokenizer.model")).unwrap();
        let config = serde_json::to_vec(&expected["tokenizer_config"]).unwrap();
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        check(name, &Tokenizer::open(dir.path()).unwrap(), expected);
    }
}

#[test]
fn ids_equal_those_of_the_slow_tokenizer() {
    for_each_tokenizer(|name, tokenizer, expected| {
        for sample in expected["texts"].as_array().unwrap() {
            let text = sample["text"].as_str().unwrap();
            let found = tokenizer.encode(text, false).unwrap();
            assert_eq!(found, ids(&sample["ids"]), "{name}: {text:?}");
            let found = tokenizer.encode(text, true).unwrap();
            assert_eq!(found, ids(&sample["ids_with_bos"]), "{name}: {text:?}");
        }
    });
}

#[test]
fn decoded_texts_equal_those_of_the_slow_tokenizer() {
    for_each_tokenizer(|name, tokenizer, expected| {
        for sample in expected["decoded"].as_array().unwrap() {
            let ids = ids(&sample["ids"]);
            assert_eq!(tokenizer.decode(&ids, false), sample["all"], "{name}: {ids:?}");
            assert_eq!(tokenizer.decode(&ids, true), sample["shown"], "{name}: {ids:?}");
        }
    });
}

#[test]
fn a_last_space_behind_a_token_that_stands_apart_is_its_separator() {
    for_each_tokenizer(|name, tokenizer, _| {
        let ids = ["<|assistant|>", "\u{2581}"].map(|token| tokenizer.id_of(token).unwrap());
        let space = if name == "bare" { "  " } else { " " };
        assert_eq!(tokenizer.decode(&ids, false), format!("<|assistant|>{space}"), "{name}");
    });
}

#[test]
fn a_configuration_that_does_not_say_is_of_the_older_behaviour() {
    let mut config = json(fixture("tokenizer_expected.json"))["legacy"]["tokenizer_config"].take();
    config.as_object_mut().unwrap().remove("legacy");
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture("tokenizer.model"), dir.path().join("tokenizer.model")).unwrap();
    let file = dir.path().join("tokenizer_config.json");
    std::fs::write(file, config.to_string()).unwrap();
    let silent = Tokenizer::open(dir.path()).unwrap();
    for_each_tokenizer(|name, tokenizer, _| {
        let text = "a<|end|>b <image> c";
        let same = tokenizer.encode(text, true).unwrap() == silent.encode(text, true).unwrap();
        assert_eq!(same, name == "legacy", "{name}");
    });
}
