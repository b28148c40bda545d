//! Nothing leaks, through any number of layers, from what is written later.

use sequence::{AttentionPolicy, SpanKind};

use crate::support::{
    MARK, PADDING, REPLY, bits, build, cells, closure, every_layout, every_small,
};

#[test]
fn no_reply_learns_of_a_later_token_and_nothing_before_it_learns_of_a_reply() {
    every_layout(|pieces| {
        let (layout, cells) = (build(pieces), cells(pieces));
        for policy in AttentionPolicy::ALL {
            let reach = closure(bits(&policy.plan(&layout)));
            for (at, _) in cells.iter().enumerate().filter(|(_, cell)| cell.kind == REPLY) {
                let later = u64::MAX << at << 1;
                assert_eq!(reach[at] & later, 0, "{policy}: {at} of {pieces:?} reads ahead");
                let leak = reach[..at].iter().position(|reach| reach >> at & 1 == 1);
                assert_eq!(leak, None, "{policy}: a row reads reply {at} of {pieces:?}");
            }
        }
    });
}

#[test]
fn no_row_sees_padding() {
    every_small(5, |pieces| {
        let (layout, cells) = (build(pieces), cells(pieces));
        for policy in AttentionPolicy::ALL {
            let seen = bits(&policy.plan(&layout)).into_iter().fold(0, |all, row| all | row);
            let padding = cells.iter().enumerate().filter(|(_, cell)| cell.kind == PADDING);
            assert!(padding.into_iter().all(|(at, _)| seen >> at & 1 == 0), "{policy} {pieces:?}");
        }
    });
}

#[test]
fn text_that_is_learnt_without_a_mark_never_learns_of_a_later_token() {
    every_small(6, |pieces| {
        if pieces.iter().any(|(kind, _)| *kind == MARK) {
            return;
        }
        let (layout, cells) = (build(pieces), cells(pieces));
        for policy in AttentionPolicy::ALL {
            let reach = closure(bits(&policy.plan(&layout)));
            let text =
                cells.iter().enumerate().filter(|(_, c)| matches!(c.kind, SpanKind::Text(_)));
            for (at, _) in text {
                assert_eq!(reach[at] & (u64::MAX << at << 1), 0, "{policy}: {at} of {pieces:?}");
            }
        }
    });
}

/// So a reply can be written token by token, and the cache of a finished turn stays.
#[test]
fn a_layout_cut_after_a_mark_or_within_a_reply_has_the_first_rows_of_the_whole() {
    every_layout(|pieces| {
        let whole = build(pieces);
        for (at, last) in pieces.iter().enumerate() {
            if last.0 != MARK && last.0 != REPLY {
                continue;
            }
            let cut = build(&pieces[..=at]);
            for policy in AttentionPolicy::ALL {
                let (cut, whole) = (policy.plan(&cut), policy.plan_rows(&whole, 0..cut.len()));
                assert_eq!(cut.positions(), whole.positions(), "{policy} {pieces:?}");
                assert_eq!(cut.ranges(), whole.ranges(), "{policy} {pieces:?} cut at {at}");
                assert_eq!(cut.row_starts(), whole.row_starts(), "{policy} {pieces:?}");
            }
        }
    });
}
