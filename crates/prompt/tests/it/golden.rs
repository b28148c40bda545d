//! The golden vectors: ids, prompts and pixel values of the reference.

use prompt::{
    ChatTemplate, Message, Preprocessor, RgbImage, SpecialTokens, layout_of, parse_question,
};
use sequence::{AttentionPolicy, TokenId};

use crate::support::{SETS, golden, ids, json, safetensors, tokenizer};

#[test]
fn ids_and_decoded_texts_equal_the_reference() {
    for set in SETS {
        let tokenizer = tokenizer(set);
        for sample in json(golden(set).join("tokenize.json")).as_array().unwrap() {
            let text = sample["text"].as_str().unwrap();
            let plain = ids(&sample["ids"]);
            assert_eq!(tokenizer.encode(text, false).unwrap(), plain, "{set}: {text:?}");
            let with_bos = tokenizer.encode(text, true).unwrap();
            assert_eq!(with_bos, ids(&sample["ids_with_bos"]), "{set}: {text:?}");
            assert_eq!(tokenizer.decode(&plain, true), sample["decoded"], "{set}: {text:?}");
            let kept = tokenizer.decode(&plain, false);
            assert_eq!(kept, sample["decoded_keep_special"], "{set}: {text:?}");
        }
    }
}

#[test]
fn a_question_about_an_image_becomes_the_references_prompt() {
    for set in SETS {
        let tokenizer = tokenizer(set);
        for sample in json(golden(set).join("generate.json")).as_array().unwrap() {
            let parts = parse_question(sample["question"].as_str().unwrap(), 1).unwrap();
            let encoded =
                ChatTemplate::default().encode(&tokenizer, &[Message::user(parts)], 8).unwrap();
            assert_eq!(encoded.ids, ids(&sample["prompt_ids"]), "{set}: {sample}");
            let special = SpecialTokens::find(&tokenizer).unwrap();
            let scanned = layout_of(&encoded.ids, None, &special, 8).unwrap();
            assert_eq!(encoded.layout, scanned, "{set}: {sample}");
            assert_eq!(tokenizer.decode(&ids(&sample["new_ids"]), true), sample["text"]);
        }
    }
}

#[test]
fn pixel_values_equal_the_references() {
    for set in SETS {
        for (name, expected) in safetensors(golden(set).join("preprocess.safetensors")) {
            let (file, size) = name.rsplit_once('.').unwrap();
            let image_size: usize = size.parse().unwrap();
            let preprocessor = Preprocessor { image_size, mean: [0.5; 3], std: [0.5; 3] };
            let bytes = std::fs::read(golden("images").join(file)).unwrap();
            let values = preprocessor.preprocess(&RgbImage::decode(&bytes).unwrap());
            let step = image_size / expected.shape[1];
            let found = (0..3).flat_map(|channel| {
                let values = &values;
                (0..image_size).step_by(step).flat_map(move |y| {
                    let row = &values[(channel * image_size + y) * image_size..][..image_size];
                    row.iter().step_by(step)
                })
            });
            // In levels of 1/255, which are 2/255 apart after normalising.
            let apart = |(a, b): (&f32, f32)| ((a - b).abs() * 127.5).round() as u32;
            let expected = expected.f32();
            assert_eq!(found.clone().count(), expected.len());
            let worst = found.clone().zip(expected.iter().copied()).map(apart).max().unwrap();
            let allowed = if file.ends_with(".png") { 0 } else { 3 };
            assert!(worst <= allowed, "{set}/{name}: {worst} levels apart");
            if allowed == 0 {
                let same = found.zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{set}/{name}: values are not equal to the last bit");
            }
        }
    }
}

#[test]
fn a_training_batch_has_the_references_mask() {
    const NUM_VISION_TOKENS: usize = 8;
    for set in SETS {
        let batch = safetensors(golden(set).join("train_batch.safetensors"));
        let special = SpecialTokens::find(&tokenizer(set)).unwrap();
        let all_ids = batch["input_ids"].i64();
        let all_masks = batch["attention_mask"].i64();
        let width = batch["input_ids"].shape[1];
        let expanded = width - 1 + NUM_VISION_TOKENS;
        assert_eq!(batch["mask"].shape[2..], [expanded, expanded]);
        let rows = all_ids.chunks_exact(width).zip(all_masks.chunks_exact(width));
        for ((ids, mask), expected) in
            rows.zip(batch["mask"].bytes.chunks_exact(expanded * expanded))
        {
            let ids: Vec<_> = ids.iter().map(|id| TokenId(*id as u32)).collect();
            let mask: Vec<_> = mask.iter().map(|seen| *seen == 1).collect();
            let layout = layout_of(&ids, Some(&mask), &special, NUM_VISION_TOKENS).unwrap();
            let plan = AttentionPolicy::ModalityMutual.plan(&layout).to_dense();
            let expected: Vec<_> = expected.iter().map(|open| *open == 1).collect();
            assert_eq!(plan, expected, "{set}");
        }
    }
}

#[test]
fn an_attention_mask_of_another_length_is_refused() {
    let special = SpecialTokens::find(&tokenizer("base")).unwrap();
    let error = layout_of(&[TokenId(1)], Some(&[true, true]), &special, 8).unwrap_err();
    assert_eq!(error.to_string(), "the attention mask has 2 values, expected 1");
}
