//! Trains a small tokenizer of the decoder's form on texts:
//! `cargo run -p prompt --example train_tokenizer -- VOCABULARY OUTPUT TEXT...`.
//!
//! It is a BPE without normalisation but for spaces, with a token for every byte that has no other,
//! and the tokens of the prompt format behind the vocabulary. Words, digits and signs are never
//! merged with each other.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::collections::HashSet;
use std::error::Error;
use std::fs;

use serde_json::{Map, Value, json};
use tokenizers::Trainer;
use tokenizers::models::bpe::{BPE, BpeTrainer};

/// The tokens behind the vocabulary, and whether they take the space after them.
const ADDED: [(&str, bool); 8] = [
    ("<|endoftext|>", false),
    ("<|assistant|>", true),
    ("<|system|>", true),
    ("<|end|>", true),
    ("<|user|>", true),
    ("<pad>", false),
    ("<image>", false),
    ("<|endofchunk|>", false),
];

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [size, output, texts @ ..] = args.as_slice() else {
        return Err("usage: train_tokenizer VOCABULARY OUTPUT TEXT...".into());
    };
    let texts: Vec<String> = texts.iter().map(fs::read_to_string).collect::<Result<_, _>>()?;
    // The first three and the bytes come before what is learned.
    let num_learned =
        size.parse::<usize>()?.checked_sub(3 + 256).ok_or("a vocabulary has at least 259 ids")?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(num_learned)
        .show_progress(false)
        .initial_alphabet((' '..='~').filter(|letter| *letter != ' ').collect::<HashSet<char>>())
        .build();
    // A text opens with a space that is not written; after a line break or a token there is none.
    let lines = texts.iter().flat_map(|text| text.split_inclusive('\n'));
    let both = lines.flat_map(|line| [format!(" {line}"), line.to_owned()]);
    trainer.feed(both, |line| Ok(words(line)))?;
    let mut model = BPE::default();
    trainer.train(&mut model)?;
    let learned = serde_json::to_value(&model)?;
    let tokenizer = tokenizer(&learned)?;
    fs::write(output, serde_json::to_vec_pretty(&tokenizer)?)?;
    let file = prompt::Tokenizer::from_bytes(&fs::read(output)?)?;
    println!("{output}: {} ids", file.vocab_size());
    Ok(())
}

/// Splits a line into what is learned on its own: words with the space before them, digits, signs.
fn words(line: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (at, letter) in line.replace(' ', "\u{2581}").chars().enumerate() {
        match found.last_mut() {
            Some(word) if letter.is_alphabetic() && !word.ends_with(|c| !is_of_word(c)) => {
                word.push(letter);
            }
            // Signs take the space before them, so that `(` and ` (` are different.
            Some(word)
                if at > 0
                    && letter != '\u{2581}'
                    && word == "\u{2581}"
                    && !letter.is_ascii_digit() =>
            {
                word.push(letter);
            }
            _ => found.push(letter.to_string()),
        }
    }
    found
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphabetic() || letter == '\u{2581}'
}

/// Puts a `tokenizer.json` around what was learned.
fn tokenizer(learned: &Value) -> Result<Value, Box<dyn Error + Send + Sync>> {
    let mut names: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    names.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    let vocabulary = learned["vocab"].as_object().ok_or("a model has a vocabulary")?;
    let mut sorted: Vec<(&String, u64)> =
        vocabulary.iter().map(|(name, id)| (name, id.as_u64().unwrap_or_default())).collect();
    sorted.sort_by_key(|(_, id)| *id);
    names.extend(sorted.into_iter().map(|(name, _)| name.clone()));
    let first = names.len();
    let token = |id: usize, content: &str, rstrip: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": rstrip, "normalized": false, "special": true})
    };
    let mut added: Vec<Value> = (0..3).map(|id| token(id, &names[id], false)).collect();
    let behind = ADDED.iter().enumerate();
    added.extend(behind.map(|(at, (content, rstrip))| token(first + at, content, *rstrip)));
    let vocabulary: Map<String, Value> =
        names.into_iter().enumerate().map(|(id, name)| (name, json!(id))).collect();
    let bos = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let sequence = |id: &str, number: usize| json!({"Sequence": {"id": id, "type_id": number}});
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing", "single": [bos, sequence("A", 0)],
            "pair": [bos, sequence("A", 0), bos, sequence("B", 1)],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>",
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false, "vocab": vocabulary,
            "merges": learned["merges"]}
    }))
}
