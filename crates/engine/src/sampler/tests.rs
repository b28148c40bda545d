//! Expected values: transformers 4.41.2 (its logits processors and warpers, in the order in which
//! `generate` applies them) and `PyTorch`.

use super::*;

const LOGITS: [f32; 10] = [1.25, -0.5, 3.0, 2.75, 0.0, -2.0, 3.0, 1.0, -1.25, 2.0];
const PROMPT: [TokenId; 5] = [TokenId(2), TokenId(5), TokenId(9), TokenId(2), TokenId(1)];

fn sampler(options: SamplingOptions) -> Sampler {
    Sampler::new(Sampling::try_from(options).unwrap(), &PROMPT)
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-6, "{index}: {found}, expected {expected}");
    }
}

/// Temperature, top-k, top-p, min-p, repetition penalty.
type List = (f32, usize, f32, f32, f32);

fn options(list: List) -> SamplingOptions {
    let (temperature, top_k, top_p, min_p, repetition_penalty) = list;
    let off = SamplingOptions::default();
    SamplingOptions { temperature, top_k, top_p, min_p, repetition_penalty, ..off }
}

fn probabilities(list: List) -> Vec<f32> {
    let options = options(list);
    let mut scores = LOGITS.to_vec();
    sampler(options).penalise(&mut scores, options.repetition_penalty);
    filter(&mut scores, &options);
    log_softmax(&scores).iter().map(|log| log.exp()).collect()
}

#[test]
#[rustfmt::skip]
fn the_filters_leave_the_probabilities_that_transformers_leaves() {
    let cases: [(List, [f32; 10]); 9] = [
        ((1.0, 0, 1.0, 0.0, 1.0), [0.048_857_2, 0.008_490_1, 0.281_153_5, 0.218_962_6, 0.013_997_8, 0.001_894_4, 0.281_153_5, 0.038_05, 0.004_010_4, 0.103_430_6]),
        ((0.7, 0, 1.0, 0.0, 1.0), [0.026_458_2, 0.002_171_8, 0.322_326_8, 0.225_523_2, 0.004_436_4, 0.000_254_8, 0.322_326_8, 0.018_512_1, 0.000_743_9, 0.077_246]),
        // A tie for the last place keeps both.
        ((1.0, 1, 1.0, 0.0, 1.0), [0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0]),
        ((1.0, 3, 1.0, 0.0, 1.0), [0.0, 0.0, 0.359_867_5, 0.280_265_1, 0.0, 0.0, 0.359_867_5, 0.0, 0.0, 0.0]),
        ((1.0, 0, 0.8, 0.0, 1.0), [0.0, 0.0, 0.317_795_2, 0.247_499_2, 0.0, 0.0, 0.317_795_2, 0.0, 0.0, 0.116_910_3]),
        ((1.0, 0, 1.0, 0.2, 1.0), [0.0, 0.0, 0.317_795_2, 0.247_499_2, 0.0, 0.0, 0.317_795_2, 0.0, 0.0, 0.116_910_3]),
        ((1.0, 0, 1.0, 0.0, 1.5), [0.063_543_8, 0.008_599_7, 0.134_522_1, 0.284_783_4, 0.018_205_6, 0.000_906_4, 0.365_669_1, 0.049_487_9, 0.005_216, 0.069_066]),
        ((0.5, 6, 0.9, 0.05, 1.3), [0.0, 0.0, 0.134_855_5, 0.326_627_2, 0.0, 0.0, 0.538_517_2, 0.0, 0.0, 0.0]),
        ((1.5, 5, 0.6, 0.5, 0.8), [0.0, 0.0, 0.471_709_7, 0.242_183_8, 0.0, 0.0, 0.286_106_4, 0.0, 0.0, 0.0]),
    ];
    for (options, expected) in cases {
        close(&probabilities(options), &expected);
    }
}

#[test]
fn log_probabilities_are_those_of_pytorch_and_ties_come_in_the_order_of_their_ids() {
    let expected = [
        -3.018_855, -4.768_855, -1.268_854, -1.518_854, -4.268_855, -6.268_855, -1.268_854,
        -3.268_855, -5.518_855, -2.268_855,
    ];
    close(&log_softmax(&LOGITS), &expected);
    let found = logprobs(&LOGITS, TokenId(9), 3);
    close(&[found.logprob], &[-2.268_855]);
    assert_eq!(found.top.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [2, 6, 3]);
    close(
        &found.top.iter().map(|(_, log)| *log).collect::<Vec<_>>(),
        &[-1.268_854, -1.268_854, -1.518_854],
    );
    assert_eq!(logprobs(&LOGITS, TokenId(0), 99).top.len(), LOGITS.len());
    assert_eq!(logprobs(&LOGITS, TokenId(0), 0).top, []);
}

#[test]
fn greedy_takes_the_lowest_id_among_equals_and_obeys_the_repetition_penalty() {
    let greedy = SamplingOptions::default();
    assert_eq!(sampler(greedy).sample(LOGITS.to_vec()).unwrap(), TokenId(2));
    assert_eq!(sampler(greedy).sample(vec![-0.0, 0.0, -1.0]).unwrap(), TokenId(0));
    // Token 2 is in the prompt: 3.0 becomes 2.0. Then 6 has been said as well.
    let mut sampler = sampler(SamplingOptions { repetition_penalty: 1.5, ..greedy });
    let ids: Vec<u32> = (0..3).map(|_| sampler.sample(LOGITS.to_vec()).unwrap().0).collect();
    assert_eq!(ids, [6, 3, 2]);
}

#[test]
fn greedy_ignores_the_filters() {
    let mut sampler = sampler(options((0.0, 1, 0.1, 1.0, 1.0)));
    assert_eq!(sampler.sample(vec![0.0, 2.0, 1.0]).unwrap(), TokenId(1));
}

#[test]
fn draws_follow_the_probabilities() {
    let list = (0.7, 6, 0.95, 0.02, 1.2);
    let expected = probabilities(list);
    let mut scores = LOGITS.to_vec();
    let mut sampler = sampler(options(list));
    sampler.penalise(&mut scores, 1.2);
    filter(&mut scores, &options(list));
    let mut counts = [0.0_f32; 10];
    for _ in 0..40_000 {
        counts[sampler.draw(&scores)] += 1.0 / 40_000.0;
    }
    for (found, expected) in counts.iter().zip(&expected) {
        assert!((found - expected).abs() < 0.01, "{counts:?}, expected {expected:?}");
        assert_eq!(*found == 0.0, *expected == 0.0);
    }
}

#[test]
fn extreme_temperatures_and_logits_are_no_trouble() {
    let cold = SamplingOptions { temperature: f32::MIN_POSITIVE, ..SamplingOptions::default() };
    assert_eq!(sampler(cold).sample(vec![-3e38, 1.0, 3e38, 0.0]).unwrap(), TokenId(2));
    let hot = SamplingOptions { temperature: 100.0, top_p: 1e-9, ..SamplingOptions::default() };
    assert_eq!(sampler(hot).sample(vec![f32::NEG_INFINITY, 1.0, 1.5]).unwrap(), TokenId(2));
}

#[test]
fn logits_that_are_not_numbers_are_errors() {
    let message = |logits: &[f32]| {
        sampler(SamplingOptions::default()).sample(logits.to_vec()).unwrap_err().to_string()
    };
    let expected = "the logit of token `1` is NaN, expected a finite number";
    assert_eq!(message(&[0.0, f32::NAN, f32::NAN]), expected);
    let expected = "the logit of token `2` is inf, expected a finite number";
    assert_eq!(message(&[0.0, f32::NEG_INFINITY, f32::INFINITY]), expected);
    let expected = "every logit is minus infinity, expected at least one possible token";
    assert_eq!(message(&[f32::NEG_INFINITY; 3]), expected);
    assert_eq!(message(&[]), expected);
}

#[test]
fn top_p_rules_out_what_sorting_the_whole_vocabulary_would() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for case in 0..500 {
        let spread = [0.0, 0.1, 1.0, 5.0, 40.0][case % 5];
        let mut scores: Vec<f32> = (0..=case % 97).map(|_| -spread * rng.random::<f32>()).collect();
        if case % 7 == 0 {
            scores[0] = f32::NEG_INFINITY;
        }
        let p = rng.random::<f32>();
        let mut expected = scores.clone();
        let total: f64 = scores.iter().map(|score| f64::from(*score).exp()).sum();
        let mut tail = 0.0;
        for &index in largest(&scores, scores.len())[1..].iter().rev() {
            tail += f64::from(scores[index]).exp();
            if tail > (1.0 - f64::from(p)) * total {
                break;
            }
            expected[index] = f32::NEG_INFINITY;
        }
        keep_top_p(&mut scores, p);
        assert_eq!(scores, expected, "p {p} of spread {spread}");
    }
}
