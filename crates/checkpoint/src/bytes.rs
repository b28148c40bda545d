//! Shared bytes: a part of a mapped file or of a buffer.

use std::fmt;
use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use half::{bf16, f16};
use memmap2::{Mmap, UncheckedAdvice};

/// Bytes of a file that is mapped in large pages, where the system has some.
#[cfg(target_os = "linux")]
const LARGE: usize = 16 << 20;

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
    Words(Arc<Vec<u64>>),
    Static(&'static [u8]),
}

impl Bytes {
    /// Maps a file into memory, read-only.
    #[allow(unsafe_code, reason = "maps the file")]
    pub(crate) fn map(file: &File) -> std::io::Result<Self> {
        // SAFETY: the map is read-only and private to this process's view; a checkpoint that
        // somebody truncates while it is open is the documented hazard of memory maps.
        let map = unsafe { Mmap::map(file) }?;
        // Memory in small pages is read more slowly, for the processor has to look up where each is. A
        // system that has no large ones, or holds the file in small ones already, goes on with these.
        #[cfg(target_os = "linux")]
        if map.len() >= LARGE {
            drop(map.advise(memmap2::Advice::HugePage));
        }
        let range = 0..map.len();
        Ok(Self { owner: Owner::Mapped(Arc::new(map)), range })
    }

    /// Returns a part of these bytes, sharing them, or `None` if the range goes past the end.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start;
        Some(Self { owner: self.owner.clone(), range: start + range.start..start + range.end })
    }

    /// Gives the memory of a mapped file's part back to the system, which reads it from the file again
    /// when it is asked for; nothing else changes, and for other bytes nothing at all.
    #[allow(unsafe_code, reason = "advises the system on the mapped file")]
    pub fn release(&self) {
        let Owner::Mapped(map) = &self.owner else { return };
        // SAFETY: the map is of a file and is never written to, so that its pages, dropped, come
        // back with the same bytes.
        let advised = unsafe {
            map.unchecked_advise_range(
                UncheckedAdvice::DontNeed,
                self.range.start,
                self.range.len(),
            )
        };
        // A system that cannot do it keeps the memory.
        drop(advised);
    }

    /// Returns whether the first byte lies at a multiple of `size`.
    pub(crate) fn is_aligned_to(&self, size: usize) -> bool {
        self.as_ptr().addr().is_multiple_of(size)
    }

    /// Returns `len` bytes, aligned for every element type, that `fill` writes.
    pub fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut words = vec![0_u64; len.div_ceil(size_of::<u64>())];
        fill(&mut words_mut(&mut words)[..len]);
        Self { owner: Owner::Words(Arc::new(words)), range: 0..len }
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

#[allow(unsafe_code, reason = "an aligned buffer is one of words, seen as bytes")]
fn words_ref(words: &[u64]) -> &[u8] {
    // SAFETY: a u64 has no padding, any byte is a value of u8, which needs no alignment; so the
    // middle is the whole.
    unsafe { words.align_to::<u8>() }.1
}

#[allow(unsafe_code, reason = "an aligned buffer is one of words, seen as bytes")]
fn words_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: as in `words_ref`, and any eight bytes are a value of u64.
    unsafe { words.align_to_mut::<u8>() }.1
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
            Owner::Words(words) => words_ref(words),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_exist_only_where_aligned_and_whole() {
        let bytes = Bytes::filled(16, |b| b.iter_mut().zip(0..).for_each(|(b, i)| *b = i));
        assert!(bytes.is_aligned_to(8));
        for start in 0..8 {
            for end in start..=16 {
                let part = bytes.slice(start..end).unwrap();
                let fits = |size: usize| {
                    (start.is_multiple_of(size) && (end - start).is_multiple_of(size))
                        .then_some((end - start) / size)
                };
                if start < end {
                    assert_eq!(part.as_f32().map(<[f32]>::len), fits(4), "{start}..{end}");
                    assert_eq!(part.as_bf16().map(<[bf16]>::len), fits(2), "{start}..{end}");
                    assert_eq!(part.as_f16().map(<[f16]>::len), fits(2), "{start}..{end}");
                }
            }
        }
    }

    #[test]
    fn what_was_released_is_read_again() {
        let content: Vec<u8> = (0..100_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &content).unwrap();
        let bytes = Bytes::map(&file).unwrap();
        for range in [0..content.len(), 5..6, 4090..4100, 10_001..70_003, 99_999..100_000, 7..7] {
            assert_eq!(*bytes, *content);
            bytes.slice(range).unwrap().release();
        }
        assert_eq!(*bytes, *content);
        Bytes::from(content).release();
    }

    #[test]
    fn a_slice_past_the_end_is_none() {
        let bytes = Bytes::from(vec![1, 2, 3]).slice(1..3).unwrap();
        assert_eq!(&*bytes, [2, 3]);
        assert_eq!(&*bytes.slice(1..2).unwrap(), [3]);
        assert!(bytes.slice(1..3).is_none());
        #[allow(clippy::reversed_empty_ranges, reason = "the reversed range is the point")]
        let reversed = bytes.slice(2..1);
        assert!(reversed.is_none());
    }
}
