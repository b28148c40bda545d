//! The elements of tensors on the CPU, for the kernels.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Device, Error, Result, Shape, Storage, Tensor};
use kernels::{Matrix, Rows};

/// Borrowed elements of a contiguous tensor; `G` is the framework's lock.
pub(crate) struct Stored<G> {
    storage: G,
    range: Range<usize>,
}

/// Borrows the elements of a contiguous tensor of f32.
pub(crate) fn elements(x: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let stored = stored(x)?;
    match &*stored.storage {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(Elements(stored)),
        _ => Err(Error::UnsupportedDTypeForOp(x.dtype(), "kernel").bt()),
    }
}

/// Borrows the elements of a contiguous tensor of any type that the kernels read.
pub(crate) fn stored(x: &Tensor) -> Result<Stored<impl Deref<Target = Storage> + '_>> {
    let (storage, layout) = x.storage_and_layout();
    let (start, end) =
        layout.contiguous_offsets().ok_or(Error::RequiresContiguous { op: "kernel" })?;
    Ok(Stored { storage, range: start..end })
}

impl<G: Deref<Target = Storage>> Stored<G> {
    /// Returns the elements.
    pub(crate) fn matrix(&self) -> Result<Matrix<'_>> {
        let range = self.range.clone();
        Ok(match &*self.storage {
            Storage::Cpu(CpuStorage::F32(elements)) => Matrix::F32(&elements[range]),
            Storage::Cpu(CpuStorage::BF16(elements)) => Matrix::Bf16(&elements[range]),
            Storage::Cpu(CpuStorage::F16(elements)) => Matrix::F16(&elements[range]),
            other => Err(Error::UnsupportedDTypeForOp(other.dtype(), "kernel").bt())?,
        })
    }
}

/// Elements that are known to be f32.
struct Elements<G>(Stored<G>);

impl<G: Deref<Target = Storage>> Deref for Elements<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.0.storage {
            Storage::Cpu(CpuStorage::F32(elements)) => &elements[self.0.range.clone()],
            // `elements` has seen that they are f32.
            _ => &[],
        }
    }
}

/// Borrows the rows of a matrix of f32 that may be a part of the columns of another.
pub(crate) struct Apart<G> {
    storage: G,
    range: Range<usize>,
    stride: usize,
}

/// Borrows the rows of a matrix of f32 whose elements follow each other.
pub(crate) fn apart(x: &Tensor) -> Result<Apart<impl Deref<Target = Storage> + '_>> {
    let (storage, layout) = x.storage_and_layout();
    let (rows, width) = x.dims2()?;
    let start = layout.start_offset();
    match layout.stride() {
        [stride, 1] if rows > 0 => Ok(Apart {
            storage,
            range: start..start + (rows - 1) * stride + width,
            stride: *stride,
        }),
        _ if rows == 0 => Ok(Apart { storage, range: start..start, stride: width }),
        _ => Err(Error::RequiresContiguous { op: "kernel" }.bt()),
    }
}

impl<G: Deref<Target = Storage>> Apart<G> {
    /// Returns the rows.
    pub(crate) fn rows(&self) -> Result<Rows<'_>> {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(all)) => {
                Ok(Rows { data: &all[self.range.clone()], stride: self.stride })
            }
            other => Err(Error::UnsupportedDTypeForOp(other.dtype(), "kernel").bt()),
        }
    }
}

/// Makes a tensor of what a kernel writes.
pub(crate) fn written(shape: impl Into<Shape>, write: impl FnOnce(&mut [f32])) -> Result<Tensor> {
    let shape = shape.into();
    let mut out = kernels::unwritten(shape.elem_count());
    write(&mut out);
    Tensor::from_vec(out, shape, &Device::Cpu)
}

/// Makes a tensor of what a kernel makes of another.
pub(crate) fn applied(
    x: &Tensor,
    shape: impl Into<Shape>,
    run: impl FnOnce(&[f32], &mut [f32]),
) -> Result<Tensor> {
    let x = x.contiguous()?;
    let x = elements(&x)?;
    written(shape, |out| run(&x, out))
}
