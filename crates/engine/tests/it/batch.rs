use std::collections::BTreeMap;

use engine::{
    Batch, BatchLimits, Event, FinishReason, Request, RequestId, Sampling, SamplingOptions,
    generate,
};
use sequence::{AttentionPolicy, TokenId};

use crate::golden::{Golden, base, drain, go_on, gqa, longrope};

/// Requests of different lengths, policies, sampling and ends.
fn requests(golden: &Golden) -> Vec<Request> {
    let sampling = |temperature, seed| {
        let penalty = SamplingOptions { repetition_penalty: 1.2, ..SamplingOptions::default() };
        Sampling::try_from(SamplingOptions { temperature, seed, ..penalty }).unwrap()
    };
    let mut requests: Vec<Request> = (0..4).map(|index| golden.request(index)).collect();
    for (index, policy) in AttentionPolicy::ALL.into_iter().enumerate() {
        let prompt = golden.prompt(index % 4, policy);
        let sampling = sampling(0.4 * index as f32, index as u64);
        requests.push(Request { sampling, ..Request::new(prompt, 5 + 3 * index) });
    }
    requests.push(Request::new(golden.question(3), 25));
    requests.push(Request::new(golden.question(90), 1));
    requests.push(Request::new(golden.question(5), 0));
    let stop = vec![golden.samples[0].new_ids[6]];
    requests.push(Request { stop, top_logprobs: Some(2), ..golden.request(0) });
    requests
}

#[test]
fn a_batch_gives_every_request_the_reply_that_it_has_alone() {
    for golden in [base(), gqa(), longrope()] {
        let requests = requests(golden);
        for max_running in [1, 3, 20] {
            let mut batch = Batch::new(&golden.aki, max_running);
            for request in &requests {
                batch.add(request.clone()).unwrap();
            }
            for ((_, reply), request) in drain(&mut batch).iter().zip(&requests) {
                let alone = generate(&golden.aki, request, go_on).unwrap();
                assert_eq!(reply.new_ids, alone.new_ids);
                assert_eq!(reply.finish, alone.finish);
                assert_eq!(reply.logprobs.len(), alone.logprobs.len());
            }
        }
    }
}

#[test]
fn requests_join_while_others_run() {
    let golden = base();
    let mut batch = Batch::new(&golden.aki, 3);
    let mut waiting = (0..4).map(|index| golden.request(index)).rev().collect::<Vec<_>>();
    let mut tokens: BTreeMap<RequestId, Vec<TokenId>> = BTreeMap::new();
    let mut finished = BTreeMap::new();
    for step in 0.. {
        if step % 7 == 0
            && let Some(request) = waiting.pop()
        {
            batch.add(request).unwrap();
        }
        for event in batch.step().unwrap() {
            match event {
                Event::Token { request, id, .. } => tokens.entry(request).or_default().push(id),
                Event::Finished { request, reply } => {
                    finished.insert(request, reply);
                }
                Event::Failed { error, .. } => panic!("{error}"),
            }
        }
        assert!(batch.num_running() <= 3);
        if waiting.is_empty() && batch.is_idle() {
            break;
        }
    }
    for (index, sample) in golden.samples.iter().enumerate() {
        let id = RequestId(index as u64);
        assert_eq!(tokens[&id], sample.new_ids);
        assert_eq!(finished[&id].new_ids, sample.new_ids);
    }
}

#[test]
fn a_cancelled_request_leaves_and_the_others_stay() {
    let golden = base();
    let mut batch = Batch::new(&golden.aki, 2);
    let shared = golden.request(0);
    let ids: Vec<_> = [0, 1, 2, 3]
        .map(|index| Request { cancel: shared.cancel.clone(), ..golden.request(index) })
        .map(|request| batch.add(request).unwrap())
        .into();
    for _ in 0..4 {
        batch.step().unwrap();
    }
    assert!(batch.cancel(ids[0]) && batch.cancel(ids[3]));
    assert!(!batch.cancel(RequestId(99)));
    let replies = drain(&mut batch);
    let lens: Vec<_> =
        replies.iter().map(|(_, reply)| (reply.new_ids.len(), reply.finish)).collect();
    let (cut, whole) = (FinishReason::Cancelled, FinishReason::Length);
    assert_eq!(lens, [(4, cut), (40, whole), (40, whole), (0, cut)]);
    assert_eq!(replies[2].1.new_ids, golden.samples[2].new_ids);
    assert!(!batch.cancel(ids[0]), "it is over");
}

#[test]
fn the_switch_of_a_request_cancels_it_in_a_batch() {
    let golden = base();
    let mut batch = Batch::new(&golden.aki, 1);
    let requests = [golden.request(0), golden.request(1)];
    for request in &requests {
        batch.add(request.clone()).unwrap();
    }
    batch.step().unwrap();
    for request in &requests {
        request.cancel.cancel();
    }
    let lens: Vec<_> = drain(&mut batch).iter().map(|(_, reply)| reply.new_ids.len()).collect();
    assert_eq!(lens, [1, 0]);
}

#[test]
fn a_finished_request_leaves_its_cache_to_one_that_begins_alike() {
    let golden = base();
    let mut batch = Batch::new(&golden.aki, 2);
    batch.add(golden.request(0)).unwrap();
    batch.add(Request::new(golden.question(30), 8)).unwrap();
    drain(&mut batch);
    batch.add(Request::new(golden.question(30), 8)).unwrap();
    batch.add(golden.request(0)).unwrap();
    let replies = drain(&mut batch);
    let cached: Vec<_> = replies.iter().map(|(_, reply)| reply.timings.cached_tokens).collect();
    assert_eq!(cached, [29, 69]);
    assert_eq!(replies[1].1.new_ids, golden.samples[0].new_ids);
}

#[test]
fn an_unrelated_request_takes_a_new_cache_while_there_is_room() {
    let golden = base();
    let cached = |max_running| {
        let mut batch = Batch::new(&golden.aki, max_running);
        let mut cached = 0;
        for request in [golden.request(0), Request::new(golden.question(30), 8), golden.request(0)]
        {
            batch.add(request).unwrap();
            cached = drain(&mut batch)[0].1.timings.cached_tokens;
        }
        cached
    };
    assert_eq!((cached(2), cached(1)), (69, 0));
}

#[test]
fn a_request_whose_ids_are_no_tokens_fails_alone() {
    let golden = base();
    let mut batch = Batch::new(&golden.aki, 4);
    let good = batch.add(golden.request(0)).unwrap();
    batch.step().unwrap();
    let mut bad = golden.request(1);
    bad.prompt.ids[3] = TokenId(100_000);
    let bad = batch.add(bad).unwrap();
    let mut failed = Vec::new();
    let mut replies = Vec::new();
    while !batch.is_idle() {
        for event in batch.step().unwrap() {
            match event {
                Event::Failed { request, error } => failed.push((request, error.to_string())),
                Event::Finished { request, reply } => replies.push((request, reply.new_ids)),
                Event::Token { .. } => {}
            }
        }
    }
    assert_eq!(failed, [(bad, "the model cannot compute this step".to_owned())]);
    assert_eq!(replies, [(good, golden.samples[0].new_ids.clone())]);
}

#[test]
fn prompts_read_in_parts_within_little_memory_give_the_same_replies() {
    for golden in [base(), gqa(), longrope()] {
        let requests = requests(golden);
        let longest = |request: &Request| request.prompt.layout.len() + request.max_new_tokens;
        let max_positions = requests.iter().map(longest).max().unwrap() + 20;
        for prefill_rows in [1, 5, 16] {
            let limits = BatchLimits { max_running: 4, max_positions, prefill_rows };
            let mut batch = Batch::within(&golden.aki, limits);
            let ids = requests.iter().map(|request| batch.add(request.clone()).unwrap());
            let ids: Vec<RequestId> = ids.collect();
            let mut replies = BTreeMap::new();
            while !batch.is_idle() {
                for event in batch.step().unwrap() {
                    if let Event::Finished { request, reply } = event {
                        replies.insert(request, reply.new_ids);
                    }
                }
                assert!(batch.num_positions() <= max_positions);
            }
            for (id, request) in ids.iter().zip(&requests) {
                let alone = generate(&golden.aki, request, go_on).unwrap();
                assert_eq!(replies[id], alone.new_ids);
            }
        }
    }
}

#[test]
fn clients_take_turns_whoever_asks_for_more() {
    let golden = base();
    let mut batch = Batch::new(&golden.aki, 2);
    let mut add = |client, count| -> Vec<RequestId> {
        let request = || Request { client, ..Request::new(golden.question(9), 3) };
        (0..count).map(|_| batch.add(request()).unwrap()).collect()
    };
    let greedy = add(1, 6);
    let modest = add(2, 2);
    let mut order = Vec::new();
    while !batch.is_idle() {
        for event in batch.step().unwrap() {
            if let Event::Finished { request, .. } = event {
                order.push(request);
            }
        }
    }
    let place = |id: &RequestId| order.iter().position(|done| done == id).unwrap();
    assert_eq!(order.len(), 8);
    // One place of the two is always the modest client's, as long as it wants one.
    assert!(modest.iter().map(place).max() < Some(5), "{order:?}");
    assert!(greedy.iter().map(place).is_sorted(), "{order:?}");
}

#[test]
fn replies_to_one_question_read_it_once() {
    for golden in [base(), gqa(), longrope()] {
        let alone = generate(&golden.aki, &golden.request(0), go_on).unwrap();
        let length = golden.request(0).prompt.layout.len();
        let mut batch = Batch::new(&golden.aki, 4);
        for _ in 0..3 {
            batch.add(golden.request(0)).unwrap();
        }
        // Another question about the image reads it anew: the image depends on its question.
        let mut other = golden.request(0);
        let last = other.prompt.ids.len() - 2;
        other.prompt.ids[last] = TokenId(300);
        batch.add(other.clone()).unwrap();
        let replies = drain(&mut batch);
        let cached: Vec<usize> =
            replies.iter().map(|(_, reply)| reply.timings.cached_tokens).collect();
        assert_eq!(cached[..3], [0, length - 1, length - 1]);
        let before_the_image = golden.samples[0].prompt_ids.len() - 1;
        assert!(cached[3] < before_the_image, "{cached:?}");
        for (_, reply) in &replies[..3] {
            assert_eq!(reply.new_ids, alone.new_ids);
        }
        assert_eq!(replies[3].1.new_ids, generate(&golden.aki, &other, go_on).unwrap().new_ids);
    }
}
