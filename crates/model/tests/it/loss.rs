//! The training loss of whole batches, against the goldens.

use checkpoint::Checkpoint;
use model::{Aki, Device, Error, NoTap, Sequence, Tensor, loss};
use sequence::{AttentionPolicy, Layout, Role, SpanKind, TokenId};

use crate::support::{self, ASSISTANT, IMAGE, SETS, VISION_TOKENS};

const TOLERANCE: f32 = 1e-5;
/// The label of a position that has none.
const IGNORE: i64 = -100;
/// The id of `<pad>`.
const PAD: i64 = 500;
const NUM_ROWS: usize = 4;

/// One row of a batch.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) ids: Vec<TokenId>,
    pub(crate) layout: Layout,
    pub(crate) labels: Vec<Option<u32>>,
}

fn layout(ids: &[i64], mask: &[i64]) -> Layout {
    let mut layout = Layout::new();
    let mut role = Role::User;
    for (id, mask) in ids.iter().zip(mask) {
        match *id {
            _ if *mask == 0 => layout.push(SpanKind::Padding, 1),
            IMAGE => layout.push(SpanKind::Image, VISION_TOKENS),
            ASSISTANT => {
                layout.push(SpanKind::ReplyMark, 1);
                role = Role::Assistant;
            }
            _ => layout.push(SpanKind::Text(role), 1),
        }
    }
    layout
}

fn label(id: i64) -> Option<u32> {
    (id != IGNORE).then(|| u32::try_from(id).expect("ids are small"))
}

/// Reads the rows of a batch whose names have a prefix; `labels` gives those of a row.
fn rows(golden: &Checkpoint, prefix: &str, labels: impl Fn(usize, &[i64]) -> Vec<i64>) -> Vec<Row> {
    let ids = support::i64s(golden, &format!("{prefix}input_ids"));
    let mask = support::i64s(golden, &format!("{prefix}attention_mask"));
    let len = ids.len() / NUM_ROWS;
    let rows = ids.chunks_exact(len).zip(mask.chunks_exact(len)).enumerate();
    rows.map(|(row, (ids, mask))| Row {
        ids: support::token_ids(ids),
        layout: layout(ids, mask),
        labels: labels(row, ids).into_iter().map(label).collect(),
    })
    .collect()
}

/// Reads the rows of the padded instruction batch.
pub(crate) fn instruction_rows(golden: &Checkpoint) -> Vec<Row> {
    let labels = support::i64s(golden, "expanded_labels");
    let len = labels.len() / NUM_ROWS;
    let rows = rows(golden, "", |row, _| labels[row * len..(row + 1) * len].to_vec());
    assert!(rows.iter().all(|row| row.layout.len() == len));
    rows
}

/// Reads the rows of the padded pre-training batch.
pub(crate) fn pretraining_rows(golden: &Checkpoint) -> Vec<Row> {
    rows(golden, "pretrain.", |_, ids| {
        let labels = ids.iter().flat_map(|id| match *id {
            PAD => vec![IGNORE],
            IMAGE => vec![IGNORE; VISION_TOKENS],
            id => vec![id],
        });
        labels.collect()
    })
}

fn loss(aki: &Aki, pixels: &Tensor, rows: &[Row]) -> f32 {
    let features = aki.see(pixels, &mut NoTap).expect("the pixels fit");
    let embed = |(index, row): (usize, &Row)| {
        let image = features.get(index).expect("an image for every row");
        aki.embed(&row.ids, &row.layout, &[image]).expect("ids, layout and image fit")
    };
    let embeddings: Vec<_> = rows.iter().enumerate().map(embed).collect();
    let embeddings = Tensor::cat(&embeddings, 0).expect("the widths are the same");
    let plan = |row: &Row| AttentionPolicy::ModalityMutual.plan(&row.layout);
    let plans: Vec<_> = rows.iter().map(plan).collect();
    let mut batch: Vec<_> = plans.iter().map(|plan| Sequence { plan, cache: None }).collect();
    let hidden = aki.forward(&embeddings, &mut batch, &mut NoTap).expect("the plans fit");
    let logits = aki.logits(&hidden).expect("the width fits");
    let labels: Vec<_> = rows.iter().map(|row| row.labels.clone()).collect();
    let loss = loss::next_token(&logits, &labels).expect("there are labels");
    loss.to_scalar().expect("the loss is one number")
}

fn assert_loss(set: &str, name: &str, found: f32, golden: &Checkpoint) {
    let expected = support::f32s(golden, name);
    let error = support::relative_error(&[found], &expected);
    assert!(error < TOLERANCE, "{set}: `{name}` is {found}, expected {expected:?}");
}

#[test]
fn the_loss_of_a_padded_instruction_batch_is_the_reference_one() {
    for set in SETS {
        let golden = support::open(set, "train_batch.safetensors");
        let rows = instruction_rows(&golden);
        let found = loss(&support::golden_model(set), &support::pixels(&golden), &rows);
        assert_loss(set, "loss", found, &golden);
    }
}

#[test]
fn the_loss_of_a_padded_pretraining_batch_is_the_reference_one() {
    for set in SETS {
        let golden = support::open(set, "train_batch.safetensors");
        let rows = pretraining_rows(&golden);
        let found = loss(&support::golden_model(set), &support::pixels(&golden), &rows);
        assert_loss(set, "pretrain.loss", found, &golden);
    }
}

#[test]
fn labels_that_do_not_fit_the_logits_are_refused() {
    let logits = Tensor::zeros((3, 5), model::DType::F32, &Device::Cpu).unwrap();
    let message = |labels: &[Vec<Option<u32>>]| -> String {
        loss::next_token(&logits, labels).unwrap_err().to_string()
    };
    assert_eq!(message(&[vec![None, Some(1)]]), "the layout needs 2 rows of logits, found 3",);
    assert_eq!(
        message(&[vec![None, Some(1), Some(5)]]),
        "token id 5 is outside the vocabulary of 5",
    );
    // Nothing comes before a sequence's first token.
    let first_only = [vec![Some(1)], vec![Some(2), None]];
    assert!(matches!(loss::next_token(&logits, &first_only), Err(Error::NoLabels)));
}
