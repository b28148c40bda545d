//! What is cached changes no logits.

use engine::{Prompt, Request, Session};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sequence::AttentionPolicy::{self, Causal, ModalityMutual};
use sequence::SpanKind;

use crate::golden::{Golden, assert_close, base, fresh, go_on, gqa, longrope, words};

/// Prefills `prompt`, asserts that its logits are those of a fresh prefill; returns how much of it
/// was cached.
#[track_caller]
fn prefill(golden: &Golden, session: &mut Session<'_>, prompt: &Prompt) -> usize {
    let prefilled = session.prefill(prompt).unwrap();
    assert_close(&prefilled.logits, &fresh(golden, prompt));
    prefilled.cached_tokens
}

fn conversation(golden: &Golden, policy: AttentionPolicy) {
    let mut session = Session::new(&golden.aki).unwrap();
    let prompt = golden.prompt(0, policy);
    let mut talk = golden.resume(prompt.clone());
    let request = Request { stop: golden.stop.clone(), ..Request::new(prompt, 12) };
    for turn in 1..4 {
        let request = Request { prompt: talk.prompt.clone(), ..request.clone() };
        let reply = session.generate(&request, go_on).unwrap();
        talk.reply(&reply.new_ids);
        // The last token of the reply has been chosen, not read.
        let cached = talk.prompt.layout.len() - 1;
        assert_eq!(session.num_cached(), cached);
        talk.user(&words(turn, 5));
        if turn == 2 {
            talk.image(&golden.features[1]);
            talk.user(&words(9, 4));
        }
        talk.mark();
        assert_eq!(prefill(golden, &mut session, &talk.prompt), cached, "{policy} turn {turn}");
    }
}

#[test]
fn a_further_turn_reuses_all_finished_ones_under_every_policy() {
    for golden in [base(), gqa(), longrope()] {
        for policy in AttentionPolicy::ALL {
            conversation(golden, policy);
        }
    }
}

#[test]
fn a_second_question_on_an_image_keeps_what_comes_before_the_image() {
    for (policy, through_image) in [(ModalityMutual, false), (Causal, true)] {
        let golden = base();
        let mut session = Session::new(&golden.aki).unwrap();
        let question = |seed, len| {
            let mut talk = golden.talk(policy);
            talk.user(&words(1, 20));
            talk.image(&golden.features[0]);
            talk.user(&words(seed, len));
            talk.mark();
            talk.prompt
        };
        assert_eq!(prefill(golden, &mut session, &question(2, 6)), 0);
        let expected = if through_image { 28 } else { 20 };
        assert_eq!(prefill(golden, &mut session, &question(3, 9)), expected, "{policy}");
        assert_eq!(prefill(golden, &mut session, &question(2, 6)), expected, "{policy}");
    }
}

#[test]
fn another_image_is_not_taken_for_the_cached_one() {
    for policy in AttentionPolicy::ALL {
        let golden = base();
        let mut session = Session::new(&golden.aki).unwrap();
        let question = |image: usize| {
            let mut talk = golden.talk(policy);
            talk.user(&words(1, 20));
            talk.image(&golden.features[image]);
            talk.user(&words(2, 6));
            talk.mark();
            talk.prompt
        };
        prefill(golden, &mut session, &question(0));
        let cached = prefill(golden, &mut session, &question(1));
        assert_eq!(cached, if policy == AttentionPolicy::Prefix { 0 } else { 20 });
    }
}

#[test]
fn the_same_prompt_again_computes_its_last_row_alone() {
    let golden = base();
    for (policy, expected) in [(Causal, 70 - 1), (ModalityMutual, 70 - 1)] {
        let mut session = Session::new(&golden.aki).unwrap();
        let prompt = golden.prompt(0, policy);
        assert_eq!(prompt.layout.len(), 70);
        prefill(golden, &mut session, &prompt);
        assert_eq!(prefill(golden, &mut session, &prompt), expected, "{policy}");
    }
}

#[test]
fn a_change_of_policy_keeps_only_what_both_see_alike() {
    let golden = base();
    let mut session = Session::new(&golden.aki).unwrap();
    for (policy, expected) in [(Causal, 0), (ModalityMutual, 49), (AttentionPolicy::Prefix, 0)] {
        let cached = prefill(golden, &mut session, &golden.prompt(0, policy));
        assert_eq!(cached, expected, "{policy}");
    }
}

#[test]
fn a_prompt_that_ends_inside_or_with_an_image_is_read_again_from_its_end() {
    let golden = base();
    let mut session = Session::new(&golden.aki).unwrap();
    let mut talk = golden.talk(Causal);
    talk.user(&words(1, 5));
    talk.image(&golden.features[0]);
    prefill(golden, &mut session, &talk.prompt);
    // The last row of the image is computed alone.
    assert_eq!(prefill(golden, &mut session, &talk.prompt), 5 + 8 - 1);
    talk.image(&golden.features[0]);
    talk.image(&golden.features[1]);
    assert_eq!(prefill(golden, &mut session, &talk.prompt), 5 + 8);
}

#[test]
fn shorter_and_unrelated_prompts_follow_each_other() {
    let golden = base();
    let mut session = Session::new(&golden.aki).unwrap();
    for (index, policy) in [(3, ModalityMutual), (0, Causal), (1, Causal), (2, ModalityMutual)] {
        prefill(golden, &mut session, &golden.prompt(index, policy));
    }
    assert_eq!(prefill(golden, &mut session, &golden.question(9)), 0);
    assert_eq!(prefill(golden, &mut session, &golden.question(1)), 0);
}

#[test]
fn decoding_a_token_equals_a_prefill_with_it() {
    for policy in AttentionPolicy::ALL {
        let golden = base();
        let mut session = Session::new(&golden.aki).unwrap();
        let mut talk = golden.resume(golden.prompt(2, policy));
        session.prefill(&talk.prompt).unwrap();
        for id in words(5, 6) {
            let logits = session.decode(id).unwrap();
            talk.reply(&[id]);
            assert_close(&logits, &fresh(golden, &talk.prompt));
        }
        assert_eq!(session.ids(), talk.prompt.ids);
        assert_eq!(session.layout(), &talk.prompt.layout);
    }
}

/// Returns a conversation of a few short pieces, many of which begin alike.
fn any_prompt(golden: &Golden, rng: &mut ChaCha8Rng) -> Prompt {
    let mut talk =
        golden.talk(AttentionPolicy::ALL[rng.random_range(0..AttentionPolicy::ALL.len())]);
    talk.user(&words(1, 2));
    for _ in 0..rng.random_range(0..7) {
        let ids = words(rng.random_range(0..2), rng.random_range(1..3));
        match rng.random_range(0..5) {
            0 => talk.image(&golden.features[rng.random_range(0..2)]),
            1 => talk.mark(),
            2 => talk.reply(&ids),
            3 => talk.push(SpanKind::Padding, &ids),
            _ => talk.user(&ids),
        }
    }
    talk.user(&words(1, 1));
    talk.prompt
}

#[test]
fn any_prompt_after_any_other_has_the_logits_of_a_fresh_prefill() {
    for golden in [base(), longrope()] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut session = Session::new(&golden.aki).unwrap();
        let mut reused = 0;
        for _ in 0..200 {
            reused += prefill(golden, &mut session, &any_prompt(golden, &mut rng));
            if rng.random() {
                session.decode(words(1, 1)[0]).unwrap();
            }
        }
        assert!(reused > 300, "{reused}");
    }
}
