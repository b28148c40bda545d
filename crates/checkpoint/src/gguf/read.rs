//! Reads a GGUF file; nothing is allocated that the file does not have the bytes for.

use std::collections::BTreeMap;
use std::path::Path;

use super::{ALIGNMENT, ALIGNMENT_KEY, TYPES};
use crate::safetensors::Contents;
use crate::{Bytes, Dtype, Error, Tensor};

/// The most dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 8;
/// How deep arrays may lie in arrays.
const MAX_DEPTH: usize = 4;
/// The largest alignment that makes sense.
const MAX_ALIGNMENT: u64 = 1 << 20;
/// Bytes of the shortest metadata value: an empty key, a type, one byte.
const SMALLEST: usize = 8 + 4 + 1;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Reads a whole file's bytes; the data stays where it is.
pub(crate) fn parse(path: &Path, bytes: &Bytes) -> Result<Contents, Error> {
    read(bytes).map_err(|reason| Error::Gguf { path: path.to_owned(), reason })
}

/// What is left to be read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What a file says about a tensor.
struct Described {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    offset: u64,
    len: usize,
}

fn read(bytes: &Bytes) -> Result<Contents, String> {
    let mut reader = Reader { bytes, at: super::MAGIC.len() };
    let version = reader.u32("its version")?;
    if !(2..=3).contains(&version) {
        let order =
            if (2..=3).contains(&version.swap_bytes()) { " in the other byte order" } else { "" };
        let version = if order.is_empty() { version } else { version.swap_bytes() };
        return Err(format!("it has version {version}{order}, expected 2 or 3"));
    }
    let num_tensors = reader.u64("the number of tensors")?;
    let num_values = reader.u64("the number of metadata values")?;
    let most = ((bytes.len() - reader.at) / SMALLEST) as u64;
    if num_tensors > most || num_values > most {
        return Err(format!(
            "it claims {num_tensors} tensors and {num_values} metadata values, but is too short \
             for more than {most}"
        ));
    }
    let mut metadata = BTreeMap::new();
    for index in 0..num_values {
        let what = format!("metadata value {index} of {num_values}");
        let key = reader.string(&what)?;
        let kind = reader.u32(&what)?;
        let value = reader.value(kind, &format!("metadata value `{key}`"), 0)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("metadata value `{key}` appears twice"));
        }
    }
    let metadata: BTreeMap<_, _> =
        metadata.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let mut described: Vec<Described> = Vec::new();
    for index in 0..num_tensors {
        described.push(reader.described(&format!("tensor {index} of {num_tensors}"))?);
    }
    let alignment = alignment(&metadata)?;
    let start = reader.at.next_multiple_of(alignment);
    let tensors = located(described, bytes, (start, alignment))?;
    Ok(Contents { tensors, metadata })
}

fn alignment(metadata: &BTreeMap<String, String>) -> Result<usize, String> {
    let Some(found) = metadata.get(ALIGNMENT_KEY) else { return Ok(ALIGNMENT) };
    let alignment = found.parse::<u64>().ok();
    let alignment = alignment.filter(|a| a.is_power_of_two() && *a <= MAX_ALIGNMENT);
    alignment.and_then(|a| usize::try_from(a).ok()).ok_or_else(|| {
        format!("`{ALIGNMENT_KEY}` is `{found}`, expected a power of two up to {MAX_ALIGNMENT}")
    })
}

/// Finds the data of tensors, which must lie apart and inside the file.
fn located(
    described: Vec<Described>,
    bytes: &Bytes,
    (start, alignment): (usize, usize),
) -> Result<BTreeMap<String, Tensor>, String> {
    let mut ranges = Vec::new();
    let mut tensors = BTreeMap::new();
    for Described { name, dtype, shape, offset, len } in described {
        if !offset.is_multiple_of(alignment as u64) {
            return Err(format!(
                "tensor `{name}` begins at byte {offset} of the data, expected a multiple of \
                 {alignment}"
            ));
        }
        let begin = usize::try_from(offset).ok().and_then(|offset| start.checked_add(offset));
        let range = begin.and_then(|begin| Some(begin..begin.checked_add(len)?));
        let data = range.clone().and_then(|range| bytes.slice(range));
        let (Some(range), Some(data)) = (range, data) else {
            return Err(format!(
                "tensor `{name}` needs {len} bytes from byte {offset} of the data, but the file \
                 has only {} bytes of data; it is probably truncated",
                bytes.len().saturating_sub(start)
            ));
        };
        if len > 0 {
            ranges.push((range.start, range.end, name.clone()));
        }
        if tensors.insert(name.clone(), Tensor { dtype, shape, bytes: data }).is_some() {
            return Err(format!("tensor `{name}` appears twice"));
        }
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let [(_, end, before), (begin, _, name)] = pair else { continue };
        if begin < end {
            return Err(format!("tensor `{name}` overlaps tensor `{before}`"));
        }
    }
    Ok(tensors)
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or_else(|| {
            format!("{what} needs {len} bytes at byte {}, but only {} follow", self.at, rest.len())
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let taken = self.take(N as u64, what)?;
        Ok(std::array::from_fn(|i| taken[i]))
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn string(&mut self, what: &str) -> Result<String, String> {
        let len = self.u64(what)?;
        let text = self.take(len, what)?;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| format!("{what} is not UTF-8"))
    }

    /// Reads a value as text; arrays are passed over.
    fn value(&mut self, kind: u32, what: &str, depth: usize) -> Result<Option<String>, String> {
        let text = match kind {
            0 => u8::from_le_bytes(self.array(what)?).to_string(),
            1 => i8::from_le_bytes(self.array(what)?).to_string(),
            2 => u16::from_le_bytes(self.array(what)?).to_string(),
            3 => i16::from_le_bytes(self.array(what)?).to_string(),
            4 => self.u32(what)?.to_string(),
            5 => i32::from_le_bytes(self.array(what)?).to_string(),
            6 => f32::from_le_bytes(self.array(what)?).to_string(),
            7 => (u8::from_le_bytes(self.array(what)?) != 0).to_string(),
            STRING => self.string(what)?,
            ARRAY => {
                self.skip_array(what, depth)?;
                return Ok(None);
            }
            10 => self.u64(what)?.to_string(),
            11 => i64::from_le_bytes(self.array(what)?).to_string(),
            12 => f64::from_le_bytes(self.array(what)?).to_string(),
            other => return Err(format!("{what} has type {other}, expected 0 to 12")),
        };
        Ok(Some(text))
    }

    fn skip_array(&mut self, what: &str, depth: usize) -> Result<(), String> {
        if depth == MAX_DEPTH {
            return Err(format!("{what} has arrays in arrays, more than {MAX_DEPTH} deep"));
        }
        let kind = self.u32(what)?;
        let len = self.u64(what)?;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            STRING => {
                for _ in 0..len {
                    let len = self.u64(what)?;
                    self.take(len, what)?;
                }
                return Ok(());
            }
            ARRAY => {
                for _ in 0..len {
                    self.skip_array(what, depth + 1)?;
                }
                return Ok(());
            }
            other => return Err(format!("{what} has elements of type {other}, expected 0 to 12")),
        };
        let bytes = len
            .checked_mul(size)
            .ok_or_else(|| format!("{what} has {len} elements, whose size in bytes overflows"))?;
        self.take(bytes, what).map(|_| ())
    }

    fn described(&mut self, what: &str) -> Result<Described, String> {
        let name = self.string(what)?;
        let what = format!("tensor `{name}`");
        let num_dimensions = self.u32(&what)?;
        if num_dimensions > MAX_DIMENSIONS {
            return Err(format!(
                "{what} has {num_dimensions} dimensions, expected at most {MAX_DIMENSIONS}"
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..num_dimensions {
            let dimension = self.u64(&what)?;
            let too_large = |_| format!("{what} has a dimension of {dimension}, which overflows");
            shape.push(usize::try_from(dimension).map_err(too_large)?);
        }
        // The file names the innermost dimension first.
        shape.reverse();
        let kind = self.u32(&what)?;
        let Some((_, dtype)) = TYPES.into_iter().find(|(number, _)| *number == kind) else {
            let known = TYPES.map(|(_, dtype)| dtype.name()).join(", ");
            return Err(format!("{what} has type {kind}{}, expected one of {known}", named(kind)));
        };
        let offset = self.u64(&what)?;
        let width = shape.last().copied().unwrap_or(1);
        if !width.is_multiple_of(dtype.block_len()) {
            return Err(format!(
                "{what} of {dtype} has rows of {width} elements, expected a multiple of {}",
                dtype.block_len()
            ));
        }
        let Some(len) = dtype.num_bytes(&shape) else {
            return Err(format!("{what} has shape {shape:?}, whose size overflows"));
        };
        Ok(Described { name, dtype, shape, offset, len })
    }
}

/// Returns the name of a type that is not read.
fn named(kind: u32) -> &'static str {
    match kind {
        3 => " (Q4_1)",
        6 => " (Q5_0)",
        7 => " (Q5_1)",
        9 => " (Q8_1)",
        10 => " (Q2_K)",
        11 => " (Q3_K)",
        15 => " (Q8_K)",
        16..=23 | 29 => " (an IQ type)",
        _ => "",
    }
}
