//! Windows into storages: used in place if row-major, copied otherwise.

use crate::pickle::{Storage, View};
use crate::{Bytes, Tensor};

/// How many bytes may be made that are not in the file.
///
/// An expanded view repeats its numbers, so its size says nothing about the file's; without a
/// bound a file of a hundred bytes could ask for all memory.
pub(super) struct Budget {
    left: usize,
}

/// What small files may ask for beyond their own size.
const ALLOWANCE: usize = 64 << 20;

impl Budget {
    pub(super) fn new(file_len: usize) -> Self {
        Self { left: file_len.saturating_add(ALLOWANCE) }
    }

    fn spend(&mut self, len: usize) -> Result<(), String> {
        let left = self.left.checked_sub(len).ok_or_else(|| {
            format!("its view takes {len} bytes when copied, far more than the file holds")
        })?;
        self.left = left;
        Ok(())
    }
}

/// Returns the tensor that a view of a storage's bytes is.
pub(super) fn window(
    view: &View,
    storage: Storage<'_>,
    bytes: &Bytes,
    budget: &mut Budget,
) -> Result<Tensor, String> {
    let View { dtype, offset, shape, strides, .. } = view;
    if storage.len.checked_mul(storage.dtype.size()) != Some(bytes.len()) {
        return Err(format!(
            "storage `{}` has {} bytes, expected {} elements of {}",
            storage.key,
            bytes.len(),
            storage.len,
            storage.dtype
        ));
    }
    let len = dtype.num_bytes(shape).ok_or_else(|| format!("shape {shape:?} overflows"))?;
    let tensor = |bytes| Tensor { dtype: *dtype, shape: shape.clone(), bytes };
    if len == 0 {
        return Ok(tensor(Bytes::from(Vec::new())));
    }
    let steps = shape.iter().zip(strides).map(|(&n, &stride)| (n - 1).checked_mul(stride));
    let end = steps.fold(offset.checked_add(1), |end, step| end?.checked_add(step?));
    let end = end.and_then(|end| end.checked_mul(dtype.size())).filter(|&end| end <= bytes.len());
    let end = end.ok_or_else(|| {
        format!(
            "shape {shape:?} with strides {strides:?} at offset {offset} reaches past the {} \
             bytes of storage `{}`",
            bytes.len(),
            storage.key
        )
    })?;
    let window = bytes.slice(offset * dtype.size()..end).ok_or("its window is empty")?;
    if is_row_major(shape, strides) {
        return Ok(tensor(window));
    }
    budget.spend(len)?;
    Ok(tensor(Bytes::filled(len, |out| gather(view, &window, out))))
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    for (&n, &stride) in shape.iter().zip(strides).rev() {
        // The stride of a single index is never used.
        if n != 1 && stride != expected {
            return false;
        }
        expected *= n;
    }
    true
}

/// Copies elements in row-major order; `window` begins with the first.
fn gather(view: &View, window: &[u8], out: &mut [u8]) {
    let size = view.dtype.size();
    let mut index = vec![0; view.shape.len()];
    let mut at = 0;
    for element in out.chunks_exact_mut(size) {
        element.copy_from_slice(&window[at * size..][..size]);
        // Counts the index up like an odometer, and moves with it.
        for (dim, i) in index.iter_mut().enumerate().rev() {
            *i += 1;
            at += view.strides[dim];
            if *i < view.shape[dim] {
                break;
            }
            at -= *i * view.strides[dim];
            *i = 0;
        }
    }
}
