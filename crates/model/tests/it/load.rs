//! Checkpoints and inputs that do not fit the configuration.

use checkpoint::{Bytes, Dtype};
use model::{Aki, Device, Error, LoadOptions, NoTap, Tensor};
use sequence::{AttentionPolicy, Layout, Role, TokenId};

use crate::support::{self, Prompt, Tensors, VISION_TOKENS};

fn refusal(change: impl FnOnce(&mut Tensors)) -> String {
    support::load_changed(change).expect_err("the checkpoint does not fit").to_string()
}

/// Returns a tensor of zeros.
fn zeros(dtype: Dtype, shape: &[usize]) -> checkpoint::Tensor {
    let num_bytes = shape.iter().product::<usize>() * dtype.size();
    checkpoint::Tensor { dtype, shape: shape.to_vec(), bytes: Bytes::from(vec![0; num_bytes]) }
}

fn logits(aki: &Aki) -> Vec<f32> {
    let prompt = Prompt::of("base");
    let plan = AttentionPolicy::ModalityMutual.plan(&prompt.layout);
    let logits = aki.logits_of(&prompt.embed(aki), &plan);
    support::elements(&logits.expect("the plan fits"))
}

#[test]
fn a_missing_tensor_is_named_with_its_shape() {
    for (name, shape) in [
        ("lang_model.model.layers.1.self_attn.qkv_proj.weight", "[192, 64]"),
        ("lang_model.model.embed_tokens.additional_embedding.weight", "[2, 64]"),
        ("lang_model.lm_head.weight", "[544, 64]"),
        ("vision_encoder.embeddings.patch_embedding.weight", "[48, 3, 14, 14]"),
        ("vision_tokenizer.latents", "[8, 48]"),
    ] {
        let message = refusal(|tensors| drop(tensors.remove(name)));
        let expected = format!("tensor `{name}` of shape {shape} is missing from the checkpoint");
        assert_eq!(message, expected);
    }
}

#[test]
fn every_tensor_but_those_nobody_reads_is_required() {
    let needless = |name: &str| {
        name.starts_with("vision_encoder.head.")
            || ["lang_model.lm_head.bias", "lang_model.lm_head.additional_fc.bias"].contains(&name)
    };
    for name in support::tensors("base").keys() {
        let loaded = support::load_changed(|tensors| drop(tensors.remove(name)));
        assert_eq!(loaded.is_ok(), needless(name), "without `{name}`");
    }
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let name = "lang_model.model.layers.0.mlp.down_proj.weight";
    let message = refusal(|tensors| {
        tensors.insert(name.to_owned(), zeros(Dtype::F32, &[136, 64]));
    });
    assert_eq!(message, format!("tensor `{name}` has shape [136, 64], expected [64, 136]"));
}

#[test]
fn latents_of_another_number_are_explained() {
    let name = "vision_tokenizer.latents";
    let message = refusal(|tensors| {
        tensors.insert(name.to_owned(), zeros(Dtype::F32, &[64, 48]));
    });
    let expected = "tensor `vision_tokenizer.latents` holds 64 latents, but `num_vision_tokens` \
                    in the configuration is 8";
    assert_eq!(message, expected);
}

#[test]
fn integers_are_not_weights() {
    for (name, shape) in [
        ("lang_model.model.embed_tokens.weight", &[544, 64][..]),
        ("lang_model.model.norm.weight", &[64][..]),
    ] {
        let message = refusal(|tensors| {
            tensors.insert(name.to_owned(), zeros(Dtype::I32, shape));
        });
        let expected = format!("tensor `{name}` has dtype I32, expected F32, F16 or BF16");
        assert_eq!(message, expected);
    }
}

#[test]
fn a_missing_bias_of_the_output_head_is_zero() {
    let biases = [("lang_model.lm_head.bias", 544), ("lang_model.lm_head.additional_fc.bias", 2)];
    let without = support::load_changed(|tensors| {
        for (name, _) in biases {
            tensors.remove(name);
        }
    });
    let with_zeros = support::load_changed(|tensors| {
        for (name, len) in biases {
            tensors.insert(name.to_owned(), zeros(Dtype::F32, &[len]));
        }
    });
    let without = logits(&without.unwrap());
    assert_eq!(without, logits(&with_zeros.unwrap()));
    assert_ne!(without, logits(&support::golden_model("base")));
}

#[test]
fn the_pooling_head_of_the_vision_encoder_is_not_needed() {
    let aki = support::load_changed(|tensors| {
        tensors.retain(|name, _| !name.starts_with("vision_encoder.head."));
    });
    assert_eq!(logits(&aki.unwrap()), logits(&support::golden_model("base")));
}

#[test]
fn a_configuration_of_more_layers_than_the_checkpoint_names_the_first_that_lacks() {
    let json = support::config_json("base")
        .replace(r#""num_hidden_layers": 3"#, r#""num_hidden_layers": 5"#);
    let config = model::AkiConfig::from_json(&json).unwrap();
    let checkpoint = support::open("base", "model");
    let error = Aki::load(config, &checkpoint, LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("encoder.layers.3."), "{error}");
}

#[test]
fn an_id_outside_the_vocabulary_is_refused() {
    let aki = support::golden_model("base");
    assert_eq!(aki.vocab_size(), 503);
    let layout = Layout::new().text(Role::User, 2);
    // The pretrained table has 544 rows, but those from 501 on are not used.
    for id in [503, 543, u32::MAX] {
        let error = aki.embed(&[TokenId(1), TokenId(id)], &layout, &[]).unwrap_err();
        assert_eq!(error.to_string(), format!("token id {id} is outside the vocabulary of 503"));
    }
    assert_eq!(aki.embed(&[TokenId(1), TokenId(502)], &layout, &[]).unwrap().dims(), [2, 64]);
}

#[test]
fn ids_layout_and_images_have_to_belong_together() {
    let aki = support::golden_model("base");
    let layout = Layout::new().text(Role::User, 2).image(VISION_TOKENS);
    let ids = [1, 2, 501, 3].map(TokenId);
    let tokens =
        |count: usize| Tensor::zeros((count, 64), model::DType::F32, &Device::Cpu).unwrap();
    let message = |ids: &[TokenId], images: &[Tensor]| {
        aki.embed(ids, &layout, images).unwrap_err().to_string()
    };
    assert_eq!(message(&ids[..2], &[tokens(8)]), "the layout needs 3 ids, found 2");
    assert_eq!(message(&ids, &[tokens(8)]), "the layout needs 3 ids, found 4");
    assert_eq!(message(&ids[..3], &[]), "the layout needs 1 images, found 0");
    assert_eq!(message(&ids[..3], &[tokens(8), tokens(8)]), "the layout needs 1 images, found 2");
    assert_eq!(
        message(&ids[..3], &[tokens(7)]),
        "the layout needs 8 vision tokens of an image, found 7",
    );
    assert_eq!(aki.embed(&ids[..3], &layout, &[tokens(8)]).unwrap().dims(), [10, 64]);
    assert_eq!(aki.embed(&[], &Layout::new(), &[]).unwrap().dims(), [0, 64]);
}

#[test]
fn vision_tokens_of_another_width_are_refused() {
    let aki = support::golden_model("base");
    let image = Tensor::zeros((VISION_TOKENS, 48), model::DType::F32, &Device::Cpu).unwrap();
    let layout = Layout::new().text(Role::User, 1).image(VISION_TOKENS);
    assert!(aki.embed(&[TokenId(1), TokenId(501)], &layout, &[image]).is_err());
}

#[test]
fn pixels_of_another_size_are_refused() {
    let aki = support::golden_model("base");
    let message = |shape: [usize; 4]| {
        let pixels = Tensor::zeros(&shape, model::DType::F32, &Device::Cpu).unwrap();
        aki.see(&pixels, &mut NoTap).unwrap_err().to_string()
    };
    assert_eq!(message([1, 4, 56, 56]), "the layout needs 3 pixel channels, found 4");
    assert_eq!(message([1, 3, 42, 56]), "the layout needs 56 pixel rows, found 42");
    assert_eq!(message([1, 3, 56, 70]), "the layout needs 56 pixel columns, found 70");
    let flat = Tensor::zeros((3, 56, 56), model::DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(aki.see(&flat, &mut NoTap), Err(Error::Tensor { .. })));
}
