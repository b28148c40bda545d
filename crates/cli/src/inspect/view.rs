//! A prompt's layout and masks, as text and as JSON.

use std::fmt::Write;

use anyhow::Result;
use prompt::{Message, Tokenizer};
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role, SpanKind, TokenId};
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::load::Model;
use crate::{figure, input, runtime};

/// The longest prompt whose mask is printed as text.
const MAX_DRAWN: usize = 100;
/// How much of a block's text is shown.
const MAX_TEXT: usize = 48;

/// A prompt.
pub(super) struct View {
    tokenizer: Tokenizer,
    ids: Vec<TokenId>,
    layout: Layout,
}

impl View {
    /// Encodes the question as `aki ask` would; no weights are needed.
    ///
    /// # Errors
    /// If an image or the tokenizer cannot be read.
    pub(super) fn new(model: &Model, args: &InspectArgs) -> Result<Self> {
        for image in &args.image {
            input::image(image)?;
        }
        let tokenizer = model.tokenizer()?;
        let question = args.question.as_deref().unwrap_or_default();
        let parts = prompt::parse_question(question, args.image.len())?;
        let num_vision_tokens = model.config()?.num_vision_tokens;
        let template = runtime::template(args.system.as_deref());
        let encoded = template.encode(&tokenizer, &[Message::user(parts)], num_vision_tokens)?;
        let mut view = Self { tokenizer, ids: encoded.ids, layout: encoded.layout };
        if let Some(reply) = &args.reply {
            let ids = view.tokenizer.encode(reply, false)?;
            view.layout.push(SpanKind::Text(Role::Assistant), ids.len());
            view.ids.extend(ids);
        }
        Ok(view)
    }

    /// Returns the layout.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns every block with its ids.
    fn blocks(&self) -> Vec<(figure::Block, &[TokenId])> {
        let mut at = 0;
        figure::blocks(&self.layout)
            .into_iter()
            .map(|block| {
                let len = if block.kind == SpanKind::Image { 1 } else { block.len };
                at += len;
                (block, &self.ids[at - len..at])
            })
            .collect()
    }

    /// Returns the layout as a table and each policy's mask, drawn if the prompt is short.
    pub(super) fn text(&self, policies: &[AttentionPolicy]) -> String {
        let mut text = format!(
            "{} positions from {} ids\n\n{:<14} {:>11} {:>7}  text\n",
            self.layout.len(),
            self.ids.len(),
            "block",
            "positions",
            "tokens"
        );
        for (block, ids) in self.blocks() {
            let positions = match block.len {
                1 => block.start.to_string(),
                len => format!("{}..{}", block.start, block.start + len - 1),
            };
            let shown = match block.kind {
                SpanKind::Image => String::new(),
                _ => shorten(&format!("{:?}", self.tokenizer.decode(ids, false))),
            };
            let row = format!("{:<14} {positions:>11} {:>7}  {shown}", block.label, block.len);
            let _ = writeln!(text, "{}", row.trim_end());
        }
        for policy in policies {
            let plan = policy.plan(&self.layout);
            let count = Count::of(&plan);
            let _ = writeln!(
                text,
                "\n{policy}: {} of {} pairs are read, {} of them opened beyond causal; position ids 0..{}",
                count.read,
                plan.num_rows() * plan.num_columns(),
                count.opened,
                plan.positions().iter().max().unwrap_or(&0)
            );
            if self.layout.len() <= MAX_DRAWN {
                let _ = write!(text, "\n{plan}");
            }
        }
        if self.layout.len() > MAX_DRAWN {
            text.push_str(
                "\nThe prompt is too long to draw its mask as text; --mask OUT.png draws it.\n",
            );
        }
        text
    }

    /// Returns the same for programs.
    pub(super) fn json(&self, policies: &[AttentionPolicy]) -> Value {
        let blocks: Vec<Value> = self
            .blocks()
            .iter()
            .map(|(block, _)| json!({ "label": block.label, "start": block.start, "len": block.len }))
            .collect();
        let policies: Vec<Value> = policies
            .iter()
            .map(|policy| {
                let plan = policy.plan(&self.layout);
                let count = Count::of(&plan);
                let visible: Vec<Vec<(u32, u32)>> = (0..plan.num_rows())
                    .map(|row| plan.visible(row).iter().map(|r| (r.start, r.end)).collect())
                    .collect();
                json!({
                    "name": policy.name(),
                    "positions": plan.positions(),
                    "visible": visible,
                    "read": count.read,
                    "opened": count.opened,
                })
            })
            .collect();
        json!({
            "ids": self.ids.iter().map(|id| id.0).collect::<Vec<_>>(),
            "positions": self.layout.len(),
            "blocks": blocks,
            "policies": policies,
        })
    }
}

/// How many pairs of row and column a plan has.
struct Count {
    read: usize,
    /// Those with the column after the row.
    opened: usize,
}

impl Count {
    fn of(plan: &AttentionPlan) -> Self {
        let mut count = Self { read: 0, opened: 0 };
        for row in 0..plan.num_rows() {
            for range in plan.visible(row) {
                let (start, end) = (range.start as usize, range.end as usize);
                count.read += end - start;
                count.opened += end.saturating_sub(start.max(plan.first_row() + row + 1));
            }
        }
        count
    }
}

/// Cuts a text in its middle.
fn shorten(text: &str) -> String {
    let len = text.chars().count();
    if len <= MAX_TEXT {
        return text.to_owned();
    }
    let half = MAX_TEXT / 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(len - half).collect();
    format!("{start} \u{2026} {end}")
}
