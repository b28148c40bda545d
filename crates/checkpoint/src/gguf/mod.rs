//! The GGUF format: counts, metadata, descriptions of tensors, and their aligned data.

mod read;
mod write;

use crate::Dtype;

pub(crate) use read::parse;
pub use write::{GgufPlan, MetadataValue};

/// What a file begins with.
pub(crate) const MAGIC: &[u8] = b"GGUF";
/// The key of what data is aligned to, and what it is aligned to without it.
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT: usize = 32;

/// The numbers of types in files.
const TYPES: [(u32, Dtype); 13] = [
    (0, Dtype::F32),
    (1, Dtype::F16),
    (2, Dtype::Q4_0),
    (8, Dtype::Q8_0),
    (12, Dtype::Q4K),
    (13, Dtype::Q5K),
    (14, Dtype::Q6K),
    (24, Dtype::I8),
    (25, Dtype::I16),
    (26, Dtype::I32),
    (27, Dtype::I64),
    (28, Dtype::F64),
    (30, Dtype::Bf16),
];
