//! What moves and adds rows of f32, on all threads.

use candle_core::{D, Result, Shape, Tensor};
use kernels::parallel::{chunks, chunks_mut, for_each};

use super::elements::{elements, written};

/// Numbers of a task.
pub(crate) const TASK: usize = 1 << 15;

/// Returns `a + factor b`.
pub(crate) fn add_scaled(a: &Tensor, b: &Tensor, factor: f32) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let (x, y) = (elements(&a)?, elements(&b)?);
    written(a.shape(), |sum| {
        let pieces = ((chunks(&x, TASK), chunks(&y, TASK)), chunks_mut(sum, TASK));
        for_each(pieces, 1, |_, ((x, y), sum)| {
            for ((x, y), sum) in x.iter().zip(y).zip(sum) {
                *sum = x + factor * y;
            }
        });
    })
}

/// Cuts rows into pieces of the given widths.
pub(crate) fn split(x: &Tensor, widths: &[usize]) -> Result<Vec<Tensor>> {
    let total: usize = widths.iter().sum();
    let x = x.contiguous()?;
    let mut dims = x.dims().to_vec();
    let source = elements(&x)?;
    let mut start = 0;
    let mut parts = Vec::with_capacity(widths.len());
    for width in widths {
        if let Some(last) = dims.last_mut() {
            *last = *width;
        }
        let part = written(dims.as_slice(), |out| {
            let rows = (chunks_mut(out, *width), chunks(&source, total));
            for_each(rows, TASK / total + 1, |_, (out, row)| {
                out.copy_from_slice(&row[start..start + out.len()]);
            });
        })?;
        parts.push(part);
        start += width;
    }
    Ok(parts)
}

/// Returns pieces of rows of the given widths as they lie.
pub(crate) fn views(x: &Tensor, widths: &[usize]) -> Result<Vec<Tensor>> {
    let mut start = 0;
    let view = |width: &usize| {
        start += width;
        x.narrow(D::Minus1, start - width, *width)
    };
    widths.iter().map(view).collect()
}

/// Joins rows of several tensors; what is none is zeros.
pub(crate) fn join(parts: &[Option<Tensor>], widths: &[usize], rows: Shape) -> Result<Tensor> {
    let total: usize = widths.iter().sum();
    let parts = parts.iter().map(|it| it.as_ref().map(Tensor::contiguous).transpose());
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let sources = parts.iter().map(|it| it.as_ref().map(elements).transpose());
    let sources = sources.collect::<Result<Vec<_>>>()?;
    let slices: Vec<Option<&[f32]>> = sources.iter().map(Option::as_deref).collect();
    written(rows, |out| {
        for_each(chunks_mut(out, total), TASK / total + 1, |row, mut out| {
            for (source, width) in slices.iter().zip(widths) {
                let (piece, rest) = out.split_at_mut(*width);
                match source {
                    Some(source) => piece.copy_from_slice(&source[row * width..][..*width]),
                    None => piece.fill(0.0),
                }
                out = rest;
            }
        });
    })
}

/// Returns some rows. `// [rows, width] -> [selected, width]`
pub(crate) fn select(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let x = x.contiguous()?;
    let width = x.dim(1)?;
    let source = elements(&x)?;
    written((rows.len(), width), |out| {
        let places = (chunks_mut(out, width), chunks(rows, 1));
        for_each(places, TASK / width + 1, |_, (out, row)| {
            out.copy_from_slice(&source[row[0] as usize * width..][..width]);
        });
    })
}

/// Puts rows, each at most once, where [`select`] took them from; the others are zeros.
pub(crate) fn place(x: &Tensor, rows: &[u32], shape: &Shape) -> Result<Tensor> {
    let x = x.contiguous()?;
    let width = x.dim(1)?;
    let source = elements(&x)?;
    let mut origin = vec![None; shape.dims().first().copied().unwrap_or(0)];
    for (from, to) in rows.iter().enumerate() {
        if let Some(origin) = origin.get_mut(*to as usize) {
            *origin = Some(from);
        }
    }
    written(shape.clone(), |out| {
        let places = (chunks_mut(out, width), chunks(&origin, 1));
        for_each(places, TASK / width + 1, |_, (out, from)| match from[0] {
            Some(from) => out.copy_from_slice(&source[from * width..][..width]),
            None => out.fill(0.0),
        });
    })
}
