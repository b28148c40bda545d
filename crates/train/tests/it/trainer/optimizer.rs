//! The optimizer against the formula, written out.

use train::optimizer::{AdamW, AdamWConfig};

#[test]
fn embeddings_are_not_decayed_and_the_rest_is() {
    let mut optimizer = AdamW::new(AdamWConfig { weight_decay: 0.5, ..AdamWConfig::default() });
    for (name, decayed) in [
        ("lang_model.model.embed_tokens.weight", false),
        ("lang_model.model.embed_tokens.additional_embedding.weight", false),
        ("lang_model.lm_head.weight", true),
        ("vision_tokenizer.latents", true),
    ] {
        let mut values = vec![2.0; 3];
        optimizer.update(name, &mut values, (&[0.0; 3], 1.0, 0.1));
        assert_eq!(values, [if decayed { 2.0 * 0.95 } else { 2.0 }; 3], "{name}");
    }
}

#[test]
fn three_steps_are_those_of_the_formula() {
    let config = AdamWConfig { weight_decay: 0.05, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(config);
    let mut values = [0.3_f32];
    let (mut p, mut m, mut v) = (0.3_f64, 0.0_f64, 0.0_f64);
    for (step, grad) in [(1, 0.7_f32), (2, -0.2), (3, 0.05)] {
        optimizer.update("w", &mut values, (&[grad], 0.5, 0.01));
        let g = f64::from(grad) * 0.5;
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        p *= 1.0 - 0.01 * 0.05;
        let (first, second) = (1.0 - 0.9_f64.powi(step), 1.0 - 0.999_f64.powi(step));
        p -= 0.01 * (m / first) / ((v / second).sqrt() + 1e-8);
        assert!((f64::from(values[0]) - p).abs() < 1e-6, "step {step}: {} {p}", values[0]);
    }
}

#[test]
fn what_has_a_rate_of_its_own_changes_by_it() {
    let scales = [("a.*", 0.25), ("*.still", 0.0)].map(|(name, scale)| (name.to_owned(), scale));
    let config = AdamWConfig { lr_scale: scales.into(), ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(config);
    let mut alike = AdamW::new(AdamWConfig::default());
    for (name, rate) in [("b", 0.01), ("a.b", 0.0025), ("c.still", 0.0), ("a.still", 0.0)] {
        let (mut values, mut expected) = ([0.3_f32, -2.0], [0.3_f32, -2.0]);
        for grad in [[0.7, 0.1], [-0.2, 0.4]] {
            optimizer.update(name, &mut values, (&grad, 1.0, 0.01));
            alike.update(name, &mut expected, (&grad, 1.0, rate));
        }
        assert_eq!(values.map(f32::to_bits), expected.map(f32::to_bits), "{name}");
    }
}
