//! Several sequences at once as one by one.

use model::{NoTap, Sequence, Tensor};
use sequence::{AttentionPolicy, Layout, Role};

use crate::support::golden_model;
use crate::synthetic::{Noise, assert_close, assert_same, values};

/// Sequences of different lengths, one of them without an image.
fn layouts() -> Vec<Layout> {
    let turn = |before, question| {
        Layout::new().text(Role::System, before).image(8).text(Role::User, question).reply_mark()
    };
    vec![turn(3, 11), Layout::new().text(Role::User, 5), turn(40, 1).padding(6), turn(0, 9)]
}

#[test]
fn prefilling_and_decoding_sequences_share_a_batch() {
    let aki = &golden_model("base");
    let layouts = layouts();
    let mut noise = Noise::new(4);
    let policy = AttentionPolicy::ModalityMutual;
    // The first sequence has a prompt in its cache and decodes; the second prefills; the third keeps nothing.
    let reply = layouts[0].clone().text(Role::Assistant, 1);
    let prompt = layouts[0].len();
    let inputs: Vec<Tensor> = [reply.len(), layouts[1].len(), layouts[2].len()]
        .iter()
        .map(|len| noise.tensor(&[*len, 64]))
        .collect();
    let mut first = aki.new_cache(0).unwrap();
    let mut second = aki.new_cache(0).unwrap();
    let prefill = policy.plan_rows(&reply, 0..prompt);
    let input = inputs[0].narrow(0, 0, prompt).unwrap();
    let mut batch = [Sequence { plan: &prefill, cache: Some(&mut first) }];
    aki.forward(&input, &mut batch, &mut NoTap).unwrap();

    let plans = [
        policy.plan_rows(&reply, prompt..prompt + 1),
        policy.plan(&layouts[1]),
        policy.plan(&layouts[2]),
    ];
    let mut batch = [
        Sequence { plan: &plans[0], cache: Some(&mut first) },
        Sequence { plan: &plans[1], cache: Some(&mut second) },
        Sequence { plan: &plans[2], cache: None },
    ];
    let parts = [inputs[0].narrow(0, prompt, 1).unwrap(), inputs[1].clone(), inputs[2].clone()];
    let hidden = aki.forward(&Tensor::cat(&parts, 0).unwrap(), &mut batch, &mut NoTap).unwrap();
    let together = aki.logits(&hidden).unwrap();
    assert_eq!((first.len(), second.len()), (prompt + 1, layouts[1].len()));

    // A row alone sums its attention in another order than a row among many.
    let whole =
        aki.logits_of(&inputs[0], &policy.plan(&reply)).unwrap().narrow(0, prompt, 1).unwrap();
    assert_close("decoded", &together.narrow(0, 0, 1).unwrap(), &values(&whole), 1e-5);
    let mut start = 1;
    for (input, plan) in inputs.iter().zip(&plans).skip(1) {
        let found = together.narrow(0, start, plan.num_rows()).unwrap();
        assert_same(&found, &aki.logits_of(input, plan).unwrap());
        start += plan.num_rows();
    }
}

#[test]
fn images_are_seen_together_as_alone() {
    let aki = &golden_model("base");
    let pixels = Noise::new(5).tensor(&[3, 3, 56, 56]);
    let together = aki.see(&pixels, &mut NoTap).unwrap();
    for image in 0..3 {
        let alone = aki.see(&pixels.narrow(0, image, 1).unwrap(), &mut NoTap).unwrap();
        assert_same(&together.narrow(0, image, 1).unwrap(), &alone);
    }
}

#[test]
fn padding_changes_no_other_row() {
    let aki = &golden_model("gqa");
    let layout = Layout::new().text(Role::User, 4).image(8).text(Role::User, 3).reply_mark();
    let padded = layout.clone().padding(5);
    let input = Noise::new(6).tensor(&[padded.len(), 64]);
    let policy = AttentionPolicy::ModalityMutual;
    let with =
        aki.logits_of(&input, &policy.plan(&padded)).unwrap().narrow(0, 0, layout.len()).unwrap();
    let input = input.narrow(0, 0, layout.len()).unwrap();
    assert_same(&with, &aki.logits_of(&input, &policy.plan(&layout)).unwrap());
}
