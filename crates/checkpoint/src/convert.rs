//! Conversion between floating point types, rounding to nearest, ties to even.

use half::{bf16, f16};

use crate::{Bytes, Dtype, Error, Tensor};

impl Tensor {
    /// Returns the tensor with its elements converted, rounded to nearest, ties to even.
    ///
    /// The bytes are shared if the type is already the one asked for.
    ///
    /// # Errors
    /// If one of the two types is not a floating point type and they differ.
    pub fn to_dtype(&self, dtype: Dtype) -> Result<Self, Error> {
        if self.dtype == dtype {
            return Ok(self.clone());
        }
        let refused = Error::Conversion { from: self.dtype, to: dtype };
        if !self.dtype.is_float() || !dtype.is_float() {
            return Err(refused);
        }
        let len = self.bytes.len() / self.dtype.size() * dtype.size();
        let bytes = Bytes::filled(len, |out| convert(self.dtype, &self.bytes, dtype, out));
        Ok(Self { dtype, shape: self.shape.clone(), bytes })
    }

    /// Returns the elements as f32, rounded to nearest if they are f64.
    ///
    /// # Errors
    /// If the elements are not floating point numbers.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>, Error> {
        let bytes = self.to_dtype(Dtype::F32)?.bytes;
        Ok(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

/// Converts between two different floating point types.
fn convert(from: Dtype, bytes: &[u8], to: Dtype, out: &mut [u8]) {
    match from {
        Dtype::F64 => from_f64(bytes, to, out),
        Dtype::F32 => from_f32(bytes, f32::from_le_bytes, to, out),
        Dtype::F16 => from_f32(bytes, |b| f16::from_le_bytes(b).to_f32(), to, out),
        Dtype::Bf16 => from_f32(bytes, |b| bf16::from_le_bytes(b).to_f32(), to, out),
        other => unreachable!("{other} is not a float, which the caller checked"),
    }
}

fn from_f64(bytes: &[u8], to: Dtype, out: &mut [u8]) {
    let get = f64::from_le_bytes;
    match to {
        Dtype::F32 => each(bytes, out, |b| (get(b) as f32).to_le_bytes()),
        Dtype::F16 => each(bytes, out, |b| f16::from_f32(to_odd(get(b))).to_le_bytes()),
        _ => each(bytes, out, |b| bf16::from_f32(to_odd(get(b))).to_le_bytes()),
    }
}

fn from_f32<const N: usize>(bytes: &[u8], get: impl Fn([u8; N]) -> f32, to: Dtype, out: &mut [u8]) {
    match to {
        Dtype::F64 => each(bytes, out, |b| f64::from(get(b)).to_le_bytes()),
        Dtype::F32 => each(bytes, out, |b| get(b).to_le_bytes()),
        Dtype::F16 => each(bytes, out, |b| f16::from_f32(get(b)).to_le_bytes()),
        _ => each(bytes, out, |b| bf16::from_f32(get(b)).to_le_bytes()),
    }
}

fn each<const N: usize, const M: usize>(
    bytes: &[u8],
    out: &mut [u8],
    convert: impl Fn([u8; N]) -> [u8; M],
) {
    for (from, to) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        *to = convert(*from);
    }
}

/// Rounds to f32, an inexact result to the neighbour with an odd last bit.
///
/// Rounding that again to a type with at least two bits fewer gives what rounding once would,
/// because a tie can only come from an exact value.
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    #[allow(clippy::float_cmp, reason = "asks whether the conversion was exact")]
    let exact = f64::from(nearest) == value;
    if value.is_nan() || exact {
        return nearest;
    }
    let bits = nearest.to_bits();
    let toward_zero = if f64::from(nearest).abs() > value.abs() { bits - 1 } else { bits };
    f32::from_bits(toward_zero | 1)
}
