//! For one image and one turn the mutual mask is the reference's.

use std::collections::HashMap;
use std::path::PathBuf;

use sequence::{AttentionPolicy, Layout};

use crate::support::{IMAGE, MARK, PADDING, Piece, REPLY, SYSTEM, USER, build};

/// The reference's mask: rows are queries; `i` and `q` are the indices of `<image>` and of the
/// first `<|assistant|>` before the image takes `n` positions. The mark then is at `q + n - 1`, so
/// that the columns `i + n .. q + n` are those from the first token after the image through it.
fn arithmetic(valid: &[bool], i: Option<usize>, q: Option<usize>, n: usize) -> Vec<bool> {
    let len = valid.len();
    let mut mask = vec![false; len * len];
    for row in 0..len {
        for column in 0..len {
            let opened = i.is_some_and(|i| {
                (i..i + n).contains(&row) && (i + n..q.unwrap_or(0) + n).contains(&column)
            });
            mask[row * len + column] = (column <= row || opened) && valid[column];
        }
    }
    mask
}

/// Checks the layout of ids, an image expanded to `n`, against the arithmetic.
fn assert_reference(ids: &[Piece], n: usize) {
    let find = |kind| ids.iter().position(|id| id.0 == kind);
    let expanded: Vec<_> =
        ids.iter().map(|&(kind, _)| (kind, if kind == IMAGE { n } else { 1 })).collect();
    let valid: Vec<_> =
        expanded.iter().flat_map(|&(kind, len)| vec![kind != PADDING; len]).collect();
    let plan = AttentionPolicy::ModalityMutual.plan(&build(&expanded));
    let expected = arithmetic(&valid, find(IMAGE), find(MARK), n);
    assert!(plan.to_dense() == expected, "{ids:?} with {n} tokens:\n{plan}");
    if find(MARK).is_none() {
        let causal = AttentionPolicy::Causal.plan(&build(&expanded));
        assert_eq!(plan, causal, "without a mark nothing opens: {ids:?}");
    }
}

/// Every sequence of at most `left` more ids with one image and one turn.
fn extend(ids: &mut Vec<Piece>, left: usize, num_checked: &mut usize) {
    for n in 1..=4 {
        assert_reference(ids, n);
    }
    *num_checked += 1;
    if left == 0 {
        return;
    }
    let marked = ids.iter().any(|id| id.0 == MARK);
    let seen = ids.iter().any(|id| id.0 == IMAGE);
    let prompt = [Some(SYSTEM), Some(USER), (!seen).then_some(IMAGE), Some(MARK), Some(PADDING)];
    let reply = [Some(REPLY), (!seen).then_some(IMAGE), Some(PADDING), None, None];
    for kind in if marked { reply } else { prompt }.into_iter().flatten() {
        ids.push((kind, 1));
        extend(ids, left - 1, num_checked);
        ids.pop();
    }
}

#[test]
fn the_mutual_mask_of_one_image_and_one_turn_is_the_references() {
    let mut num_checked = 0;
    extend(&mut Vec::new(), 7, &mut num_checked);
    assert!(num_checked > 10_000, "only {num_checked}");
}

#[test]
fn the_image_sees_the_assistant_mark_and_nothing_after_it() {
    let ids = [SYSTEM, IMAGE, USER, MARK, REPLY].map(|kind| (kind, 1));
    assert_reference(&ids, 2);
    let layout = build(&[(SYSTEM, 1), (IMAGE, 2), (USER, 1), (MARK, 1), (REPLY, 1)]);
    let plan = AttentionPolicy::ModalityMutual.plan(&layout);
    assert_eq!(plan.visible(1), [0..2, 3..5]);
    assert_eq!(plan.visible(2), std::slice::from_ref(&(0..5)));
}

const SETS: [&str; 3] = ["base", "gqa", "longrope"];
const NUM_VISION_TOKENS: usize = 8;

fn golden(set: &str, file: &str) -> PathBuf {
    [concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens"), set, file].iter().collect()
}

/// The bytes and the shape of every tensor of a safetensors file.
fn tensors(path: PathBuf) -> HashMap<String, (Vec<u8>, Vec<usize>)> {
    let bytes = std::fs::read(path).unwrap();
    let (len, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(header).unwrap();
    let integers = |value: &serde_json::Value| -> Vec<usize> {
        serde_json::from_value(value.clone()).unwrap()
    };
    let entries = header.into_iter().filter(|(name, _)| name != "__metadata__");
    entries
        .map(|(name, entry)| {
            let at = integers(&entry["data_offsets"]);
            (name, (data[at[0]..at[1]].to_vec(), integers(&entry["shape"])))
        })
        .collect()
}

fn int64(bytes: &[u8]) -> Vec<i64> {
    bytes.as_chunks::<8>().0.iter().map(|value| i64::from_le_bytes(*value)).collect()
}

/// The layout of ids with one turn; ids that are not `valid` are padding.
fn one_turn(set: &str, ids: &[i64], valid: &[i64]) -> Layout {
    let tokenizer = std::fs::read(golden(set, "model/tokenizer.json")).unwrap();
    let tokenizer: serde_json::Value = serde_json::from_slice(&tokenizer).unwrap();
    let id_of = |content: &str| {
        let tokens = tokenizer["added_tokens"].as_array().unwrap();
        tokens.iter().find(|token| token["content"] == content).unwrap()["id"].as_i64().unwrap()
    };
    let (image, assistant) = (id_of("<image>"), id_of("<|assistant|>"));
    let mut layout = Layout::new();
    let mut text = USER;
    for (&id, &valid) in ids.iter().zip(valid) {
        if valid == 0 {
            layout.push(PADDING, 1);
        } else if id == image {
            layout.push(IMAGE, NUM_VISION_TOKENS);
        } else if id == assistant && text == USER {
            layout.push(MARK, 1);
            text = REPLY;
        } else {
            layout.push(text, 1);
        }
    }
    layout
}

#[test]
fn the_masks_of_the_golden_traces_are_planned() {
    for set in SETS {
        let trace = tensors(golden(set, "trace.safetensors"));
        let ids = int64(&trace["input_ids"].0);
        let layout = one_turn(set, &ids, &vec![1; ids.len()]);
        assert_eq!((layout.num_images(), layout.num_ids()), (1, ids.len()));
        for policy in [AttentionPolicy::ModalityMutual, AttentionPolicy::Causal] {
            let mask: Vec<_> = policy.plan(&layout).to_dense().into_iter().map(u8::from).collect();
            assert!(mask == trace[&format!("{policy}.mask")].0, "{set}: {policy}");
        }
    }
}

#[test]
fn the_mask_of_a_padded_golden_batch_is_planned() {
    for set in SETS {
        let batch = tensors(golden(set, "train_batch.safetensors"));
        let width = batch["input_ids"].1[1];
        let (ids, valid) = (int64(&batch["input_ids"].0), int64(&batch["attention_mask"].0));
        assert!(valid.contains(&0), "{set} has no padding");
        let (masks, shape) = &batch["mask"];
        let rows = ids.chunks_exact(width).zip(valid.chunks_exact(width));
        for ((ids, valid), expected) in rows.zip(masks.chunks_exact(shape[2] * shape[3])) {
            let layout = one_turn(set, ids, valid);
            assert_eq!(layout.len(), shape[2]);
            let plan = AttentionPolicy::ModalityMutual.plan(&layout);
            let mask: Vec<_> = plan.to_dense().into_iter().map(u8::from).collect();
            assert!(mask == expected, "{set}:\n{plan}");
        }
    }
}
