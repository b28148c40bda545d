//! Inner layers that are no whole blocks wide.
//!
//! `SigLIP`'s encoder of AKI-4B has 4304 inner elements, which are 134 blocks and a half. In blocks it
//! gets sixteen more, whose weights and biases are zero on the way in and on the way out: they are
//! zero after the activation as well, and nothing changes.

use checkpoint::{Bytes, Tensor};
use kernels::BlockFormat;

use super::widened;

/// Elements of the smallest block.
const BLOCK: usize = BlockFormat::Q8_0.block_len();
const LAYERS: &str = "vision_encoder.encoder.layers.";

/// Returns so many inner elements, and those that make them whole blocks.
pub(crate) fn padded_width(inner: usize) -> usize {
    inner.next_multiple_of(BLOCK)
}

/// Returns the shape that a tensor has in files of blocks: its own, unless it is of an inner layer of the
/// vision encoder.
pub fn padded_shape(name: &str, shape: &[usize]) -> Vec<usize> {
    let mut padded = shape.to_vec();
    if let Some(inner) = inner_dimension(name, shape.len()) {
        padded[inner] = padded_width(padded[inner]);
    }
    padded
}

/// Returns the shape that a tensor has elsewhere if so many inner elements are meant: its own, unless
/// [`padded_shape`] made it of that.
pub fn unpadded_shape(name: &str, shape: &[usize], inner: usize) -> Vec<usize> {
    let mut cut = shape.to_vec();
    if let Some(at) = inner_dimension(name, shape.len())
        && cut[at] == padded_width(inner)
    {
        cut[at] = inner;
    }
    cut
}

/// Returns which dimension of a tensor of so many is that of the vision encoder's inner elements.
fn inner_dimension(name: &str, dimensions: usize) -> Option<usize> {
    let (_, part) = name.strip_prefix(LAYERS)?.split_once('.')?;
    match (part, dimensions) {
        ("mlp.fc1.weight", 2) | ("mlp.fc1.bias", 1) => Some(0),
        ("mlp.fc2.weight", 2) => Some(1),
        _ => None,
    }
}

/// Returns a tensor with as many rows and columns as wanted, zeros after its own; itself if it has them.
/// Blocks become f32 then, and what was read of a mapped file is given back to the system.
pub fn resized(tensor: &Tensor, shape: &[usize]) -> Tensor {
    if tensor.shape == shape {
        return tensor.clone();
    }
    let stored = &tensor.bytes;
    let tensor = widened(tensor.clone());
    let size = tensor.dtype.size();
    let row_bytes = |shape: &[usize]| shape[1..].iter().product::<usize>() * size;
    let (from, to) = (row_bytes(&tensor.shape), row_bytes(shape));
    let bytes = Bytes::filled(shape[0] * to, |bytes| {
        for (to, from) in bytes.chunks_exact_mut(to).zip(tensor.bytes.chunks_exact(from)) {
            let common = to.len().min(from.len());
            to[..common].copy_from_slice(&from[..common]);
        }
    });
    stored.release();
    Tensor { dtype: tensor.dtype, shape: shape.to_vec(), bytes }
}

#[cfg(test)]
mod tests {
    use checkpoint::Dtype;

    use super::*;

    #[test]
    fn only_inner_layers_of_the_vision_encoder_are_padded_and_cut_again() {
        let name = |part: &str| format!("vision_encoder.encoder.layers.11.{part}");
        for (part, shape, padded) in [
            ("mlp.fc1.weight", vec![4304, 1152], vec![4320, 1152]),
            ("mlp.fc1.bias", vec![4304], vec![4320]),
            ("mlp.fc2.weight", vec![1152, 4304], vec![1152, 4320]),
            ("mlp.fc2.bias", vec![1152], vec![1152]),
            ("self_attn.out_proj.weight", vec![1144, 1144], vec![1144, 1144]),
        ] {
            assert_eq!(padded_shape(&name(part), &shape), padded, "{part}");
            assert_eq!(unpadded_shape(&name(part), &padded, 4304), shape, "{part}");
            // Of another model, or not padded.
            assert_eq!(unpadded_shape(&name(part), &padded, 4200), padded, "{part}");
            assert_eq!(unpadded_shape(&name(part), &shape, 4304), shape, "{part}");
        }
        for other in ["vision_encoder.head.mlp.fc1.bias", "lang_model.model.layers.0.mlp.fc1.bias"]
        {
            assert_eq!(padded_shape(other, &[4304]), [4304]);
        }
    }

    #[test]
    fn rows_and_columns_are_added_and_taken_away() {
        let numbers =
            |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        let tensor = |shape: &[usize], values: &[f32]| Tensor {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: Bytes::from(numbers(values)),
        };
        let small = tensor(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        for (shape, values) in [
            ([2, 4], [1.0, 2.0, 3.0, 0.0, 4.0, 5.0, 6.0, 0.0].as_slice()),
            ([3, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0]),
            ([2, 2], &[1.0, 2.0, 4.0, 5.0]),
            ([1, 3], &[1.0, 2.0, 3.0]),
        ] {
            let found = resized(&small, &shape);
            assert_eq!(found.shape, shape);
            assert_eq!(found.to_f32_vec().expect("f32"), values, "{shape:?}");
        }
        assert_eq!(resized(&small, &[2, 3]).bytes.as_ptr(), small.bytes.as_ptr());
    }
}
