//! The attention policies: from a layout to a plan.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::{AttentionPlan, Layout, Role, SpanKind};

/// Who may read whom. Rows are queries; padding columns are closed for every row under every policy.
///
/// The drawings show one turn, `s I I q q A r`: a system token, an image of two tokens, a question
/// of two, `<|assistant|>`, and a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttentionPolicy {
    /// Every row sees itself and what comes before: the baseline of the paper's Table 1.
    ///
    /// ```text
    /// s #......
    /// I ##.....
    /// I ###....
    /// q ####...
    /// q #####..
    /// A ######.
    /// r #######
    /// ```
    Causal,
    /// Modality-mutual attention (arXiv 2503.02597): causal, and an image also sees the text after
    /// it, through the `<|assistant|>` that ends its turn; not the images after it. The paper's
    /// formula ends at the question; its code, and so the published checkpoint, includes
    /// `<|assistant|>`. Where no `<|assistant|>` follows nothing opens.
    ///
    /// ```text
    /// s #......
    /// I ##.###.
    /// I ######.
    /// q ####...
    /// q #####..
    /// A ######.
    /// r #######
    /// ```
    #[default]
    ModalityMutual,
    /// Concentric causal attention (Xing et al., arXiv 2410.15926): the image's tokens form a grid
    /// of rings, 0 outermost. A token's position id is the image's first plus its ring, so that an
    /// image takes as many position ids as it has rings; inside an image a token sees the rings up
    /// to and including its own. Text is causal. Here the image is of nine tokens, a ring around
    /// one, and no question follows; the last column is the position id.
    ///
    /// ```text
    /// s #......... 0
    /// I #####.#### 1
    /// I #####.#### 1
    /// I #####.#### 1
    /// I #####.#### 1
    /// I ########## 2
    /// I #####.#### 1
    /// I #####.#### 1
    /// I #####.#### 1
    /// I #####.#### 1
    /// ```
    ConcentricCausal,
    /// The prompt of a turn, images and text through `<|assistant|>`, reads itself in both
    /// directions; replies are causal (`PaliGemma`, arXiv 2407.07726). Where no `<|assistant|>`
    /// follows only images read themselves, since the text is then what is learnt.
    ///
    /// ```text
    /// s ######.
    /// I ######.
    /// I ######.
    /// q ######.
    /// q ######.
    /// A ######.
    /// r #######
    /// ```
    Prefix,
    /// Causal, and an image's tokens all see each other (Gemma 3, arXiv 2503.19786).
    ///
    /// ```text
    /// s #......
    /// I ###....
    /// I ###....
    /// q ####...
    /// q #####..
    /// A ######.
    /// r #######
    /// ```
    ImageBidirectional,
}

/// The name of a policy that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy {
    /// What was asked for.
    pub name: String,
}

impl AttentionPolicy {
    /// Every policy, in the order of Table 1 and then of the neighbours.
    pub const ALL: [Self; 5] = [
        Self::Causal,
        Self::ModalityMutual,
        Self::ConcentricCausal,
        Self::Prefix,
        Self::ImageBidirectional,
    ];

    /// Returns the name used on command lines, in recipes and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Causal => "causal",
            Self::ModalityMutual => "mutual",
            Self::ConcentricCausal => "concentric",
            Self::Prefix => "prefix",
            Self::ImageBidirectional => "image-bidirectional",
        }
    }

    /// Returns all names in a sentence: "a, b or c".
    pub fn names() -> String {
        let names = Self::ALL.map(Self::name);
        let (last, others) = names.split_last().unwrap_or((&"", &[]));
        format!("{} or {last}", others.join(", "))
    }

    /// Returns the name as drawings have it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Causal => "Causal",
            Self::ModalityMutual => "Modality-mutual",
            Self::ConcentricCausal => "Concentric causal",
            Self::Prefix => "Prefix",
            Self::ImageBidirectional => "Image-bidirectional",
        }
    }

    /// Plans the whole sequence.
    pub fn plan(self, layout: &Layout) -> AttentionPlan {
        self.plan_rows(layout, 0..layout.len())
    }

    /// Plans the given rows; the columns are those of the whole layout.
    ///
    /// A decoding step plans one row, a further turn the rows that are not cached.
    ///
    /// # Panics
    /// If `rows` goes past the end of the layout.
    pub fn plan_rows(self, layout: &Layout, rows: Range<usize>) -> AttentionPlan {
        assert!(
            rows.end <= layout.len(),
            "rows {rows:?} of a layout of {} positions",
            layout.len()
        );
        let mut plan = AttentionPlan::with_rows(rows.start, rows.len(), layout.len());
        let scene = Scene::of(layout);
        let mut next_position = 0;
        for (index, block) in scene.blocks.iter().enumerate() {
            let rings = self.rings(block);
            let first_position = next_position;
            next_position += block.num_positions(rings.as_deref());
            let wanted = rows.start.max(block.range.start)..rows.end.min(block.range.end);
            for row in wanted {
                let offset = row - block.range.start;
                let position = match &rings {
                    Some(rings) => first_position + rings[offset] as usize,
                    None if block.leading => 0,
                    None => first_position + offset,
                };
                let visible = self.opened(&scene, index, row, rings.as_deref());
                plan.push_row(position as u32, scene.without_padding(visible));
            }
        }
        plan
    }

    /// Returns the ring of every token of an image under the concentric policy.
    fn rings(self, block: &Block) -> Option<Vec<u32>> {
        (self == Self::ConcentricCausal && block.kind == SpanKind::Image)
            .then(|| image_rings(block.range.len()))
    }

    /// Returns the columns that `row`, a position of block `index`, may see, padding not yet removed.
    fn opened(
        self,
        scene: &Scene,
        index: usize,
        row: usize,
        rings: Option<&[u32]>,
    ) -> Vec<Range<usize>> {
        let block = &scene.blocks[index];
        let is_image = block.kind == SpanKind::Image;
        let mut more = Vec::new();
        // What the row sees without a gap from the start; `more` is behind that.
        let end = match self {
            Self::ModalityMutual if is_image => {
                more.extend(scene.text_of_turn_after(index));
                row + 1
            }
            Self::ConcentricCausal => rings.map_or(row + 1, |rings| {
                let start = block.range.start;
                let runs = runs(rings, rings[row - start]);
                more.extend(runs.map(|run| start + run.start..start + run.end));
                start
            }),
            Self::Prefix => match scene.prompt_end(index) {
                Some(end) => end,
                None if is_image => block.range.end,
                None => row + 1,
            },
            Self::ImageBidirectional if is_image => block.range.end,
            Self::Causal | Self::ModalityMutual | Self::ImageBidirectional => row + 1,
        };
        std::iter::once(0..end).chain(more).collect()
    }
}

impl fmt::Display for AttentionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AttentionPolicy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.name() == name)
            .ok_or_else(|| UnknownPolicy { name: name.to_owned() })
    }
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = AttentionPolicy::ALL.map(AttentionPolicy::name).join("`, `");
        write!(f, "unknown attention policy `{}`, expected one of `{names}`", self.name)
    }
}

impl std::error::Error for UnknownPolicy {}

/// Returns the height and width of the grid that `len` image tokens form: the factors of `len`
/// closest to each other, the height not above the width.
///
/// The resampler's tokens have no place in the image, so this is a pseudo-grid: 12 x 12 for the
/// 144 of AKI-4B.
pub fn image_grid(len: usize) -> (usize, usize) {
    let height = (1..=len.isqrt()).rev().find(|height| len.is_multiple_of(*height)).unwrap_or(0);
    (height, len.checked_div(height).unwrap_or(0))
}

/// Returns the ring of each of `len` image tokens in the grid of [`image_grid`], row by row: the
/// distance to the nearest edge, 0 outermost.
pub fn image_rings(len: usize) -> Vec<u32> {
    let (height, width) = image_grid(len);
    (0..len)
        .map(|token| {
            let (y, x) = (token / width, token % width);
            y.min(x).min(height - 1 - y).min(width - 1 - x) as u32
        })
        .collect()
}

/// Returns the maximal runs of tokens whose ring is at most `ring`.
fn runs(rings: &[u32], ring: u32) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + rings[at..].iter().position(|r| *r <= ring)?;
        let len = rings[start..].iter().position(|r| *r > ring).unwrap_or(rings.len() - start);
        at = start + len;
        Some(start..at)
    })
}

/// A span with its place and its turn.
struct Block {
    kind: SpanKind,
    range: Range<usize>,
    /// Which turn it belongs to; a turn is a prompt and the reply to it.
    turn: usize,
    /// Whether nothing but padding comes before it.
    leading: bool,
}

impl Block {
    /// Returns how many position ids the block takes, given the rings of an image that counts
    /// them. Padding before the first token takes none, so that a sequence padded on its left
    /// keeps its position ids.
    fn num_positions(&self, rings: Option<&[u32]>) -> usize {
        match rings {
            Some(rings) => rings.iter().max().map_or(0, |ring| *ring as usize + 1),
            None if self.leading => 0,
            None => self.range.len(),
        }
    }
}

/// A layout cut into turns: one starts where a mark or a reply was and something else than a reply
/// follows. Padding after a reply stays with it.
struct Scene {
    blocks: Vec<Block>,
    /// Where the first mark of each turn ends, if there is one: the end of the turn's prompt.
    prompt_ends: Vec<Option<usize>>,
}

impl Scene {
    fn of(layout: &Layout) -> Self {
        let mut blocks = Vec::with_capacity(layout.spans().len());
        let mut prompt_ends = vec![None];
        let mut leading = true;
        let mut replied = false;
        for (kind, range) in layout.placed() {
            let replies = kind == SpanKind::Text(Role::Assistant);
            if replied && !replies && kind != SpanKind::Padding {
                prompt_ends.push(None);
                replied = false;
            }
            let turn = prompt_ends.len() - 1;
            if kind == SpanKind::ReplyMark {
                prompt_ends[turn] = Some(range.end);
            }
            replied |= replies || kind == SpanKind::ReplyMark;
            leading &= kind == SpanKind::Padding;
            blocks.push(Block { kind, range, turn, leading });
        }
        Self { blocks, prompt_ends }
    }

    /// Returns where the prompt that block `index` is part of ends; none for a block of a reply or
    /// of a turn that no mark ends.
    fn prompt_end(&self, index: usize) -> Option<usize> {
        let block = &self.blocks[index];
        self.prompt_ends[block.turn].filter(|end| block.range.end <= *end)
    }

    /// Returns the text after block `index` in the prompt of its turn, mark included.
    fn text_of_turn_after(&self, index: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let end = self.prompt_end(index).unwrap_or(0);
        self.blocks[index + 1..]
            .iter()
            .take_while(move |block| block.range.end <= end)
            .filter(|block| matches!(block.kind, SpanKind::Text(_) | SpanKind::ReplyMark))
            .map(|block| block.range.clone())
    }

    /// Returns `visible` without the positions of padding.
    fn without_padding(&self, visible: Vec<Range<usize>>) -> Vec<Range<usize>> {
        let mut open = visible;
        for block in self.blocks.iter().filter(|block| block.kind == SpanKind::Padding) {
            let hole = &block.range;
            open = open
                .into_iter()
                .flat_map(|r| [r.start..r.end.min(hole.start), r.start.max(hole.end)..r.end])
                .filter(|r| !r.is_empty())
                .collect();
        }
        open
    }
}
