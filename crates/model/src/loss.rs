//! The training loss.

use candle_core::{D, Tensor};

use crate::Error;

/// Returns the mean cross-entropy of predicting each labelled token from the row before it.
///
/// `logits` are `[positions, ids]` of all sequences one after the other, `labels` one list for each
/// of them; positions without a label are not counted.
///
/// # Errors
/// If there are not as many rows as positions, no position after a sequence's first has a label, or
/// a label is not in the vocabulary.
pub fn next_token(logits: &Tensor, labels: &[Vec<Option<u32>>]) -> Result<Tensor, Error> {
    let (found, vocab_size) = logits.dims2()?;
    let expected = labels.iter().map(Vec::len).sum();
    if found != expected {
        return Err(Error::Inputs { what: "rows of logits", expected, found });
    }
    let mut rows = Vec::new();
    let mut targets = Vec::new();
    let mut start = 0_u32;
    for labels in labels {
        for (row, label) in labels.iter().skip(1).enumerate() {
            if let Some(label) = label {
                rows.push(start + row as u32);
                targets.push(*label);
            }
        }
        start += labels.len() as u32;
    }
    if rows.is_empty() {
        return Err(Error::NoLabels);
    }
    if let Some(id) = targets.iter().copied().find(|id| *id as usize >= vocab_size) {
        return Err(Error::TokenId { id, vocab_size });
    }
    let num_labelled = rows.len();
    let rows = Tensor::from_vec(rows, num_labelled, logits.device())?;
    let targets = Tensor::from_vec(targets, (num_labelled, 1), logits.device())?;
    let logits = logits.index_select(&rows, 0)?; // [labelled, ids]
    Ok((cross_entropy_sum(&logits, &targets)? / num_labelled as f64)?)
}

/// Returns the sum of the cross-entropies of rows. `// [rows, ids], [rows, 1]`
pub(crate) fn cross_entropy_sum(logits: &Tensor, targets: &Tensor) -> candle_core::Result<Tensor> {
    let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let total = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
    (total - logits.gather(targets, 1)?)?.sum_all()
}
