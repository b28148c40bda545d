//! Some rows of a plan, what of a cache stays valid, and how much memory a plan takes.

use proptest::prelude::*;
use sequence::{AttentionPlan, AttentionPolicy, Layout, image_grid};

use crate::support::{IMAGE, PADDING, Piece, bits, build, closure, every_small, large};

/// Checks that `part` is the rows of `whole` from its first on.
fn assert_rows(part: &AttentionPlan, whole: &AttentionPlan, what: &dyn std::fmt::Debug) {
    assert_eq!(part.num_columns(), whole.num_columns());
    for row in 0..part.num_rows() {
        let in_whole = part.first_row() + row;
        assert_eq!(part.positions()[row], whole.positions()[in_whole], "{what:?}");
        assert_eq!(part.visible(row), whole.visible(in_whole), "{what:?}");
    }
}

#[test]
fn any_rows_planned_alone_are_those_of_the_whole() {
    every_small(4, |pieces| {
        let layout = build(pieces);
        for policy in AttentionPolicy::ALL {
            let whole = policy.plan(&layout);
            for start in 0..=layout.len() {
                for end in start..=layout.len() {
                    let part = policy.plan_rows(&layout, start..end);
                    assert_eq!((part.first_row(), part.num_rows()), (start, end - start));
                    assert_rows(&part, &whole, &(policy, pieces));
                }
            }
        }
    });
}

/// The longest prefix of positions of which none learns, through any number of layers, of one that
/// differs: in its input, its position id or its row.
fn reusable(cached: &AttentionPlan, later: &AttentionPlan, num_equal: usize) -> usize {
    let (a, b) = (bits(cached), bits(later));
    let num_rows = a.len().min(b.len());
    let (a_reach, b_reach) = (closure(a.clone()), closure(b.clone()));
    let differs = |at: usize| {
        at >= num_equal.min(num_rows)
            || a[at] != b[at]
            || cached.positions()[at] != later.positions()[at]
    };
    let valid = |at: usize| {
        let learns_of = a_reach[at] | b_reach[at] | 1 << at;
        (0..64).all(|column| learns_of >> column & 1 == 0 || !differs(column))
    };
    (0..num_rows).take_while(|&at| valid(at)).count()
}

#[test]
fn the_reusable_prefix_is_what_depends_on_nothing_that_differs() {
    let mut layouts = Vec::new();
    every_small(3, |pieces| layouts.push((pieces.to_vec(), build(pieces))));
    for policy in AttentionPolicy::ALL {
        let plans: Vec<_> = layouts.iter().map(|(_, layout)| policy.plan(layout)).collect();
        for (cached, (pieces, _)) in plans.iter().zip(&layouts) {
            for (later, (others, _)) in plans.iter().zip(&layouts) {
                let equal = pieces.iter().zip(others).take_while(|(a, b)| a == b);
                let num_equal = equal.map(|(piece, _)| piece.1).sum::<usize>();
                for num_equal in [num_equal, num_equal.saturating_sub(1)] {
                    assert_eq!(
                        cached.reusable_prefix(later, num_equal),
                        reusable(cached, later, num_equal),
                        "{policy}: {num_equal} of {pieces:?} for {others:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn another_question_reuses_what_is_before_the_image_and_a_further_turn_all_that_is_before_it() {
    let opening = Layout::new().text(sequence::Role::System, 3).image(4);
    let asked = opening.clone().text(sequence::Role::User, 5).reply_mark();
    let replied = asked.clone().text(sequence::Role::Assistant, 6);
    let again = replied.clone().text(sequence::Role::User, 2).image(4).reply_mark();
    let longer = opening.text(sequence::Role::User, 7).reply_mark();
    let reusable = |policy: AttentionPolicy, a: &Layout, b, num_equal| {
        policy.plan(a).reusable_prefix(&policy.plan(b), num_equal)
    };
    for (policy, other_question) in [
        (AttentionPolicy::Causal, 8),
        (AttentionPolicy::ModalityMutual, 3),
        (AttentionPolicy::ConcentricCausal, 8),
        (AttentionPolicy::Prefix, 0),
        (AttentionPolicy::ImageBidirectional, 8),
    ] {
        assert_eq!(reusable(policy, &asked, &longer, 8), other_question, "{policy}");
    }
    for policy in AttentionPolicy::ALL {
        assert_eq!(reusable(policy, &replied, &again, replied.len()), replied.len());
    }
}

fn image_len(pieces: &[Piece]) -> usize {
    pieces.iter().filter(|(kind, _)| *kind == IMAGE).map(|(_, len)| *len).max().unwrap_or(1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cache_of_a_common_start_is_reused_as_far_as_it_is_valid(
        start in prop::collection::vec(small_piece(), 0..6),
        tail in prop::collection::vec(small_piece(), 0..5),
        other in prop::collection::vec(small_piece(), 0..5),
    ) {
        let num_equal = start.iter().map(|(_, len)| len).sum();
        let (cached, later) = (build(&[&start[..], &tail].concat()), build(&[&start[..], &other].concat()));
        for policy in AttentionPolicy::ALL {
            let (cached, later) = (policy.plan(&cached), policy.plan(&later));
            prop_assert_eq!(
                cached.reusable_prefix(&later, num_equal),
                reusable(&cached, &later, num_equal),
                "{}", policy
            );
        }
    }

    #[test]
    fn a_row_takes_few_ascending_ranges_that_do_not_touch(pieces in large()) {
        let layout = build(&pieces);
        let paddings = pieces.iter().filter(|(kind, _)| *kind == PADDING).count();
        let most = (layout.num_images() + 1).max(image_grid(image_len(&pieces)).0.max(12)) + paddings;
        for policy in AttentionPolicy::ALL {
            let plan = policy.plan(&layout);
            for row in 0..plan.num_rows() {
                let ranges = plan.visible(row);
                prop_assert!(ranges.len() <= most, "{policy}: {ranges:?}");
                prop_assert!(ranges.iter().all(|range| range.start < range.end));
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}

fn small_piece() -> impl Strategy<Value = Piece> {
    let kinds = [crate::support::USER, crate::support::REPLY, IMAGE, crate::support::MARK, PADDING];
    (prop::sample::select(kinds.to_vec()), 1..6usize)
}
