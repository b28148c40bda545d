//! What a multimodal sequence is made of, and who may read whom.
//!
//! A [`Layout`] says which positions of an expanded sequence are text, image, the
//! `<|assistant|>` mark that opens a reply, or padding. An [`AttentionPolicy`] turns a layout into
//! an [`AttentionPlan`]: a position id for every row and the few column ranges that the row sees.
//! Everything that attends reads the plan; no other code compares roles.
//!
//! Invariant: a plan's row never sees padding, and a reply is never visible, through any number of
//! layers, to anything that is fixed before the reply is written.
//!
//! ```
//! use sequence::{AttentionPolicy, Layout, Role};
//!
//! let layout = Layout::new()
//!     .text(Role::System, 1)
//!     .image(2)
//!     .text(Role::User, 2)
//!     .reply_mark()
//!     .text(Role::Assistant, 1);
//! let plan = AttentionPolicy::ModalityMutual.plan(&layout);
//! let rows = [
//!     "#......",
//!     "##.###.", // the image sees the question, through <|assistant|>
//!     "######.",
//!     "####...",
//!     "#####..",
//!     "######.",
//!     "#######",
//! ];
//! assert_eq!(plan.to_string().lines().collect::<Vec<_>>(), rows);
//! ```
#![forbid(unsafe_code)]

mod layout;
mod plan;
mod policy;

pub use layout::{Layout, Role, Slot, Span, SpanKind, TokenId};
pub use plan::AttentionPlan;
pub use policy::{AttentionPolicy, UnknownPolicy, image_grid, image_rings};
