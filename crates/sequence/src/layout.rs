//! The layout of one expanded sequence: runs of positions of one kind.

use std::ops::Range;

/// An id of the tokenizer's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub u32);

/// Who speaks a run of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The instructions before the first turn.
    System,
    /// The questions.
    User,
    /// The replies, after the mark that opens them.
    Assistant,
}

/// What a run of positions holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Text of one speaker, role tokens included.
    Text(Role),
    /// The vision tokens of one image; two images are two spans.
    Image,
    /// `<|assistant|>`, the end of a turn's prompt. One span is one mark, of however many tokens a
    /// template gives it; what follows a mark, a second mark too, is not of its prompt.
    ReplyMark,
    /// Positions that nobody may see.
    Padding,
}

/// A run of positions of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// What the positions hold.
    pub kind: SpanKind,
    /// How many positions there are; never zero in a [`Layout`].
    pub len: usize,
}

/// A span with its place among the expanded positions and among the ids of the prompt, where one
/// `<image>` stands for a whole image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// What the span holds.
    pub kind: SpanKind,
    /// The positions it covers.
    pub positions: Range<usize>,
    /// The ids it takes: one for an image, else as many as it has positions.
    pub ids: Range<usize>,
}

/// The spans of one sequence in order, vision tokens expanded.
///
/// Neighbouring text of one role is one span, so equal sequences have equal layouts; images are
/// never merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layout {
    spans: Vec<Span>,
    len: usize,
}

impl Layout {
    /// Returns the empty layout.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `len` positions of `kind`; nothing if `len` is zero.
    pub fn push(&mut self, kind: SpanKind, len: usize) {
        if len == 0 {
            return;
        }
        self.len += len;
        match self.spans.last_mut() {
            Some(last) if last.kind == kind && kind.merges() => last.len += len,
            _ => self.spans.push(Span { kind, len }),
        }
    }

    /// Appends text of `role`.
    #[must_use]
    pub fn text(mut self, role: Role, len: usize) -> Self {
        self.push(SpanKind::Text(role), len);
        self
    }

    /// Appends one image of `len` vision tokens.
    #[must_use]
    pub fn image(mut self, len: usize) -> Self {
        self.push(SpanKind::Image, len);
        self
    }

    /// Appends the token that opens a reply.
    #[must_use]
    pub fn reply_mark(mut self) -> Self {
        self.push(SpanKind::ReplyMark, 1);
        self
    }

    /// Appends padding.
    #[must_use]
    pub fn padding(mut self, len: usize) -> Self {
        self.push(SpanKind::Padding, len);
        self
    }

    /// Returns the spans in order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Returns every span with the positions it covers.
    pub fn placed(&self) -> impl Iterator<Item = (SpanKind, Range<usize>)> + '_ {
        self.spans.iter().scan(0, |at, span| {
            let start = *at;
            *at += span.len;
            Some((span.kind, start..*at))
        })
    }

    /// Returns every span with the positions and the ids it covers.
    ///
    /// ```
    /// use sequence::{Layout, Role};
    ///
    /// let layout = Layout::new().text(Role::User, 2).image(144).reply_mark();
    /// let ids: Vec<_> = layout.slots().map(|slot| slot.ids).collect();
    /// assert_eq!(ids, [0..2, 2..3, 3..4]);
    /// assert_eq!(layout.num_ids(), 4);
    /// ```
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.placed().scan(0, |at, (kind, positions)| {
            let start = *at;
            *at += if kind == SpanKind::Image { 1 } else { positions.len() };
            Some(Slot { kind, positions, ids: start..*at })
        })
    }

    /// Returns the positions of every image.
    pub fn images(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.placed().filter(|(kind, _)| *kind == SpanKind::Image).map(|(_, range)| range)
    }

    /// Returns the number of ids that the layout was expanded from.
    pub fn num_ids(&self) -> usize {
        self.slots().last().map_or(0, |slot| slot.ids.end)
    }

    /// Returns the number of positions.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no positions.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of images.
    pub fn num_images(&self) -> usize {
        self.images().count()
    }
}

impl SpanKind {
    /// Returns whether two neighbouring spans of this kind are one: an image is a unit, and so is
    /// the mark of a reply.
    fn merges(self) -> bool {
        matches!(self, Self::Text(_) | Self::Padding)
    }
}
