//! The plan equals the definition.

use proptest::prelude::*;
use sequence::AttentionPolicy;

use crate::support::{build, cells, defined, every_layout, large};

#[test]
fn every_policy_equals_its_definition_over_all_small_layouts() {
    let mut num_layouts = 0;
    every_layout(|pieces| {
        let (layout, cells) = (build(pieces), cells(pieces));
        for policy in AttentionPolicy::ALL {
            let found = policy.plan(&layout);
            assert!(
                found.to_dense() == defined(policy, &cells),
                "{policy} of {pieces:?} is\n{found}"
            );
        }
        num_layouts += 1;
    });
    assert!(num_layouts > 100_000, "only {num_layouts} layouts");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_policy_equals_its_definition_at_the_size_of_the_model(pieces in large()) {
        let (layout, cells) = (build(&pieces), cells(&pieces));
        for policy in AttentionPolicy::ALL {
            prop_assert!(policy.plan(&layout).to_dense() == defined(policy, &cells), "{policy}");
        }
    }
}
