//! From ids that were tokenized elsewhere to a layout.

use sequence::{Layout, Role, SpanKind, TokenId};

use crate::{Error, SpecialTokens};

/// Returns the layout of reference-style ids, each `<image>` expanded to `num_vision_tokens`.
///
/// Text before the first role token counts as the system's. A reply ends with its `<|end|>`; what
/// follows up to the next role token counts as the user's, as a new turn. Where `mask` is given,
/// ids with `false` are padding.
///
/// # Errors
/// If `mask` is not as long as `ids`.
pub fn layout_of(
    ids: &[TokenId],
    mask: Option<&[bool]>,
    special: &SpecialTokens,
    num_vision_tokens: usize,
) -> Result<Layout, Error> {
    if let Some(mask) = mask.filter(|mask| mask.len() != ids.len()) {
        return Err(Error::MaskLength { found: mask.len(), expected: ids.len() });
    }
    let mut layout = Layout::new();
    let mut role = Role::System;
    for (at, &id) in ids.iter().enumerate() {
        if mask.is_some_and(|mask| !mask[at]) {
            layout.push(SpanKind::Padding, 1);
            continue;
        }
        if id == special.system {
            role = Role::System;
        } else if id == special.user {
            role = Role::User;
        }
        if id == special.image {
            layout.push(SpanKind::Image, num_vision_tokens);
        } else if id == special.assistant {
            layout.push(SpanKind::ReplyMark, 1);
            role = Role::Assistant;
        } else {
            layout.push(SpanKind::Text(role), 1);
            if id == special.end && role == Role::Assistant {
                role = Role::User;
            }
        }
    }
    Ok(layout)
}
