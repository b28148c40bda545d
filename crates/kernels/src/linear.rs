//! The linear layer: `out = x weight^T + bias`.

use half::{bf16, f16};

/// The elements of a matrix as they are stored, row-major.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// IEEE half precision.
    F16(&'a [f16]),
}

impl Matrix<'_> {
    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::Bf16(data) => data.len(),
            Self::F16(data) => data.len(),
        }
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns element `index` as f32.
    pub(crate) fn at(&self, index: usize) -> f32 {
        match self {
            Self::F32(data) => data[index],
            Self::Bf16(data) => data[index].to_f32(),
            Self::F16(data) => data[index].to_f32(),
        }
    }
}

/// Writes `x weight^T + bias` to `out`.
///
/// `x` is `[rows, width]`, `weight` `[out_width, width]`, `bias` `[out_width]`, `out`
/// `[rows, out_width]`, with `rows = x.len() / width`. Accumulation is in f32. Under bf16 weights
/// the elements of `x` are rounded to bf16 first, on every path, so that a row's result does not
/// depend on the instruction set or on its neighbours beyond the order of summation.
///
/// # Panics
/// If the lengths do not fit.
pub fn linear(x: &[f32], weight: Matrix<'_>, bias: Option<&[f32]>, width: usize, out: &mut [f32]) {
    let rows = x.len() / width;
    let out_width = weight.len() / width;
    assert_eq!(out.len(), rows * out_width, "output of {rows} rows");
    for row in 0..rows {
        for column in 0..out_width {
            let mut sum = 0.0;
            for i in 0..width {
                let value = x[row * width + i];
                let value = match weight {
                    Matrix::Bf16(_) => bf16::from_f32(value).to_f32(),
                    _ => value,
                };
                sum += value * weight.at(column * width + i);
            }
            out[row * out_width + column] = sum + bias.map_or(0.0, |bias| bias[column]);
        }
    }
}
