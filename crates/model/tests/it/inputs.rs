//! What goes into the decoder, and what is refused.

use model::{Device, NoTap, Sequence, Tensor};
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role};

use crate::support::{self, Prompt, f32s, golden_model, token_ids};
use crate::synthetic::{Noise, message, values};

#[test]
fn ids_take_their_rows_from_the_table_that_they_belong_to() {
    let aki = golden_model("base");
    let weights = support::open("base", "model");
    let table = f32s(&weights, "lang_model.model.embed_tokens.weight");
    let added = f32s(&weights, "lang_model.model.embed_tokens.additional_embedding.weight");
    let row = |id: i64| {
        let (table, row) = if id < 501 { (&table, id) } else { (&added, id - 501) };
        table[usize::try_from(row).unwrap() * 64..][..64].to_vec()
    };
    let ids = [0, 500, 501, 502, 500, 3, 501];
    let layout = Layout::new().text(Role::User, ids.len());
    let found = aki.embed(&token_ids(&ids), &layout, &[]).unwrap();
    let expected: Vec<f32> = ids.iter().flat_map(|id| row(*id)).collect();
    assert_eq!(values(&found), expected);
    assert_eq!(aki.vocab_size(), 503);
}

#[test]
fn images_stand_where_the_layout_has_them() {
    let aki = golden_model("base");
    let mut noise = Noise::new(21);
    let images = [noise.tensor(&[8, 64]), noise.tensor(&[8, 64])];
    let layout = Layout::new().image(8).text(Role::User, 2).image(8).reply_mark();
    let found = aki.embed(&token_ids(&[501, 7, 8, 501, 490]), &layout, &images).unwrap();
    assert_eq!(found.dims(), [19, 64]);
    let rows = |start, len| values(&found.narrow(0, start, len).unwrap());
    assert_eq!(rows(0, 8), values(&images[0]));
    assert_eq!(rows(10, 8), values(&images[1]));
    let text = Layout::new().text(Role::User, 3);
    let expected = aki.embed(&token_ids(&[7, 8, 490]), &text, &[]).unwrap();
    assert_eq!([rows(8, 2), rows(18, 1)].concat(), values(&expected));
}

#[test]
fn nothing_has_no_embeddings() {
    let found = golden_model("base").embed(&[], &Layout::new(), &[]).unwrap();
    assert_eq!(found.dims(), [0, 64]);
}

#[test]
fn no_images_are_seen_as_none() {
    let aki = golden_model("base");
    let pixels = Tensor::zeros((0, 3, 56, 56), model::DType::F32, &Device::Cpu).unwrap();
    assert_eq!(aki.see(&pixels, &mut NoTap).unwrap().dims(), [0, 8, 64]);
}

#[test]
fn inputs_of_another_width_are_refused() {
    let aki = golden_model("base");
    let narrow = Noise::new(22).tensor(&[8, 63]);
    let layout = Layout::new().image(8).text(Role::User, 2);
    let error =
        aki.embed(&token_ids(&[501, 1, 2]), &layout, std::slice::from_ref(&narrow)).unwrap_err();
    assert_eq!(message(&error), "the layout needs 64 elements of a vision token, found 63");
    let plan = AttentionPlan::causal(8);
    let mut batch = [Sequence { plan: &plan, cache: None }];
    let error = aki.forward(&narrow, &mut batch, &mut NoTap).unwrap_err();
    assert_eq!(message(&error), "the layout needs 64 elements of an embedding, found 63");
    assert!(aki.logits(&narrow).is_err());
}

#[test]
fn an_image_without_the_question_it_reads_is_refused() {
    let (aki, prompt) = (golden_model("base"), Prompt::of("base"));
    let image = prompt.layout.images().next().unwrap();
    let plan = AttentionPolicy::ModalityMutual.plan_rows(&prompt.layout, 0..image.end);
    let input = prompt.embed(&aki).narrow(0, 0, image.end).unwrap();
    let mut cache = aki.new_cache(100).unwrap();
    let mut batch = [Sequence { plan: &plan, cache: Some(&mut cache) }];
    let error = aki.forward(&input, &mut batch, &mut NoTap).unwrap_err();
    let expected = format!(
        "the layout needs {} positions through the last that a row sees, found {}",
        prompt.layout.len(),
        image.end
    );
    assert_eq!(message(&error), expected);
}
