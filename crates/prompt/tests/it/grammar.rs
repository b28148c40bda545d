//! Texts that are drawn under a grammar have its form, whatever the tokenizer.

use prompt::{Grammar, GrammarCompiler, TextForm, Tokenizer};
use sequence::TokenId;
use serde_json::{Value, json};

use crate::sentence_piece::for_each_tokenizer;
use crate::support::tokenizer;

/// The token that ends texts here: one that every tokenizer of the tests has.
const STOP: TokenId = TokenId(2);

/// Draws tokens, all that may come equally likely, until the text ends; returns the text if it does.
fn draw(tokenizer: &Tokenizer, grammar: &Grammar, seed: u64) -> Option<String> {
    let mut grammar = grammar.clone();
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut ids = Vec::new();
    for _ in 0..300 {
        let mut logits = vec![0.0; tokenizer.vocab_size() + 5];
        grammar.rule_out(&mut logits).unwrap();
        let allowed: Vec<u32> =
            (0..).zip(&logits).filter_map(|(id, it)| it.is_finite().then_some(id)).collect();
        assert!(!allowed.is_empty(), "{ids:?} cannot go on");
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let id = TokenId(allowed[(random >> 33) as usize % allowed.len()]);
        let done = grammar.push(id).unwrap();
        if id == STOP || done {
            ids.extend((id != STOP).then_some(id));
            return Some(tokenizer.decode(&ids, true));
        }
        ids.push(id);
    }
    None
}

fn texts(tokenizer: &Tokenizer, form: &TextForm, count: u64) -> Vec<String> {
    let compiler = GrammarCompiler::new(tokenizer, &[STOP]).unwrap();
    let grammar = compiler.compile(form).unwrap();
    let texts: Vec<String> =
        (0..count).filter_map(|seed| draw(tokenizer, &grammar, seed)).collect();
    assert!(texts.len() > count as usize / 2, "only {} texts end", texts.len());
    texts
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 6}, "size": {"enum": [1, "two", null]}},
        "required": ["name", "size"],
        "additionalProperties": false,
    })
}

/// Draws texts of several forms and checks them.
fn check(name: &str, tokenizer: &Tokenizer) {
    let schema = TextForm::JsonSchema { schema: schema(), strict: true };
    for text in texts(tokenizer, &schema, 40) {
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{name}: {text:?}"));
        assert!(value["name"].as_str().unwrap().chars().count() <= 6, "{name}: {text:?}");
        assert!([json!(1), json!("two"), json!(null)].contains(&value["size"]), "{name}: {text:?}");
    }
    let choices = ["yes", "no", "a b", "\u{e9}\u{1f341}", "yes \"so\""];
    let form = TextForm::Choice(choices.map(str::to_owned).into());
    let drawn = texts(tokenizer, &form, 60);
    for text in &drawn {
        assert!(choices.contains(&text.as_str()), "{name}: {text:?}");
    }
    assert!(drawn.iter().any(|text| text == choices[3]), "{name}: {drawn:?}");
    for text in texts(tokenizer, &TextForm::Regex("[a-c]{2,4}/x".to_owned()), 40) {
        let letters = text.strip_suffix("/x").unwrap_or_else(|| panic!("{name}: {text:?}"));
        assert!((2..=4).contains(&letters.len()), "{name}: {text:?}");
        assert!(letters.chars().all(|letter| ('a'..='c').contains(&letter)), "{name}: {text:?}");
    }
}

#[test]
fn texts_have_the_form_that_they_are_held_to() {
    for set in ["base", "gqa"] {
        check(set, &tokenizer(set));
    }
    for_each_tokenizer(|name, tokenizer, _| check(name, tokenizer));
}

#[test]
fn added_tokens_are_never_a_part_of_a_text() {
    let tokenizer = tokenizer("base");
    let compiler = GrammarCompiler::new(&tokenizer, &[STOP]).unwrap();
    let mut grammar = compiler.compile(&TextForm::Regex("(?s).{0,9}".to_owned())).unwrap();
    let mut logits = vec![0.0; tokenizer.vocab_size() + 3];
    grammar.rule_out(&mut logits).unwrap();
    for token in ["<image>", "<|user|>", "<|assistant|>", "<|end|>", "<|system|>"] {
        let id = tokenizer.id_of(token).unwrap();
        assert!(logits[id.0 as usize].is_infinite(), "{token}");
    }
    // The model's vocabulary may be larger than the tokenizer's.
    assert!(logits[tokenizer.vocab_size()..].iter().all(|it| it.is_infinite()));
    let a = tokenizer.id_of("a").unwrap();
    assert!([a, STOP].iter().all(|id| logits[id.0 as usize].is_finite()));
}

#[test]
fn a_grammar_that_is_cloned_goes_on_from_where_it_is() {
    let tokenizer = tokenizer("base");
    let compiler = GrammarCompiler::new(&tokenizer, &[STOP]).unwrap();
    let form = TextForm::Choice(vec!["ab".to_owned(), "cd".to_owned()]);
    let mut grammar = compiler.compile(&form).unwrap();
    let id = |text: &str| tokenizer.id_of(text).unwrap();
    assert!(!grammar.push(id("a")).unwrap());
    let mut other = grammar.clone();
    for grammar in [&mut grammar, &mut other] {
        let mut logits = vec![0.0; tokenizer.vocab_size()];
        grammar.rule_out(&mut logits).unwrap();
        let possible = |text: &str| logits[id(text).0 as usize].is_finite();
        assert!(possible("b") && !possible("a"));
        assert!(grammar.push(id("b")).unwrap(), "nothing can follow");
    }
    let mut wrong = compiler.compile(&form).unwrap();
    assert!(wrong.push(id("y")).is_err());
}

#[test]
fn forms_that_make_no_sense_say_why() {
    let tokenizer = tokenizer("base");
    let compiler = GrammarCompiler::new(&tokenizer, &[STOP]).unwrap();
    let refused = |form: TextForm, word: &str| {
        let error = compiler.compile(&form).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        assert!(!error.contains('\n'), "{error}");
    };
    refused(TextForm::Choice(Vec::new()), "nothing to choose from");
    refused(TextForm::Regex(String::new()), "empty");
    refused(TextForm::Regex("(".to_owned()), "the form cannot be followed");
    let schema = |schema: Value, strict| TextForm::JsonSchema { schema, strict };
    refused(schema(json!({"type": "colour"}), true), "colour");
    refused(schema(json!({"type": "object", "not": {}}), true), "not");
    // What is not strict leaves out what it cannot follow.
    assert!(compiler.compile(&schema(json!({"type": "object", "not": {}}), false)).is_ok());
    let error = GrammarCompiler::new(&tokenizer, &[]).unwrap_err().to_string();
    assert!(error.contains("no token that ends a text"), "{error}");
}
