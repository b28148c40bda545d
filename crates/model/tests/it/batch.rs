//! Several sequences at once as one by one.

use model::{NoTap, Sequence, Tensor};
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role};

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
fn the_last_rows_alone_are_what_they_are_among_all() {
    let aki = &golden_model("base");
    let (layouts, policy) = (layouts(), AttentionPolicy::ModalityMutual);
    let plans: Vec<_> = layouts.iter().map(|layout| policy.plan(layout)).collect();
    let len = plans.iter().map(AttentionPlan::num_rows).sum();
    let input = Noise::new(6).tensor(&[len, 64]);
    let mut caches: Vec<_> = (0..2 * plans.len()).map(|_| aki.new_cache(0).unwrap()).collect();
    let (of_all, of_last) = caches.split_at_mut(plans.len());
    let batch = |caches| {
        let pairs = plans.iter().zip(caches);
        pairs.map(|(plan, cache)| Sequence { plan, cache: Some(cache) }).collect::<Vec<_>>()
    };
    let all = aki.forward(&input, &mut batch(of_all.iter_mut()), &mut NoTap).unwrap();
    let last = aki.forward_to_last(&input, &mut batch(of_last.iter_mut())).unwrap();
    assert_eq!(last.dims(), [plans.len(), 64]);
    let mut end = 0;
    for (index, plan) in plans.iter().enumerate() {
        end += plan.num_rows();
        let expected = all.narrow(0, end - 1, 1).unwrap();
        assert_same(&last.narrow(0, index, 1).unwrap(), &expected);
    }
    // What comes next finds the same in either cache.
    let step = |index: usize, cache| {
        let layout = layouts[index].clone().text(Role::Assistant, 1);
        let rows = layout.len() - 1..layout.len();
        let plan = policy.plan_rows(&layout, rows);
        let mut batch = [Sequence { plan: &plan, cache: Some(cache) }];
        aki.forward_to_last(&Noise::new(7).tensor(&[1, 64]), &mut batch).unwrap()
    };
    for (index, (all, last)) in of_all.iter_mut().zip(of_last).enumerate() {
        assert_same(&step(index, all), &step(index, last));
    }
    let nothing = policy.plan_rows(&layouts[1], 5..5);
    let mut batch = [Sequence { plan: &nothing, cache: None }];
    let error = aki.forward_to_last(&input.narrow(0, 0, 0).unwrap(), &mut batch).unwrap_err();
    assert!(error.to_string().contains("new rows"), "{error}");
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
