//! Element types.

use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// Boolean, one byte each.
    Bool,
    /// Blocks of 32 integers of eight bits with a scale.
    Q8_0,
    /// Blocks of 32 integers of four bits with a scale.
    Q4_0,
    /// Blocks of 256 integers of four bits with scales and minima of scales and minima.
    Q4K,
    /// Blocks of 256 integers of five bits with scales and minima of scales and minima.
    Q5K,
    /// Blocks of 256 integers of six bits with scales of scales.
    Q6K,
}

impl Dtype {
    /// Every type whose elements stand alone, which are those of safetensors files.
    pub const ALL: [Self; 10] = [
        Self::F64,
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U8,
        Self::Bool,
    ];

    /// Every type of blocks; a row is made of whole ones.
    pub const BLOCKS: [Self; 5] = [Self::Q8_0, Self::Q4_0, Self::Q4K, Self::Q5K, Self::Q6K];

    /// Returns the number of elements that are stored together: one, or those of a block.
    pub fn block_len(self) -> usize {
        match self {
            Self::Q8_0 | Self::Q4_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
            _ => 1,
        }
    }

    /// Returns the size of an element in bytes, or that of a block.
    pub fn size(self) -> usize {
        match self {
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Returns the type of that name in safetensors headers.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Returns whether the elements are floating point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16)
    }

    /// Returns the number of bytes of a tensor of that shape, or `None` if it overflows or its rows
    /// are not whole blocks.
    pub fn num_bytes(self, shape: &[usize]) -> Option<usize> {
        // A zero makes the product zero, but the other factors must not hide an overflow.
        let elements = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))?;
        let is_whole = shape.last().copied().unwrap_or(1).is_multiple_of(self.block_len());
        if is_whole { (elements / self.block_len()).checked_mul(self.size()) } else { None }
    }

    /// Returns what an address of elements must be a multiple of.
    pub(crate) fn alignment(self) -> usize {
        if self.block_len() == 1 { self.size() } else { 1 }
    }

    /// Returns the name that safetensors headers use, or that of blocks.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
