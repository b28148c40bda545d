use serde_json::{Value, json};
use server::Options;

use crate::support::{chat, question, serve, stream, text_of};

/// A schema that even random weights fulfil within some tokens.
fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "color": {"enum": ["red", "green", "blue"]},
            "count": {"type": "integer", "minimum": 0, "maximum": 9},
            "parts": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
            "next": {"$ref": "#/$defs/side"},
        },
        "required": ["color", "count", "parts", "next"],
        "additionalProperties": false,
        "$defs": {"side": {"anyOf": [{"const": "left"}, {"type": "null"}]}},
    })
}

fn held_to(schema: &Value) -> Value {
    let described = json!({"name": "thing", "strict": true, "schema": schema});
    let mut asked = question(true);
    asked["response_format"] = json!({"type": "json_schema", "json_schema": described});
    asked["temperature"] = json!(1.5);
    asked["max_tokens"] = json!(200);
    asked
}

#[test]
fn a_reply_is_held_to_a_json_schema_whole_and_streamed() {
    serve(Options::default(), |address| async move {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..12 {
            let mut asked = held_to(&schema());
            asked["seed"] = json!(seed);
            let answer = chat(&address, &asked).await;
            assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
            let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
            let thing: Value = serde_json::from_str(text).expect(text);
            assert!(["red", "green", "blue"].contains(&thing["color"].as_str().unwrap()));
            assert!((0..=9).contains(&thing["count"].as_i64().unwrap()), "{text}");
            assert!((1..=2).contains(&thing["parts"].as_array().unwrap().len()), "{text}");
            assert!(thing["parts"][0].is_boolean());
            assert!(thing["next"] == "left" || thing["next"].is_null());
            assert_eq!(thing.as_object().unwrap().len(), 4);
            seen.insert(text.to_owned());
            let (events, ended) = stream(&address, "/v1/chat/completions", &asked).await;
            assert!(ended);
            assert_eq!(text_of(&events, 0), text);
        }
        assert!(seen.len() > 6, "the draws differ: {seen:?}");
    });
}

#[test]
fn a_reply_is_a_json_object_a_choice_or_what_an_expression_matches() {
    serve(Options::default(), |address| async move {
        let asked = |field: &str, value: Value| {
            let mut asked = question(false);
            (asked[field], asked["n"]) = (value, json!(4));
            (asked["temperature"], asked["max_tokens"]) = (json!(1), json!(40));
            asked
        };
        let texts = async |asked: Value| -> Vec<String> {
            let answer = chat(&address, &asked).await;
            assert_eq!(answer["status"], 200, "{answer}");
            let choices = answer["choices"].as_array().unwrap().iter();
            choices.map(|it| it["message"]["content"].as_str().unwrap().to_owned()).collect()
        };
        // Random weights rarely come to an object's end; it is well begun all the same.
        for text in texts(asked("response_format", json!({"type": "json_object"}))).await {
            assert!(text.starts_with("{\"") || text == "{}", "{text}");
        }
        for form in [
            asked("guided_choice", json!(["red", "dark \"blue\"", "A/B\\"])),
            asked("structured_outputs", json!({"choice": ["red", "dark \"blue\"", "A/B\\"]})),
        ] {
            for text in texts(form).await {
                assert!(["red", "dark \"blue\"", "A/B\\"].contains(&text.as_str()), "{text}");
            }
        }
        for text in texts(asked("guided_regex", json!("[0-9]{2}/(é|y)+x"))).await {
            let (digits, rest) = text.split_once('/').expect("a slash");
            assert!(digits.len() == 2 && digits.bytes().all(|it| it.is_ascii_digit()), "{text}");
            assert!(rest.trim_end_matches('x').chars().all(|it| "éy".contains(it)), "{text}");
        }
        let json = asked("guided_json", json!(schema().to_string()));
        for text in texts(json!({"max_tokens": 200, "messages": json["messages"], "guided_json": json["guided_json"]})).await {
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        }
    });
}

#[test]
fn forms_that_make_no_sense_are_refused_before_anything_is_computed() {
    serve(Options::default(), |address| async move {
        let described = |schema: Value| json!({"type": "json_schema", "json_schema": {"strict": true, "schema": schema}});
        let mut deep = json!({"type": "integer"});
        for _ in 0..50 {
            deep = json!({"anyOf": [deep, {"type": "array", "items": deep}]});
            if deep.to_string().len() > 100_000 {
                break;
            }
        }
        for (field, value, param) in [
            ("response_format", json!({"type": "xml"}), "response_format"),
            ("response_format", json!("json"), "response_format"),
            ("response_format", json!({"type": "json_schema"}), "response_format.json_schema"),
            ("response_format", described(json!(7)), "response_format.json_schema.schema"),
            ("response_format", described(json!({"type": "thing"})), "response_format"),
            ("response_format", described(json!({"type": "string", "not": {}})), "response_format"),
            ("response_format", described(json!({"$ref": "http://x.example/"})), "response_format"),
            ("response_format", described(json!({"$ref": "#/nowhere"})), "response_format"),
            (
                "response_format",
                described(json!({"type": "integer", "minimum": 3, "maximum": 2})),
                "response_format",
            ),
            ("guided_regex", json!("("), "guided_regex"),
            ("guided_regex", json!(""), "guided_regex"),
            ("guided_choice", json!([]), "guided_choice"),
            ("guided_choice", json!([1]), "guided_choice"),
            ("guided_choice", json!([""]), "guided_choice"),
            ("guided_json", json!("{"), "guided_json.schema"),
            ("structured_outputs", json!([]), "structured_outputs"),
            ("structured_outputs", json!({"regex": 3}), "structured_outputs.regex"),
        ] {
            let mut asked = question(false);
            asked[field] = value;
            let answer = chat(&address, &asked).await;
            assert_eq!(answer["status"], 400, "{asked}: {answer}");
            assert_eq!(answer["error"]["param"], param, "{answer}");
        }
        let mut two = held_to(&schema());
        two["guided_choice"] = json!(["a"]);
        assert_eq!(chat(&address, &two).await["status"], 400);
        // Whatever it is held to, it is an answer.
        let mut asked = question(false);
        asked["response_format"] = described(deep);
        let mut large = question(false);
        large["guided_regex"] = json!("((((a{999}){999}){999}){999}){999}");
        for asked in [asked, large] {
            assert!([200, 400].contains(&chat(&address, &asked).await["status"].as_u64().unwrap()));
        }
        assert_eq!(chat(&address, &held_to(&schema())).await["status"], 200);
    });
}
