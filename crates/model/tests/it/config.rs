//! Configurations that are read, and those that are refused.

use model::{AkiConfig, RopeRegime, RopeScaling};
use serde_json::{Value, json};

use crate::support::{self, SETS};

/// Changes a field of the golden configuration, `/text_config/hidden_size`, and reads it.
fn changed(set: &str, changes: &[(&str, Value)]) -> Result<AkiConfig, String> {
    let mut config: Value =
        serde_json::from_str(&support::config_json(set)).expect("the golden is JSON");
    for (pointer, value) in changes {
        let (section, field) = pointer.rsplit_once('/').expect("a pointer has a slash");
        config.pointer_mut(section).expect("the section is there")[field] = value.clone();
    }
    AkiConfig::from_json(&config.to_string()).map_err(|error| chain(&error))
}

/// Returns what an error says, and what its causes say.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

fn refusal(changes: &[(&str, Value)]) -> String {
    changed("base", changes).expect_err("the configuration is not supported")
}

#[test]
fn the_published_configuration_names_backbones_whose_shapes_are_known() {
    let config = AkiConfig::preset("aki-4b").unwrap();
    let (vision, text) = (&config.vision, &config.text);
    assert_eq!((vision.hidden_size, vision.intermediate_size), (1152, 4304));
    assert_eq!((vision.num_hidden_layers, vision.num_attention_heads), (27, 16));
    assert_eq!((vision.image_size, vision.patch_size, vision.num_patches()), (384, 14, 729));
    assert_eq!((text.hidden_size, text.intermediate_size), (3072, 8192));
    assert_eq!((text.num_hidden_layers, text.vocab_size), (32, 32_064));
    assert_eq!((text.num_attention_heads, text.num_key_value_heads, text.head_dim), (32, 32, 96));
    assert_eq!(text.max_position_embeddings, 131_072);
    assert_eq!(text.family.model_type(), "phi3");
    assert_eq!((config.num_vision_tokens, config.image_size), (144, 384));
    assert_eq!((config.norm_mean, config.norm_std), ([0.5; 3], [0.5; 3]));
    assert_eq!((config.initial_tokenizer_len, config.num_added_tokens), (32_012, 2));
    assert_eq!(config.vocab_size(), 32_014);
    assert_eq!(config.connector.name(), "perceiver");
    let RopeScaling::LongRope { attention_factor, .. } = &text.rope.scaling else {
        panic!("the scaling is {:?}", text.rope.scaling)
    };
    assert!((attention_factor - 1.190_238_1).abs() < 1e-6, "{attention_factor}");
    assert_eq!(text.rope.regime(4096), RopeRegime::Short);
    assert_eq!(text.rope.regime(4097), RopeRegime::Long);
}

#[test]
fn every_preset_is_sound_and_no_other_name_is_one() {
    for name in AkiConfig::PRESETS {
        AkiConfig::preset(name).unwrap();
    }
    let message = AkiConfig::preset("aki-5b").unwrap_err().to_string();
    assert_eq!(message, "`preset` is `aki-5b`, expected one of `aki-4b`, `miniature`, `tiny`");
}

#[test]
fn a_written_configuration_reads_as_the_same() {
    let presets = AkiConfig::PRESETS.map(|name| AkiConfig::preset(name).unwrap());
    for config in SETS.map(support::config).into_iter().chain(presets) {
        let json = config.to_json();
        let again = AkiConfig::from_json(&json).unwrap();
        assert_eq!(again, config);
        assert_eq!(again.to_json(), json);
        // The shapes are in it, whether or not the backbones are known by name.
        let json = json.replace("google/", "other/").replace("microsoft/", "other/");
        assert_eq!(AkiConfig::from_json(&json).unwrap().tensor_shapes(), config.tensor_shapes());
    }
}

#[test]
fn unsupported_values_are_named_with_what_is_supported() {
    for (pointer, value, expected) in [
        ("/text_config/hidden_act", json!("gelu"), "is `gelu`, expected `silu`"),
        ("/vision_config/hidden_act", json!("gelu"), "is `gelu`, expected `gelu_pytorch_tanh`"),
        (
            "/text_config/rope_scaling",
            json!({"type": "yarn", "factor": 4.0}),
            ".type` is `yarn`, expected one of `default`, `longrope`, `su`, `llama3`",
        ),
        ("/text_config/model_type", json!("gpt2"), "is `gpt2`, expected one of `"),
        (
            "/vision_config/model_type",
            json!("clip_vision_model"),
            "is `clip_vision_model`, expected `siglip_vision_model`",
        ),
        ("/text_config/use_sliding_window", json!(true), "is `true`, expected `false`"),
        ("/text_config/partial_rotary_factor", json!(0.5), "is `0.5`, expected `1`"),
        ("/n_px", json!(70), "is `70`, expected `56`, the vision encoder's `image_size`"),
        (
            "/initial_tokenizer_len",
            json!(545),
            "is `545`, expected at least 1 and at most `vocab_size`, 544",
        ),
        ("/connector", json!({"type": "qformer"}), ".type` is `qformer`, expected one of `"),
        ("/norm_std", json!([0.5, 0.0, 0.5]), "is `0`, expected finite numbers"),
    ] {
        let message = refusal(&[(pointer, value)]);
        let field = format!("`{}", pointer[1..].replace('/', "."));
        assert!(message.starts_with(&field), "{pointer}: {message}");
        assert!(message.contains(expected), "{pointer}: {message}");
    }
}

#[test]
fn an_unknown_backbone_without_its_shape_is_refused() {
    let changes = [("/lang_model_path", json!("some/model")), ("/text_config", Value::Null)];
    assert_eq!(
        refusal(&changes),
        "`lang_model_path` is `some/model`, expected `microsoft/Phi-3.5-mini-instruct`, or the \
         shape in a section `text_config`",
    );
    let changes = [("/vision_encoder_path", json!(7)), ("/vision_config", Value::Null)];
    assert_eq!(
        refusal(&changes),
        "`vision_encoder_path` is ``, expected `google/siglip-so400m-patch14-384`, or the shape \
         in a section `vision_config`",
    );
}

#[test]
fn heads_that_do_not_divide_are_refused() {
    for (changes, expected) in [
        (
            vec![("/text_config/num_key_value_heads", json!(3))],
            "`text_config.num_key_value_heads` is `3`, expected a divisor of \
             `num_attention_heads`, 4",
        ),
        (
            vec![
                ("/text_config/num_attention_heads", json!(5)),
                ("/text_config/num_key_value_heads", json!(5)),
            ],
            "`text_config.num_attention_heads` is `5`, expected a divisor of `hidden_size`, 64",
        ),
        (
            vec![("/vision_config/num_attention_heads", json!(7))],
            "`vision_config.num_attention_heads` is `7`, expected a divisor of `hidden_size`, 48",
        ),
        (
            vec![("/text_config/head_dim", json!(15))],
            "`text_config.head_dim` is `15`, expected an even number",
        ),
    ] {
        assert_eq!(refusal(&changes), expected);
    }
}

#[test]
fn rotary_factors_are_counted_and_checked() {
    let scaling = |short: usize, long: Value| json!({"type": "longrope", "short_factor": vec![1.0; short], "long_factor": long});
    let refusal = |scaling: Value| refusal(&[("/text_config/rope_scaling", scaling)]);
    assert_eq!(
        refusal(scaling(7, json!(vec![1.0; 8]))),
        "`text_config.rope_scaling.short_factor` is `7 factors`, expected 8 factors, half of a \
         head",
    );
    assert_eq!(
        refusal(scaling(8, json!([1, 1, 1, 0, 1, 1, 1, 1]))),
        "`text_config.rope_scaling.long_factor` is `0`, expected a positive number",
    );
    let message = refusal(json!({"type": "longrope", "short_factor": vec![1.0; 8]}));
    assert_eq!(message, "`text_config.rope_scaling` is malformed: missing field `long_factor`");
    // A name of another layout of the same.
    let mut renamed = scaling(8, json!(vec![1.0; 8]));
    renamed["rope_type"] = renamed["type"].take();
    assert!(changed("base", &[("/text_config/rope_scaling", renamed)]).is_ok());
}

#[test]
fn malformed_json_says_what_and_where() {
    for json in ["", "{", "[1, 2", "{\"n_px\": 56,}"] {
        let message = chain(&AkiConfig::from_json(json).unwrap_err());
        assert!(message.starts_with("configuration is malformed: "), "{json}: {message}");
        assert!(message.contains("line 1"), "{json}: {message}");
    }
    for json in ["null", "3", "\"text\"", "[1, 2, 3]", "[]", "true"] {
        let message = chain(&AkiConfig::from_json(json).unwrap_err());
        assert!(message.starts_with("`config` is malformed: "), "{json}: {message}");
    }
    let message = refusal(&[("/text_config/hidden_size", json!("wide"))]);
    assert!(message.starts_with("`text_config` is malformed: invalid type: string"), "{message}");
    let message = refusal(&[("/text_config", json!({"vocab_size": 3}))]);
    assert_eq!(message, "`text_config` is malformed: missing field `hidden_size`");
    for section in ["text_config", "vision_config", "connector"] {
        for value in [json!(3), json!([]), json!("text"), json!(true)] {
            let message = refusal(&[(&format!("/{section}"), value)]);
            assert!(message.starts_with(&format!("`{section}")), "{message}");
        }
    }
}

const SIZES: [&str; 15] = [
    "/n_px",
    "/num_vision_tokens",
    "/initial_tokenizer_len",
    "/vision_config/hidden_size",
    "/vision_config/intermediate_size",
    "/vision_config/num_hidden_layers",
    "/vision_config/num_attention_heads",
    "/vision_config/image_size",
    "/vision_config/patch_size",
    "/text_config/vocab_size",
    "/text_config/hidden_size",
    "/text_config/intermediate_size",
    "/text_config/num_hidden_layers",
    "/text_config/num_attention_heads",
    "/text_config/max_position_embeddings",
];

#[test]
fn no_size_may_be_zero_negative_or_absurd() {
    let connector = |field: &str, value: &Value| {
        let mut connector =
            json!({"type": "perceiver", "num_layers": 1, "heads": 1, "head_dim": 1});
        connector[field] = value.clone();
        connector
    };
    for value in [json!(0), json!(-1), json!(1.5), json!(u64::MAX), json!(1_u64 << 40)] {
        for pointer in SIZES {
            let result = changed("base", &[(pointer, value.clone())]);
            assert!(result.is_err(), "{pointer} {value} is accepted");
        }
        for pointer in ["/text_config/num_key_value_heads", "/text_config/head_dim"] {
            let result = changed("base", &[(pointer, value.clone())]);
            assert!(result.is_err(), "{pointer} {value} is accepted");
        }
        for field in ["num_layers", "heads", "head_dim"] {
            let result = changed("base", &[("/connector", connector(field, &value))]);
            assert!(result.is_err(), "connector {field} {value} is accepted");
        }
        for pointer in ["/text_config/rope_theta", "/text_config/rms_norm_eps"] {
            let is_allowed = value.as_f64().is_some_and(|value| value > 0.0);
            let result = changed("base", &[(pointer, value.clone())]);
            assert_eq!(result.is_ok(), is_allowed, "{pointer} {value}");
        }
    }
}

#[test]
fn a_patch_larger_than_the_image_is_refused() {
    assert_eq!(
        refusal(&[("/vision_config/patch_size", json!(57))]),
        "`vision_config.patch_size` is `57`, expected at least 1 and at most 56",
    );
    // What is left of an image beside its last patch is not read.
    let config = changed("base", &[("/vision_config/patch_size", json!(15))]).unwrap();
    assert_eq!(config.vision.num_patches(), 9);
}

#[test]
fn channels_may_have_their_own_mean() {
    let config = changed("base", &[("/norm_mean", json!([0.48, 0.46, 0.41]))]).unwrap();
    assert_eq!((config.norm_mean, config.norm_std), ([0.48, 0.46, 0.41], [0.5; 3]));
}
