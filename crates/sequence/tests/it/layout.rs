//! Layouts.

use sequence::{AttentionPlan, AttentionPolicy, Layout, Role, Span, SpanKind, UnknownPolicy};

use crate::support::{IMAGE, MARK, USER, every_small};

#[test]
fn neighbouring_text_of_one_role_is_one_span_and_neighbouring_images_are_two() {
    let layout =
        Layout::new().text(Role::User, 1).text(Role::User, 2).image(4).image(4).image(0).padding(0);
    let image = Span { kind: IMAGE, len: 4 };
    assert_eq!(layout.spans(), [Span { kind: USER, len: 3 }, image, image]);
    assert_eq!(layout.images().collect::<Vec<_>>(), [3..7, 7..11]);
    assert_eq!((layout.len(), layout.num_images(), layout.num_ids()), (11, 2, 5));
}

#[test]
fn slots_cover_all_positions_and_all_ids_in_order() {
    every_small(4, |pieces| {
        let layout = crate::support::build(pieces);
        let (mut position, mut id) = (0, 0);
        for slot in layout.slots() {
            assert_eq!((slot.positions.start, slot.ids.start), (position, id), "{pieces:?}");
            let num_ids = if slot.kind == IMAGE { 1 } else { slot.positions.len() };
            assert_eq!(slot.ids.len(), num_ids, "{pieces:?}");
            (position, id) = (slot.positions.end, slot.ids.end);
        }
        assert_eq!((position, id), (layout.len(), layout.num_ids()));
    });
}

#[test]
fn an_empty_layout_has_an_empty_plan() {
    let layout = Layout::new();
    assert!(layout.is_empty());
    assert_eq!(layout.num_ids(), 0);
    for policy in AttentionPolicy::ALL {
        let plan = policy.plan(&layout);
        assert_eq!(
            (plan.num_rows(), plan.to_dense().len(), plan.to_string()),
            (0, 0, String::new())
        );
    }
}

#[test]
fn the_plain_causal_plan_is_that_of_the_causal_policy() {
    for len in 0..5 {
        let layout = Layout::new().text(Role::User, len);
        assert_eq!(AttentionPlan::causal(len), AttentionPolicy::Causal.plan(&layout));
    }
    let full = AttentionPlan::full(2, 3);
    assert_eq!(full.to_dense(), [true; 6]);
    assert_eq!((full.num_rows(), full.num_columns(), full.positions()), (2, 3, &[0, 1][..]));
}

#[test]
fn policies_are_named_and_an_unknown_name_is_refused() {
    for policy in AttentionPolicy::ALL {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    let error = "flash".parse::<AttentionPolicy>().unwrap_err();
    assert_eq!(error, UnknownPolicy { name: "flash".to_owned() });
    let start =
        "unknown attention policy `flash`, expected one of `causal`, `mutual`, `concentric`";
    assert!(error.to_string().starts_with(start), "{error}");
    assert!(AttentionPolicy::names().starts_with("causal, mutual, concentric"));
    for policy in AttentionPolicy::ALL {
        assert!(error.to_string().contains(&format!("`{policy}`")), "{error}");
        assert!(AttentionPolicy::names().contains(policy.name()), "{policy}");
    }
}

#[test]
fn two_marks_are_two_spans() {
    let layout = Layout::new().reply_mark().reply_mark();
    assert_eq!(layout.spans(), [Span { kind: SpanKind::ReplyMark, len: 1 }; 2]);
    assert_eq!(layout.spans()[0].kind, MARK);
}
