//! The captions of the three caption sets.

use train::data::CaptionKind;

fn plain(text: &str) -> String {
    CaptionKind::Plain.read(text.as_bytes()).unwrap()
}

fn grounding(text: &str) -> Result<String, String> {
    CaptionKind::Grounding.read(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_plain_caption_is_the_text_without_white_space_around_it() {
    assert_eq!(plain("\n  a cat,\n two dogs \n"), "a cat,\n two dogs");
    let error = |text: &[u8]| CaptionKind::Plain.read(text).unwrap_err().to_string();
    assert_eq!(error(b" \n"), "the caption is empty");
    assert_eq!(error(b"a \xFF"), "the text is not UTF-8");
}

#[test]
fn an_ocr_caption_is_the_text_of_the_second_element() {
    let read = |text: &str| CaptionKind::Ocr.read(text.as_bytes()).map_err(|e| e.to_string());
    let text = r#"[{"text": "zero", "granularity": 0}, {"text": " a sign \"STOP\" ", "n": null}]"#;
    assert_eq!(read(text).unwrap(), "a sign \"STOP\"");
    let missing = "the text has no caption, expected a second element with a `text`";
    for text in [r#"[{"text": "zero"}]"#, "{}", "3", r#"[1, {"text": 2}]"#, r#"[1, ["text"]]"#] {
        assert_eq!(read(text).unwrap_err(), missing, "{text}");
    }
    assert_eq!(read("[{'text': 'a'}]").unwrap_err(), "the text is not JSON");
    assert_eq!(read(r#"[{}, {"text": " "}]"#).unwrap_err(), "the caption is empty");
}

#[test]
fn a_grounding_caption_is_the_first_of_the_first_entry() {
    for text in [
        "[['a cat', True, 3]]",
        r#"[["a cat", None], ("b", -1.5e-3)]"#,
        "(('a cat',),)",
        " [\n ['a ' \"cat\", {'x': [1, 2], 'y': ()}, {1, 2}, {}, b'\\x00'],\n]\n",
        "[[u'a cat']]",
        "[['''a cat''', 0x1F, 1_000, 1e+5, 2j, .5, + 1]]",
        "[(('a cat'), 1)]",
        "[[r'a cat']]",
    ] {
        assert_eq!(grounding(text).as_deref(), Ok("a cat"), "{text}");
    }
}

#[test]
fn escapes_in_a_literal_are_those_of_python() {
    let text = r"[['it\'s \x41\u00e9\U0001F600\101\n\t\\ \q \
end']]";
    assert_eq!(grounding(text).unwrap(), "it's Aé😀A\n\t\\ \\q end");
    assert_eq!(grounding(r"[[r'\n\'']]").unwrap(), r"\n\'");
    assert_eq!(grounding("[['a\\ud800b']]").unwrap(), "a\u{FFFD}b");
}

#[test]
fn what_is_not_a_literal_or_has_no_caption_says_so() {
    let missing = "the text has no caption, expected a list whose first entry starts with a text";
    for text in ["[]", "[[]]", "['a cat']", "[[1]]", "{'a': 1}", "None", "[[b'a']]", "[{}]"] {
        assert_eq!(grounding(text).unwrap_err(), missing, "{text}");
    }
    for (text, expected, at) in [
        ("", "a literal", 0),
        ("a cat", "a literal", 0),
        ("[['a cat'", "a comma or the end of the list", 9),
        ("[['a cat' 1]]", "a comma or the end of the list", 10),
        ("[['a cat]]", "a closing quote", 10),
        ("[['a\ncat']]", "a closing quote", 4),
        ("[['a cat']] x", "the end of the text", 12),
        ("[['a\\xZ1']]", "the number of a character", 6),
        ("[['a\\N{BULLET}']]", "no character by its name", 6),
        ("[__import__('os')]", "a literal", 1),
        ("[-]", "a number", 2),
        ("[,]", "a literal", 1),
    ] {
        let message = format!("the text is not a Python literal: expected {expected} at byte {at}");
        assert_eq!(grounding(text).unwrap_err(), message, "{text}");
    }
}

#[test]
fn a_literal_that_is_cut_or_nested_without_end_is_an_error() {
    let whole = "[['it\\'s \\u00e9', (1, 2.5), {'a': b'b'}], r\"\\x\"]";
    assert_eq!(grounding(whole).unwrap(), "it's é");
    for len in 0..whole.len() {
        assert!(grounding(&whole[..len]).is_err(), "{}", &whole[..len]);
    }
    let deep = "[".repeat(1_000_000);
    assert!(grounding(&deep).unwrap_err().contains("fewer lists in lists"));
}
