use std::ops::ControlFlow;

use engine::{FinishReason, Generated, Request, Sampling, SamplingOptions, Session, generate};
use sequence::{AttentionPolicy, TokenId};

use crate::golden::{Golden, base, go_on, gqa, longrope};

fn replies_are_those_of_the_reference(golden: &Golden) {
    for (index, sample) in golden.samples.iter().enumerate() {
        let mut streamed = Vec::new();
        let reply = generate(&golden.aki, &golden.request(index), |id| {
            streamed.push(id);
            ControlFlow::Continue(())
        });
        let reply = reply.unwrap();
        assert_eq!(reply.new_ids, sample.new_ids, "sample {index}");
        assert_eq!(streamed, sample.new_ids, "sample {index}");
        let stopped = sample.new_ids.last().is_some_and(|id| golden.stop.contains(id));
        let expected = if stopped { FinishReason::Stop } else { FinishReason::Length };
        assert_eq!(reply.finish, expected, "sample {index}");
    }
}

#[test]
fn greedy_replies_are_those_of_the_reference() {
    replies_are_those_of_the_reference(base());
}

#[test]
fn greedy_replies_with_shared_key_value_heads_are_those_of_the_reference() {
    replies_are_those_of_the_reference(gqa());
}

#[test]
fn greedy_replies_on_the_long_side_of_longrope_are_those_of_the_reference() {
    replies_are_those_of_the_reference(longrope());
}

fn sampled(seed: u64) -> Request {
    let options = SamplingOptions {
        temperature: 1.5,
        top_k: 100,
        top_p: 0.98,
        min_p: 0.001,
        repetition_penalty: 1.1,
        seed,
        ..SamplingOptions::default()
    };
    Request { sampling: Sampling::try_from(options).unwrap(), ..base().request(0) }
}

#[test]
fn a_seed_gives_the_same_reply_again_and_another_seed_another() {
    let ids = |seed| generate(&base().aki, &sampled(seed), go_on).unwrap().new_ids;
    assert_eq!(ids(3), ids(3));
    assert_ne!(ids(3), ids(4));
    assert_ne!(ids(3), base().samples[0].new_ids);
}

#[test]
fn a_stop_token_ends_the_reply_and_is_part_of_it() {
    let golden = base();
    let expected = &golden.samples[0].new_ids;
    let stop = expected[4];
    let end = expected.iter().position(|id| *id == stop).unwrap() + 1;
    let request = Request { stop: vec![TokenId(9), stop], ..golden.request(0) };
    let reply = generate(&golden.aki, &request, go_on).unwrap();
    assert_eq!((reply.new_ids.as_slice(), reply.finish), (&expected[..end], FinishReason::Stop));
}

#[test]
fn a_stop_token_at_the_length_limit_counts_as_a_stop() {
    let golden = base();
    let first = golden.samples[0].new_ids[0];
    let request = Request { stop: vec![first], max_new_tokens: 1, ..golden.request(0) };
    assert_eq!(generate(&golden.aki, &request, go_on).unwrap().finish, FinishReason::Stop);
}

#[test]
fn a_reply_is_as_long_as_was_asked_for() {
    let golden = base();
    for len in [0, 1, 7] {
        let request = Request { max_new_tokens: len, ..golden.request(0) };
        let reply = generate(&golden.aki, &request, go_on).unwrap();
        assert_eq!(reply.new_ids, golden.samples[0].new_ids[..len]);
        assert_eq!(reply.finish, FinishReason::Length);
    }
}

#[test]
fn a_reply_ends_where_the_context_does() {
    let golden = longrope();
    let limit = golden.aki.max_positions();
    let reply = |len: usize| {
        let mut session = Session::new(&golden.aki).unwrap();
        let reply = session.generate(&Request::new(golden.question(len), 9), go_on).unwrap();
        (reply.new_ids.len(), reply.finish)
    };
    assert_eq!(reply(limit - 3), (3, FinishReason::Length));
    assert_eq!(reply(limit), (0, FinishReason::Length));
}

#[test]
fn the_callback_stops_the_reply() {
    let golden = base();
    let mut left = 3;
    let reply = generate(&golden.aki, &golden.request(0), |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let reply = reply.unwrap();
    assert_eq!(reply.new_ids, golden.samples[0].new_ids[..3]);
    assert_eq!(reply.finish, FinishReason::Cancelled);
}

#[test]
fn a_cancelled_request_ends_before_its_next_token() {
    let golden = base();
    let request = golden.request(0);
    let cancel = request.cancel.clone();
    let mut seen = 0;
    let mut session = Session::new(&golden.aki).unwrap();
    let count = |_: TokenId| {
        seen += 1;
        if seen == 5 {
            cancel.cancel();
        }
        ControlFlow::Continue(())
    };
    let reply = session.generate(&request, count).unwrap();
    assert_eq!(reply.new_ids, golden.samples[0].new_ids[..5]);
    assert_eq!(reply.finish, FinishReason::Cancelled);
    // It stays cancelled, and the session stays usable.
    let reply = session.generate(&request, go_on).unwrap();
    assert_eq!((reply.new_ids.len(), reply.finish), (0, FinishReason::Cancelled));
    let reply = session.generate(&golden.request(1), go_on).unwrap();
    assert_eq!(reply.new_ids, golden.samples[1].new_ids);
}

#[test]
fn log_probabilities_come_with_the_tokens_on_request() {
    let golden = base();
    let reply = |top_logprobs| -> Generated {
        let request = Request { top_logprobs, max_new_tokens: 4, ..golden.request(0) };
        generate(&golden.aki, &request, go_on).unwrap()
    };
    assert!(reply(None).logprobs.is_empty());
    assert!(reply(Some(0)).logprobs.iter().all(|token| token.top.is_empty()));
    let reply = reply(Some(3));
    assert_eq!(reply.logprobs.len(), 4);
    for (id, token) in reply.new_ids.iter().zip(&reply.logprobs) {
        assert_eq!(token.top.len(), 3);
        assert_eq!(token.top[0], (*id, token.logprob));
        assert!(token.logprob < 0.0 && token.top[0].1 >= token.top[1].1);
    }
}

#[test]
fn timings_count_the_tokens() {
    let golden = base();
    let mut session = Session::new(&golden.aki).unwrap();
    let request = golden.request(0);
    let first = session.generate(&request, go_on).unwrap().timings;
    let tokens = golden.prompt(0, AttentionPolicy::ModalityMutual).layout.len();
    assert_eq!((first.prompt_tokens, first.cached_tokens, first.new_tokens), (tokens, 0, 40));
    assert!(first.prefill.as_nanos() > 0 && first.decode.as_nanos() > 0);
    assert!(session.generate(&request, go_on).unwrap().timings.cached_tokens > 0);
}
