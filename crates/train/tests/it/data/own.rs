//! Conversations of one's own about a folder of pictures, in `LLaVA`'s format.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::tempdir;
use train::data::instruct::{self, Content};
use train::recipe::DataRecipe;

const TWO: &str = r#"{"id": "a", "image": "one.png", "conversations": [{"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": "3"}, {"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}
{"image": "two.png", "conversations": [{"from": "user", "value": "What is it?\n<image>"}, {"from": "assistant", "value": "A rocket."}]}
"#;

/// Returns the data set of a file in a folder.
fn recipe(folder: &Path, contents: &str) -> DataRecipe {
    let file = folder.join("mine.jsonl");
    fs::write(&file, contents).unwrap();
    DataRecipe {
        name: "llava".to_owned(),
        weight: 1.0,
        shards: Vec::new(),
        files: vec![file],
        images: Some(folder.to_owned()),
        turns: 1,
    }
}

/// Returns key, name of the picture, question and answer of all examples.
fn examples(contents: &str) -> Vec<[String; 4]> {
    let dir = tempdir().unwrap();
    let set = instruct::open(&recipe(dir.path(), contents)).unwrap();
    let example = |index| {
        let example = set.example(index).unwrap();
        let Content::Text { opening: "", input, target } = example.content else {
            panic!("it is text without an opening")
        };
        let picture = example.image.map(|path: PathBuf| path.file_name().unwrap().to_owned());
        let picture = picture.map_or(String::new(), |name| name.to_string_lossy().into_owned());
        [example.key, picture, input, target]
    };
    (0..set.num_examples()).map(example).collect()
}

fn error(contents: &str) -> String {
    let dir = tempdir().unwrap();
    let error = instruct::open(&recipe(dir.path(), contents)).err().expect("it is broken");
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    let text = format!("{error}{}", source.unwrap_or_default());
    text.replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn a_conversation_on_every_line_or_a_list_of_them_is_the_same() {
    let expected = [
        ["a/0", "one.png", "How many?", "3"],
        ["a/2", "one.png", "Why?", "So."],
        ["line 2/0", "two.png", "What is it?", "A rocket."],
    ];
    assert_eq!(examples(TWO), expected);
    // As editors elsewhere write it: a mark at the start, other ends of lines, empty lines.
    let elsewhere = format!("\u{feff}\r\n{}\r\n", TWO.replace('\n', "\r\n\r\n"));
    assert_eq!(examples(&elsewhere)[..2], expected[..2]);
    let list = format!("\u{feff} [{}]", TWO.trim().replace("}\n{", "},\n{"));
    let found = examples(&list);
    assert_eq!(found[2][0], "record 1/0");
    assert_eq!(found[..2], expected[..2]);
}

#[test]
fn a_text_without_a_picture_is_one_too() {
    let text = r#"{"conversations": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]}"#;
    assert_eq!(examples(text), [["line 1/1", "", "Hello", "Hi"]]);
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    let (one, two) = TWO.trim().split_once('\n').unwrap();
    assert_eq!(
        error(&format!("{one}\n{}\n", two.replace("assistant", "bot"))),
        "`DIR/mine.jsonl` cannot be used: unknown variant `bot`, expected one of `human`, `user`, \
         `assistant`, `gpt`, `system` at line 2 column 104"
    );
    assert_eq!(
        error(&format!("{one}\n\n{{\"image\": \"two.png\"}}\n")),
        "`DIR/mine.jsonl` cannot be used: missing field `conversations` at line 3 column 20"
    );
    assert_eq!(
        error(&format!("{one}\n{}", two.replace("assistant", "human"))),
        "`DIR/mine.jsonl` cannot be used: line 2 has no turn of `human` with one of `gpt` after it"
    );
    assert_eq!(
        error(&two[..60]),
        "`DIR/mine.jsonl` cannot be used: EOF while parsing a string at line 1 column 60"
    );
    assert_eq!(
        error("image,question\none.png,Why?\n"),
        "`DIR/mine.jsonl` cannot be used: it starts with `i`, expected `[`, a list of records, or \
         `{`, a record on each line"
    );
    assert!(error(" \n").contains("it starts with nothing"));
    let list = error(&format!("[{one},\n{{\"image\": 3}}]"));
    assert!(list.contains("record 1: invalid type: integer `3`"), "{list}");
    assert!(list.contains("at line 2 column 12"), "{list}");
}

#[test]
fn a_file_that_is_wrong_is_found_before_a_run_has_a_directory() {
    let dir = tempdir().unwrap();
    instruct::check(&recipe(dir.path(), TWO)).unwrap();
    let error = instruct::check(&recipe(dir.path(), "{\"image\": \"one.png\"}\n"));
    assert!(error.unwrap_err().to_string().contains("at line 1 column 20"));
}

#[test]
fn a_file_that_is_not_there_is_asked_for_in_words_that_fit() {
    let dir = tempdir().unwrap();
    let recipe = recipe(dir.path(), TWO);
    fs::remove_file(&recipe.files[0]).unwrap();
    let error = instruct::open(&recipe).err().expect("it is gone").to_string();
    assert!(error.contains("expected conversations in LLaVA's format; put it there"), "{error}");
}
