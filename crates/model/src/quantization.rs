//! Which matrices become blocks of few bits, and which blocks.

mod padding;

use checkpoint::{Bytes, Dtype, Tensor};
use kernels::{BlockFormat, Blocks};

pub(crate) use self::padding::padded_width;
pub use self::padding::{padded_shape, resized, unpadded_shape};

/// Matrices of fewer rows are too small to matter.
const FEWEST_ROWS: usize = 16;
/// The decoder's layers and its table of embeddings, most of a model's bytes; the rest gets more
/// bits.
const DECODER: &str = "lang_model.model.";
const HEAD: &str = "lang_model.lm_head.";
/// About how many elements are converted at once.
const AT_ONCE: usize = 1 << 20;

/// A mix of types: what the decoder's matrices become. Vision encoder and connector become blocks of
/// eight bits under every mix, the output of at least six. `docs/src/performance.md` has what each
/// costs in quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// Eight bits.
    Q8_0,
    /// Six bits.
    Q6K,
    /// Five bits.
    Q5K,
    /// Four bits with finer scales.
    Q4K,
    /// Four bits.
    Q4_0,
}

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Blocks of the type that the mix has for it.
    Wanted(Dtype),
    /// Blocks of another type: its rows are no whole ones of the wanted.
    Instead(Dtype),
    /// It stays as it is: its rows are whole blocks of no type.
    NoWholeBlocks,
    /// It stays as it is: it is no matrix to multiply with, or a small one.
    NoMatrix,
}

impl Choice {
    /// Returns the type of the blocks, none if the tensor stays as it is.
    pub fn dtype(self) -> Option<Dtype> {
        match self {
            Self::Wanted(dtype) | Self::Instead(dtype) => Some(dtype),
            Self::NoWholeBlocks | Self::NoMatrix => None,
        }
    }
}

impl Quantization {
    /// Every mix, the largest first.
    pub const ALL: [Self; 5] = [Self::Q8_0, Self::Q6K, Self::Q5K, Self::Q4K, Self::Q4_0];

    /// Returns the name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6_k",
            Self::Q5K => "q5_k",
            Self::Q4K => "q4_k",
            Self::Q4_0 => "q4_0",
        }
    }

    /// Returns the type of most of the decoder.
    pub fn decoder(self) -> Dtype {
        match self {
            Self::Q8_0 => Dtype::Q8_0,
            Self::Q6K => Dtype::Q6K,
            Self::Q5K => Dtype::Q5K,
            Self::Q4K => Dtype::Q4K,
            Self::Q4_0 => Dtype::Q4_0,
        }
    }

    /// Chooses what becomes of a tensor, whose shape is [padded](padded_shape).
    pub fn choose(self, name: &str, shape: &[usize]) -> Choice {
        let &[rows, width] = shape else { return Choice::NoMatrix };
        // Tables of positions and latents are added, not multiplied with.
        let is_matrix = name.ends_with("weight") && !name.contains("position_embedding");
        if !is_matrix || rows < FEWEST_ROWS {
            return Choice::NoMatrix;
        }
        let wanted = if name.starts_with(DECODER) {
            self.decoder()
        } else if name.starts_with(HEAD) && self != Self::Q8_0 {
            Dtype::Q6K
        } else {
            Dtype::Q8_0
        };
        let is_whole = |dtype: Dtype| width.is_multiple_of(dtype.block_len());
        if is_whole(wanted) {
            Choice::Wanted(wanted)
        } else if is_whole(Dtype::Q8_0) {
            // More bits rather than coarser scales: few matrices are so narrow.
            Choice::Instead(Dtype::Q8_0)
        } else {
            Choice::NoWholeBlocks
        }
    }
}

/// Returns how the kernels call a type of blocks, none for another.
pub(crate) fn format(dtype: Dtype) -> Option<BlockFormat> {
    match dtype {
        Dtype::Q8_0 => Some(BlockFormat::Q8_0),
        Dtype::Q4_0 => Some(BlockFormat::Q4_0),
        Dtype::Q4K => Some(BlockFormat::Q4K),
        Dtype::Q5K => Some(BlockFormat::Q5K),
        Dtype::Q6K => Some(BlockFormat::Q6K),
        _ => None,
    }
}

/// Returns a tensor in another type, of floats or of blocks; itself if it has the type.
///
/// Blocks are made of some rows at a time, so that there is never a whole copy in a wide type, and
/// what was read of a mapped file is given back to the system.
///
/// # Errors
/// If one of the types has no fractions, or the rows are not whole blocks.
pub fn converted(tensor: &Tensor, dtype: Dtype) -> Result<Tensor, checkpoint::Error> {
    if tensor.dtype == dtype {
        return Ok(tensor.clone());
    }
    let result = match format(dtype) {
        Some(to) => in_blocks(tensor, dtype, to),
        None => widened(tensor.clone()).to_dtype(dtype),
    };
    tensor.bytes.release();
    result
}

fn in_blocks(tensor: &Tensor, dtype: Dtype, to: BlockFormat) -> Result<Tensor, checkpoint::Error> {
    let Some(len) = dtype.num_bytes(&tensor.shape) else {
        return Err(checkpoint::Error::Conversion { from: tensor.dtype, to: dtype });
    };
    let width = tensor.shape.last().copied().unwrap_or(0).max(1);
    let (total, at_once) = (tensor.shape.iter().product(), (AT_ONCE / width + 1) * width);
    let mut blocks = Vec::with_capacity(len);
    for start in (0..total).step_by(at_once) {
        let piece = piece(tensor, start, at_once.min(total - start));
        let values = widened(piece).to_f32_vec()?;
        let at = blocks.len();
        blocks.resize(at + to.num_bytes(values.len()), 0);
        kernels::quantize(to, &values, &mut blocks[at..]);
    }
    Ok(Tensor { dtype, shape: tensor.shape.clone(), bytes: Bytes::from(blocks) })
}

/// Returns some elements of a tensor; where it has blocks, they are whole.
fn piece(tensor: &Tensor, start: usize, len: usize) -> Tensor {
    let bytes_of = |elements: usize| elements / tensor.dtype.block_len() * tensor.dtype.size();
    let range = bytes_of(start)..bytes_of(start + len);
    let bytes = tensor.bytes.slice(range).expect("the tensor has so many elements");
    Tensor { dtype: tensor.dtype, shape: vec![len], bytes }
}

/// Returns the elements of blocks of few bits as f32, and other tensors as they are.
pub fn widened(tensor: Tensor) -> Tensor {
    let Some(format) = format(tensor.dtype) else { return tensor };
    let blocks = Blocks { format, bytes: &tensor.bytes };
    let mut values = vec![0.0; blocks.len()];
    kernels::dequantize(blocks, &mut values);
    let bytes = Bytes::filled(values.len() * size_of::<f32>(), |bytes| {
        for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = f32::to_le_bytes(value);
        }
    });
    Tensor { dtype: Dtype::F32, shape: tensor.shape, bytes }
}
