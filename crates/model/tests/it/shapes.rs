//! The names and shapes of a checkpoint's tensors.

use std::collections::BTreeMap;

use model::AkiConfig;

use crate::support::{self, SETS};

/// The published checkpoint: name, shape, and in how many layers `N`.
const PUBLISHED: &str = include_str!("../fixtures/aki-4b.txt");

fn published() -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    for line in PUBLISHED.lines() {
        let parts: Vec<_> = line.split(' ').collect();
        let &[name, shape, times] = parts.as_slice() else { panic!("`{line}` has other parts") };
        let shape: Vec<usize> =
            shape.split(',').map(|size| size.parse().expect("a size is a number")).collect();
        let times = times.trim_start_matches('x').parse().expect("a count is a number");
        for layer in 0..times {
            let name = name.replacen(".N.", &format!(".{layer}."), 1);
            let before = shapes.insert(name, shape.clone());
            assert!(before.is_none(), "`{line}` comes twice");
        }
    }
    shapes
}

#[test]
fn the_published_model_has_the_tensors_of_its_checkpoint() {
    let shapes = AkiConfig::preset("aki-4b").unwrap().tensor_shapes();
    assert_eq!(shapes.len(), 718);
    let num_parameters: usize =
        shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(num_parameters, 4_330_957_954);
    assert_eq!(shapes.into_iter().collect::<BTreeMap<_, _>>(), published());
}

#[test]
fn the_golden_models_have_exactly_the_tensors_of_their_configurations() {
    for set in SETS {
        let config = support::config(set);
        let stored = support::tensors(set);
        let stored: BTreeMap<_, _> = stored.into_iter().map(|(name, t)| (name, t.shape)).collect();
        assert_eq!(config.tensor_shapes().into_iter().collect::<BTreeMap<_, _>>(), stored);
        assert!(config.unused_tensors(&support::open(set, "model")).is_empty());
    }
}

#[test]
fn a_tensor_that_the_configuration_does_not_ask_for_is_reported() {
    let mut tensors = support::tensors("base");
    let norm = tensors["lang_model.model.norm.weight"].clone();
    tensors.insert("lang_model.model.norm.extra".to_owned(), norm);
    let (_directory, checkpoint) = support::save(&tensors);
    let config = support::config("base");
    assert_eq!(config.unused_tensors(&checkpoint), ["lang_model.model.norm.extra"]);
}
