use super::*;

/// The language of the tests: logits of eight tokens, given a sequence that starts with token 0.
fn logits(reply: &[TokenId]) -> Vec<f32> {
    let (last, len) = (reply.last().map_or(0, |id| u64::from(id.0)), reply.len() as u64);
    let logit = |j: u64| {
        let coarse = (last * 37 + j * 11 + last * j * 5 + len * len * 3 + len * j * 7) % 17;
        let fine = (last * 17 + j * 29 + len * 31 + len * len * j * 13) % 101;
        (coarse as f64 / 4.0 - 2.0 + fine as f64 / 997.0) as f32
    };
    (0..8).map(logit).collect()
}

fn search(
    options: (usize, f32, EarlyStopping),
    stop: &[u32],
    limit: usize,
    language: impl Fn(&[TokenId]) -> Vec<f32>,
) -> Vec<Hypothesis> {
    let (width, length_penalty, early_stopping) = options;
    let options = BeamOptions { width, length_penalty, early_stopping };
    let stop = stop.iter().map(|id| TokenId(*id)).collect();
    let mut search = Search::new(options, stop, limit);
    while !search.is_done() {
        let rows: Vec<_> = search.beams().iter().map(|beam| language(&beam.ids)).collect();
        search.step(&rows).unwrap();
    }
    search.finish(FinishReason::Length)
}

/// Expected values: `generate` of transformers 4.41.2 on the same language.
#[test]
#[rustfmt::skip]
fn the_hypotheses_are_those_of_transformers() {
    use EarlyStopping::{Full, Heuristic, Never};
    type Case = ((usize, f32, EarlyStopping), &'static [u32], usize, &'static [(&'static [u32], f32)]);
    let cases: [Case; 11] = [
        ((2, 1.0, Heuristic), &[7], 10, &[(&[3, 0, 0, 6, 0, 5, 1, 5, 4, 7], -1.00206), (&[3, 0, 0, 6, 0, 5, 6, 4, 7], -1.01939)]),
        ((3, 1.0, Full), &[7], 10, &[(&[6, 2, 6, 2, 2, 4, 3, 4, 7], -0.98363), (&[3, 0, 0, 6, 0, 5, 6, 4, 7], -1.01939), (&[6, 2, 7], -1.08816)]),
        ((3, 1.0, Heuristic), &[7], 10, &[(&[6, 2, 6, 2, 2, 4, 3, 4, 7], -0.98363), (&[3, 0, 0, 6, 0, 5, 1, 5, 4, 7], -1.00206), (&[3, 0, 0, 6, 0, 5, 6, 4, 7], -1.01939)]),
        ((3, 1.0, Never), &[7], 10, &[(&[6, 2, 6, 2, 2, 4, 3, 4, 7], -0.98363), (&[3, 0, 0, 6, 0, 5, 1, 5, 4, 7], -1.00206), (&[3, 0, 0, 6, 0, 5, 6, 4, 7], -1.01939)]),
        ((4, 0.0, Heuristic), &[7, 3], 12, &[(&[7], -0.92894), (&[6, 7], -2.60273), (&[6, 2, 7], -3.26447), (&[1, 7], -3.349)]),
        ((4, 2.0, Heuristic), &[7, 3], 12, &[(&[6, 2, 6, 5, 4, 2, 6, 4, 6, 5, 6, 0], -0.09136), (&[6, 2, 6, 5, 4, 2, 6, 0, 6, 5, 6, 0], -0.09149), (&[6, 2, 6, 2, 2, 4, 6, 4, 6, 5, 6, 0], -0.09154), (&[6, 2, 6, 5, 0, 5, 1, 5, 4, 5, 6, 0], -0.09257)]),
        ((4, 2.0, Never), &[7, 3], 12, &[(&[6, 2, 6, 5, 4, 2, 6, 4, 6, 5, 6, 0], -0.09136), (&[6, 2, 6, 5, 4, 2, 6, 0, 6, 5, 6, 0], -0.09149), (&[6, 2, 6, 2, 2, 4, 6, 4, 6, 5, 6, 0], -0.09154), (&[6, 2, 6, 5, 0, 5, 1, 5, 4, 5, 6, 0], -0.09257)]),
        ((3, -1.0, Never), &[7, 3], 12, &[(&[7], -0.92894), (&[6, 7], -5.20545), (&[6, 2, 7], -9.79341)]),
        ((4, 1.0, Full), &[7, 3, 5], 12, &[(&[7], -0.92894), (&[6, 2, 7], -1.08816), (&[6, 2, 7], -1.24145), (&[6, 7], -1.30136)]),
        ((3, 0.5, Heuristic), &[], 5, &[(&[3, 0, 0, 6, 1], -2.19302), (&[3, 0, 0, 6, 0], -2.32052), (&[6, 2, 6, 2, 2], -2.39758)]),
        ((2, 1.5, Full), &[6], 7, &[(&[3, 0, 0, 6], -0.52776), (&[6], -1.19298)]),
    ];
    for (options, stop, limit, expected) in cases {
        let found = search(options, stop, limit, logits);
        assert_eq!(found.len(), expected.len(), "{options:?}");
        for (found, (ids, score)) in found.iter().zip(expected) {
            // transformers writes the first of its stop tokens, whichever ended the reply.
            let written = |id: &TokenId| if stop.contains(&id.0) { stop[0] } else { id.0 };
            let new_ids: Vec<u32> = found.new_ids.iter().map(written).collect();
            assert_eq!(new_ids, *ids, "{options:?}");
            assert!((found.score - score).abs() < 1e-4, "{options:?} {}, expected {score}", found.score);
            let stopped = found.new_ids.last().is_some_and(|id| stop.contains(&id.0));
            assert_eq!(found.finish == FinishReason::Stop, stopped);
        }
    }
}

#[test]
fn a_single_beam_is_greedy() {
    let mut greedy: Vec<TokenId> = Vec::new();
    while greedy.len() < 10 && greedy.last() != Some(&TokenId(7)) {
        greedy.push(TokenId(largest(&logits(&greedy), 1)[0] as u32));
    }
    let found = search((1, 1.0, EarlyStopping::Heuristic), &[7], 10, logits);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].new_ids, greedy);
}

/// Every reply that can be: those that stop, and those of `limit` tokens.
fn all_replies(limit: usize, penalty: f32) -> Vec<(Vec<TokenId>, f32)> {
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), 0.0)];
    while let Some((ids, sum)) = open.pop() {
        for (index, log) in log_softmax(&small(&ids)).into_iter().enumerate() {
            let mut longer: Vec<TokenId> = ids.clone();
            longer.push(TokenId(index as u32));
            if index == 3 || longer.len() == limit {
                let score = (sum + log) / (longer.len() as f32).powf(penalty);
                found.push((longer, score));
            } else {
                open.push((longer, sum + log));
            }
        }
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

/// The language without its last four tokens; 3 is the stop token.
fn small(reply: &[TokenId]) -> Vec<f32> {
    logits(reply)[..4].to_vec()
}

#[test]
fn a_beam_as_wide_as_the_language_finds_the_best_replies_there_are() {
    for penalty in [0.0, 0.7, 1.0, 2.0] {
        let found = search((60, penalty, EarlyStopping::Never), &[3], 4, small);
        let expected = all_replies(4, penalty);
        for (found, (ids, score)) in found.iter().zip(&expected).take(12) {
            assert_eq!(found.new_ids, *ids, "penalty {penalty}");
            assert!((found.score - score).abs() < 1e-5);
        }
    }
}

#[test]
fn a_reply_of_no_tokens_is_empty() {
    let found = search((2, 1.0, EarlyStopping::Full), &[7], 0, logits);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].new_ids.len(), found[0].finish), (0, FinishReason::Length));
}

#[test]
fn a_beam_that_is_not_a_number_is_an_error() {
    let mut search = Search::new(BeamOptions::default(), Vec::new(), 3);
    let error = search.step(&[vec![f32::NAN; 4]]).unwrap_err().to_string();
    assert_eq!(error, "the logit of token `0` is NaN, expected a finite number");
}
