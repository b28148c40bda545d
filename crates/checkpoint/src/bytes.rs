//! Shared bytes: a part of a mapped file or of a buffer.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use half::{bf16, f16};
use memmap2::Mmap;

/// A cheaply cloned view of bytes that stay where they are.
#[derive(Clone)]
pub struct Bytes {
    owner: Owner,
    range: Range<usize>,
}

#[derive(Clone)]
enum Owner {
    Mapped(Arc<Mmap>),
    Buffer(Arc<Vec<u8>>),
    Static(&'static [u8]),
}

impl Bytes {
    /// Returns a part of a mapped file.
    ///
    /// # Panics
    /// If the range goes past the end of the file.
    pub(crate) fn mapped(map: Arc<Mmap>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= map.len());
        Self { owner: Owner::Mapped(map), range }
    }

    /// Returns bytes that live as long as the program, an embedded file for example.
    pub fn from_static(bytes: &'static [u8]) -> Self {
        Self { owner: Owner::Static(bytes), range: 0..bytes.len() }
    }

    /// Returns the elements as f32, if the bytes are aligned for it and no remainder is left.
    pub fn as_f32(&self) -> Option<&[f32]> {
        aligned(self)
    }

    /// Returns the elements as bf16, if the bytes are aligned for it and no remainder is left.
    pub fn as_bf16(&self) -> Option<&[bf16]> {
        aligned(self)
    }

    /// Returns the elements as f16, if the bytes are aligned for it and no remainder is left.
    pub fn as_f16(&self) -> Option<&[f16]> {
        aligned(self)
    }
}

/// A number that any bit pattern is a value of.
trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for bf16 {}
impl Plain for f16 {}

#[allow(unsafe_code, reason = "reads mapped numbers in place")]
fn aligned<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: every bit pattern is a value of the `Plain` types, and `align_to` only puts whole,
    // aligned elements in the middle.
    let (head, elements, tail) = unsafe { bytes.align_to::<T>() };
    (head.is_empty() && tail.is_empty()).then_some(elements)
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { owner: Owner::Buffer(Arc::new(bytes)), range }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.owner {
            Owner::Mapped(map) => map,
            Owner::Buffer(buffer) => buffer,
            Owner::Static(bytes) => bytes,
        };
        &all[self.range.clone()]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.range.len())
    }
}
