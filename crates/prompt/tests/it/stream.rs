//! Streamed text equals decoded text, and never splits a character.

use prompt::{StopStrings, TextStream, Tokenizer};
use proptest::prelude::*;
use sequence::TokenId;

use crate::sentence_piece::for_each_tokenizer;
use crate::support::{golden, tokenizer};

/// Returns the pieces of a stream, the last of them from its end.
fn pieces(tokenizer: &Tokenizer, ids: &[TokenId], skip_special: bool) -> Vec<String> {
    let mut stream = TextStream::with_special(tokenizer, skip_special);
    let mut pieces: Vec<_> = ids.iter().filter_map(|id| stream.push(*id)).collect();
    pieces.extend(stream.finish());
    pieces
}

/// Returns the ids of a text's bytes in the golden vocabulary.
fn bytes_of(tokenizer: &Tokenizer, text: &str) -> Vec<TokenId> {
    text.bytes().map(|byte| tokenizer.id_of(&format!("<0x{byte:02X}>")).unwrap()).collect()
}

#[test]
fn a_character_of_several_bytes_comes_whole() {
    let tokenizer = tokenizer("base");
    let a = tokenizer.id_of("a").unwrap();
    let mut stream = TextStream::new(&tokenizer);
    assert_eq!(stream.push(a).as_deref(), Some("a"));
    for id in bytes_of(&tokenizer, "\u{1f341}") {
        assert_eq!(stream.push(id), None);
    }
    assert_eq!(stream.push(a).as_deref(), Some("\u{1f341}a"));
    assert_eq!(stream.finish(), None);
}

#[test]
fn a_stream_can_be_used_again() {
    let tokenizer = tokenizer("base");
    let ids = tokenizer.encode("the caf\u{e9}", false).unwrap();
    let mut stream = TextStream::new(&tokenizer);
    for _ in 0..2 {
        let mut text: String = ids.iter().filter_map(|id| stream.push(*id)).collect();
        text.extend(stream.finish());
        assert_eq!(text, "the caf\u{e9}");
    }
}

#[test]
fn byte_level_vocabularies_stream_whole_characters() {
    // Every byte as a token, spelled the way such vocabularies do.
    let mut spelled: Vec<char> = (0..=255_u8).map(char::from).collect();
    let mut next = 0x100;
    for byte in 0..=255_u8 {
        if !matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) {
            spelled[usize::from(byte)] = char::from_u32(next).unwrap();
            next += 1;
        }
    }
    let vocab: serde_json::Map<_, _> =
        spelled.iter().enumerate().map(|(id, c)| (c.to_string(), id.into())).collect();
    let json = serde_json::json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let text = "caf\u{e9} \u{ed} \u{1f341}\u{2581}";
    let ids = tokenizer.encode(text, false).unwrap();
    assert_eq!(ids.len(), text.len());
    let found = pieces(&tokenizer, &ids, true);
    assert_eq!(found, text.chars().map(String::from).collect::<Vec<_>>());

    let bytes = [0xFF, 0xE2, 0x82, 0x41, 0xC3, 0xF0, 0x9F, 0x8D];
    let ids = bytes.map(|byte: u8| TokenId(u32::from(byte)));
    assert_eq!(tokenizer.decode(&ids, true), String::from_utf8_lossy(&bytes));
}

#[test]
fn sentence_piece_streams_give_characters_at_once() {
    for_each_tokenizer(|name, tokenizer, expected| {
        let mut ids = vec![tokenizer.id_of("a").unwrap()];
        ids.extend(bytes_of(tokenizer, "\u{1f341}\u{e9}"));
        assert_eq!(pieces(tokenizer, &ids, true), ["a", "\u{1f341}", "\u{e9}"], "{name}");
        for sample in expected["decoded"].as_array().unwrap() {
            let ids = crate::support::ids(&sample["ids"]);
            assert_eq!(pieces(tokenizer, &ids, true).concat(), sample["shown"], "{name}");
            assert_eq!(pieces(tokenizer, &ids, false).concat(), sample["all"], "{name}");
        }
    });
}

proptest! {
    #[test]
    fn streams_equal_what_the_library_decodes(
        ids in prop::collection::vec(
            prop_oneof![0..520_u32, 3..259_u32, Just(298), 120..259_u32], 0..40,
        ),
        skip_special in any::<bool>(),
    ) {
        let path = golden("base/model/tokenizer.json");
        let library = tokenizers::Tokenizer::from_file(path).unwrap();
        let expected = library.decode(&ids, skip_special).unwrap();
        let ids: Vec<_> = ids.into_iter().map(TokenId).collect();
        let tokenizer = tokenizer("base");
        prop_assert_eq!(&tokenizer.decode(&ids, skip_special), &expected);
        prop_assert_eq!(pieces(&tokenizer, &ids, skip_special).concat(), expected);
    }
}

/// Returns the pieces that come out of a scanner, and whether it stopped.
fn scan(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
    let mut scanner = StopStrings::new(stops.iter().copied());
    let mut found: Vec<_> = pieces.iter().map(|piece| scanner.push(piece)).collect();
    found.push(scanner.finish());
    (found, scanner.stopped())
}

#[test]
fn text_is_cut_before_a_stop_string() {
    assert_eq!(scan(&["STOP"], &["go STOP on"]), (vec!["go ".into(), String::new()], true));
    let split = scan(&["STOP"], &["go S", "TO", "P on", "more"]);
    assert_eq!(split, (["go ", "", "", "", ""].map(String::from).to_vec(), true));
    let false_alarm = scan(&["STOP"], &["go ST", "AY"]);
    assert_eq!(false_alarm, (["go ", "STAY", ""].map(String::from).to_vec(), false));
    let at_the_end = scan(&["STOP"], &["go ST"]);
    assert_eq!(at_the_end, (["go ", "ST"].map(String::from).to_vec(), false));
    assert_eq!(scan(&["", "x"], &["ab"]), (vec!["ab".into(), String::new()], false));
}

#[test]
fn overlapping_candidates_are_all_held_back() {
    assert_eq!(scan(&["aab"], &["a", "a", "a", "b"]).0.concat(), "a");
    assert_eq!(scan(&["abab!", "ba"], &["a", "b", "c"]).0, ["", "", "abc", ""]);
    // The one that is complete first ends the text.
    assert_eq!(scan(&["abcd", "bc"], &["ab", "c", "d"]).0.concat(), "a");
    assert_eq!(scan(&["abcd", "bc"], &["abcd"]).0.concat(), "a");
    assert_eq!(scan(&["\u{e9}t\u{e9}"], &["l'\u{e9}", "t\u{e9}"]).0, ["l'", "", ""]);
}

proptest! {
    #[test]
    fn stopping_does_not_depend_on_the_pieces(
        text in "[ab\u{e9}]{0,24}",
        stops in prop::collection::vec("[ab\u{e9}]{1,4}", 0..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let characters: Vec<_> = text.chars().collect();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(characters.len() + 1)).collect();
        cuts.extend([0, characters.len()]);
        cuts.sort_unstable();
        let mut scanner = StopStrings::new(stops.clone());
        let mut found = String::new();
        for pair in cuts.windows(2) {
            found.push_str(&scanner.push(&String::from_iter(&characters[pair[0]..pair[1]])));
        }
        found.push_str(&scanner.finish());
        // Independently: the shortest start of the text that ends with a stop string.
        let end = (0..=text.len())
            .filter(|at| text.is_char_boundary(*at))
            .find(|at| stops.iter().any(|stop| text[..*at].ends_with(stop.as_str())));
        let longest = |end: usize| {
            let stops = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str()));
            stops.map(String::len).max().unwrap()
        };
        let expected = end.map_or(text.as_str(), |end| &text[..end - longest(end)]);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(scanner.stopped(), end.is_some());
    }
}
