//! Tokenizers that cannot be opened or lack something.

use std::path::Path;

use prompt::{Error, SpecialTokens, Tokenizer};
use serde_json::{Value, json};

use crate::support::{fixture, golden, json as read_json};

/// Returns an error's message and its causes.
fn messages(error: &Error) -> Vec<String> {
    let mut messages = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        messages.push(error.to_string());
        cause = error.source();
    }
    messages
}

/// Opens a folder with these files.
fn open(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Result<Tokenizer, Error>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let opened = Tokenizer::open(dir.path());
    (dir, opened)
}

fn in_dir(dir: &tempfile::TempDir, file: &str) -> String {
    dir.path().join(file).display().to_string()
}

fn model() -> Vec<u8> {
    std::fs::read(fixture("tokenizer.model")).unwrap()
}

#[test]
fn a_folder_without_a_tokenizer_says_what_was_expected() {
    let (dir, opened) = open(&[]);
    let expected = format!(
        "no tokenizer in `{}`, expected `tokenizer.json` or `tokenizer.model`",
        dir.path().display()
    );
    assert_eq!(opened.unwrap_err().to_string(), expected);
    assert!(Tokenizer::open(Path::new("no/such/folder")).is_err());
}

#[test]
fn broken_json_is_named() {
    let (dir, opened) = open(&[("tokenizer.json", b"{\"version\": ")]);
    let found = messages(&opened.unwrap_err());
    assert_eq!(found[0], format!("`{}` is not valid", in_dir(&dir, "tokenizer.json")));
    assert!(found[1].contains("line 1"), "{found:?}");

    let (_dir, opened) = open(&[("tokenizer.model", &model())]);
    let found = messages(&opened.unwrap_err());
    assert!(found[0].starts_with("cannot read `"), "{found:?}");
    assert!(found[0].ends_with("tokenizer_config.json`"), "{found:?}");

    let (dir, opened) = open(&[
        ("tokenizer.model", &model()),
        ("tokenizer_config.json", b"{}"),
        ("added_tokens.json", b"[1]"),
    ]);
    let found = messages(&opened.unwrap_err());
    assert_eq!(found[0], format!("`{}` is not valid", in_dir(&dir, "added_tokens.json")));
}

#[test]
fn a_decoder_of_another_kind_is_refused() {
    let mut json = read_json(golden("base/model/tokenizer.json"));
    json["decoder"] = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    let error = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`tokenizer.json` cannot be used: its decoder has an unsupported step `WordPiece`"
    );
}

#[test]
fn a_missing_token_is_named_with_its_file() {
    let mut json = read_json(golden("base/model/tokenizer.json"));
    let added = json["added_tokens"].as_array_mut().unwrap();
    added.retain(|token| token["content"] != "<|endofchunk|>");
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let error = SpecialTokens::find(&tokenizer).unwrap_err();
    assert_eq!(error.to_string(), "token `<|endofchunk|>` is missing in `tokenizer.json`");
}

#[test]
fn special_tokens_are_found_by_their_text() {
    let tokenizer = Tokenizer::open(golden("base/model")).unwrap();
    let special = SpecialTokens::find(&tokenizer).unwrap();
    let json = read_json(golden("base/model/tokenizer.json"));
    let id_in_file = |text: &str| {
        let added = json["added_tokens"].as_array().unwrap();
        let token = added.iter().find(|token| token["content"] == text).unwrap();
        token["id"].as_u64().unwrap()
    };
    for (text, id) in [
        ("<image>", special.image),
        ("<|assistant|>", special.assistant),
        ("<|end|>", special.end),
        ("<|endoftext|>", special.end_of_text),
        ("<pad>", special.pad),
        ("<|user|>", special.user),
        ("<|system|>", special.system),
        ("<s>", special.bos),
        ("<|endofchunk|>", special.end_of_chunk),
    ] {
        assert_eq!(u64::from(id.0), id_in_file(text), "{text}");
        assert_eq!(tokenizer.token_text(id).as_deref(), Some(text));
        assert!(tokenizer.is_skipped(id));
    }
    assert_eq!(special.stops(), [special.end, special.end_of_text]);
    assert_eq!(tokenizer.vocab_size() as u64, id_in_file("<|endofchunk|>") + 1);
}

#[test]
fn broken_sentence_piece_models_are_refused() {
    let refuse = |model: &[u8]| {
        let files: [(&str, &[u8]); 2] =
            [("tokenizer.model", model), ("tokenizer_config.json", b"{\"legacy\": false}")];
        let (dir, opened) = open(&files);
        let message = opened.unwrap_err().to_string();
        message.replace(&in_dir(&dir, "tokenizer.model"), "FILE")
    };
    let whole = model();
    let truncated = "`FILE` cannot be used: it is truncated, or not a SentencePiece model";
    assert_eq!(refuse(&whole[..whole.len() / 2]), truncated);
    assert_eq!(refuse(b""), "`FILE` cannot be used: it holds no pieces");
    assert_eq!(
        refuse(b"\x0F"),
        "`FILE` cannot be used: it is not a SentencePiece model: wire type 7"
    );
    // One normal piece `a` and a unigram model.
    assert_eq!(
        refuse(b"\x0A\x03\x0A\x01a\x12\x02\x18\x01"),
        "`FILE` cannot be used: its model type is not BPE"
    );
    assert_eq!(
        refuse(b"\x0A\x03\x0A\x01a\x12\x02\x18\x02"),
        "`FILE` cannot be used: it lacks a piece for unknown characters"
    );
    assert_eq!(
        refuse(b"\x0A\x03\x0A\x01a\x12\x02\x18\x02\x1A\x03\x12\x01x"),
        "`FILE` cannot be used: it normalises by a table"
    );
    for len in (0..whole.len()).step_by(97) {
        refuse(&whole[..len]);
    }
}

#[test]
fn tokens_of_an_older_folder_come_from_added_tokens() {
    let added: Value = json!({"<|user|>": 640, "<image>": 641});
    let (_dir, opened) = open(&[
        ("tokenizer.model", &model()),
        (
            "tokenizer_config.json",
            b"{\"legacy\": false, \"additional_special_tokens\": [\"<image>\"]}",
        ),
        ("added_tokens.json", added.to_string().as_bytes()),
    ]);
    let tokenizer = opened.unwrap();
    let ids: Vec<_> =
        tokenizer.encode("<image><|user|>a", false).unwrap().iter().map(|id| id.0).collect();
    let a = tokenizer.id_of("a").unwrap().0;
    assert_eq!(ids, [641, 640, a]);
}
