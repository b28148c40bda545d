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
