use engine::{BeamOptions, BeamRequest, CancelToken, EarlyStopping, FinishReason, Session};
use sequence::{AttentionPolicy, TokenId};

use crate::golden::{Golden, base, gqa, longrope};

fn request(golden: &Golden, index: usize, options: BeamOptions) -> BeamRequest {
    BeamRequest {
        prompt: golden.prompt(index, AttentionPolicy::ModalityMutual),
        options,
        stop: golden.stop.clone(),
        max_new_tokens: 40,
        cancel: CancelToken::new(),
    }
}

fn options(width: usize, length_penalty: f32, early_stopping: EarlyStopping) -> BeamOptions {
    BeamOptions { width, length_penalty, early_stopping }
}

#[test]
fn a_single_beam_is_greedy() {
    for golden in [base(), gqa(), longrope()] {
        let mut session = Session::new(&golden.aki).unwrap();
        for (index, sample) in golden.samples.iter().enumerate() {
            let options = BeamOptions { width: 1, ..BeamOptions::default() };
            let found = session.beam_search(&request(golden, index, options)).unwrap();
            assert_eq!(found.hypotheses.len(), 1);
            assert_eq!(found.hypotheses[0].new_ids, sample.new_ids);
            assert_eq!(found.timings.new_tokens, sample.new_ids.len());
        }
    }
}

type Replies = &'static [(&'static [u32], f32)];

/// Expected values: `generate` of transformers 4.41.2 on the second prompt of generate.json, every
/// step a whole forward pass under the mutual mask.
#[rustfmt::skip]
const EXPECTED: [(&str, [Replies; 3]); 3] = [
    ("base", [
        &[(&[31, 16, 106, 478, 437, 494, 223, 215, 493, 110, 79, 106], -3.39044), (&[31, 16, 106, 478, 437, 494, 223, 215, 493, 42, 484, 333], -3.41881), (&[31, 16, 106, 478, 437, 494, 223, 215, 16, 106, 493, 258], -3.44874)],
        &[(&[31, 496], -4.38105), (&[31, 493, 496], -5.27687), (&[31, 16, 496], -5.30017), (&[31, 472, 102, 167, 111, 493, 496], -8.5582)],
        &[(&[31, 16, 106, 478, 137, 445, 494, 223, 493, 110], -0.3433), (&[31, 16, 106, 478, 137, 445, 494, 223, 478, 390], -0.34424)],
    ]),
    ("gqa", [
        &[(&[155, 448, 473, 396, 173, 47, 340, 348, 155, 448, 473, 498], -3.42286), (&[155, 448, 473, 396, 173, 47, 340, 348, 155, 448, 137, 488], -3.44634), (&[155, 448, 473, 396, 173, 47, 340, 348, 155, 448, 473, 246], -3.46312)],
        &[(&[155, 448, 473, 396, 173, 47, 340, 348, 155, 448, 137, 488, 110, 496], -12.94393), (&[155, 448, 473, 396, 173, 47, 340, 348, 155, 256, 350, 280, 280, 280, 448, 163], -13.88056), (&[155, 448, 473, 396, 173, 47, 340, 348, 155, 256, 350, 280, 280, 280, 448, 286], -13.88611), (&[155, 448, 473, 396, 173, 47, 340, 348, 155, 256, 350, 280, 280, 280, 448, 473], -13.92328)],
        &[(&[155, 448, 473, 396, 173, 47, 340, 348, 155, 448], -0.34067), (&[155, 448, 473, 396, 173, 47, 340, 348, 155, 256], -0.34508)],
    ]),
    ("longrope", [
        &[(&[247, 191, 345, 24, 494, 116, 190, 137, 478, 9, 341, 500], -3.52334), (&[247, 191, 345, 24, 494, 116, 190, 137, 478, 9, 419, 385], -3.57437), (&[247, 191, 345, 478, 9, 324, 40, 140, 16, 147, 340, 71], -3.57681)],
        &[(&[211, 251, 496], -6.53687), (&[6, 106, 58, 496], -7.26392), (&[247, 191, 345, 478, 496], -8.15849), (&[247, 191, 345, 24, 496], -8.16784)],
        &[(&[211, 373, 78, 1, 201, 436, 167, 380, 28, 271], -0.34745), (&[211, 373, 78, 1, 201, 436, 167, 380, 102, 340], -0.35193)],
    ]),
];

#[test]
fn the_hypotheses_are_those_of_transformers() {
    for ((name, expected), golden) in EXPECTED.into_iter().zip([base(), gqa(), longrope()]) {
        let greedy = &golden.samples[1].new_ids;
        let mut stop = golden.stop.clone();
        stop.extend(&greedy[2..4]);
        let searches = [
            (options(3, 1.0, EarlyStopping::Heuristic), golden.stop.clone(), 12),
            (options(4, 0.5, EarlyStopping::Full), stop, 16),
            (options(2, 2.0, EarlyStopping::Never), vec![greedy[5]], 10),
        ];
        let mut session = Session::new(&golden.aki).unwrap();
        for ((options, stop, max_new_tokens), expected) in searches.into_iter().zip(expected) {
            let request =
                BeamRequest { stop: stop.clone(), max_new_tokens, ..request(golden, 1, options) };
            let found = session.beam_search(&request).unwrap().hypotheses;
            assert_eq!(found.len(), expected.len());
            for (found, (ids, score)) in found.iter().zip(expected) {
                // transformers writes the first of its stop tokens, whichever ended the reply.
                let written = |id: &TokenId| if stop.contains(id) { stop[0].0 } else { id.0 };
                let new_ids: Vec<u32> = found.new_ids.iter().map(written).collect();
                assert_eq!(new_ids, *ids, "{name} {options:?}");
                assert!((found.score - score).abs() < 1e-3, "{} of {score}", found.score);
            }
        }
    }
}

#[test]
fn a_cancelled_search_returns_what_it_has() {
    let golden = base();
    let request = request(golden, 0, options(3, 1.0, EarlyStopping::Heuristic));
    request.cancel.cancel();
    let found = Session::new(&golden.aki).unwrap().beam_search(&request).unwrap();
    let ends: Vec<_> = found.hypotheses.iter().map(|h| (h.new_ids.len(), h.finish)).collect();
    assert_eq!(ends, [(1, FinishReason::Cancelled); 3]);
}
