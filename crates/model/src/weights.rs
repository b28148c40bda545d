//! Tensors of a checkpoint by name, checked against what the configuration asks for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Tensor};
use checkpoint::{Bytes, Checkpoint, Dtype};
use half::bf16;
use kernels::Blocks;

use crate::lora::{self, Adapter};
use crate::parameter::{Parameter, Parameters};
use crate::quantization::{self, Quantization, format, widened};
use crate::training::Trained;
use crate::{Error, Footprint};

/// A part of a checkpoint, under a prefix of names.
#[derive(Clone)]
pub(crate) struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    dtype: Option<Dtype>,
    quantization: Option<Quantization>,
    training: Option<Training<'a>>,
    /// What was loaded of the matrices, by all parts together.
    footprint: Rc<Cell<Footprint>>,
    prefix: String,
}

/// What is trained, and where the parameters are collected.
#[derive(Clone, Copy)]
struct Training<'a> {
    trained: &'a Trained<'a>,
    parameters: &'a RefCell<Parameters>,
}

/// A matrix as it is stored: in the mapped file on the CPU, a tensor elsewhere.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    /// Bytes of the file, in an element type that the kernels read in place.
    Mapped {
        bytes: Bytes,
        dtype: Dtype,
        /// The same f32 rounded, once a product that rounds has asked for it.
        rounded: Arc<OnceLock<Vec<bf16>>>,
    },
    /// A tensor of the framework. `// [rows, width]`
    Dense(Tensor),
    /// What is trained.
    Trained(Arc<Parameter>),
}

/// A small tensor, in the type and on the device of the activations.
#[derive(Clone, Debug)]
pub(crate) enum Weight {
    /// One that stays as it is.
    Fixed(Tensor),
    /// One that is trained.
    Trained(Arc<Parameter>),
}

impl Weight {
    /// Returns the values.
    pub(crate) fn tensor(&self) -> candle_core::Result<Tensor> {
        match self {
            Self::Fixed(tensor) => Ok(tensor.clone()),
            Self::Trained(parameter) => parameter.tensor(),
        }
    }

    /// Returns the parameter, if this is one.
    pub(crate) fn parameter(&self) -> Option<&Arc<Parameter>> {
        match self {
            Self::Fixed(_) => None,
            Self::Trained(parameter) => Some(parameter),
        }
    }
}

impl<'a> Weights<'a> {
    /// Returns the whole checkpoint, to be loaded on a device, converted to `dtype` if there is one.
    pub(crate) fn new(
        checkpoint: &'a Checkpoint,
        device: &'a Device,
        dtype: Option<Dtype>,
    ) -> Self {
        let (quantization, training, footprint) = (None, None, Rc::default());
        Self { checkpoint, device, dtype, quantization, training, footprint, prefix: String::new() }
    }

    /// Returns the same weights, whose matrices become blocks of few bits on the CPU.
    pub(crate) fn quantized(self, quantization: Option<Quantization>) -> Self {
        Self { quantization, ..self }
    }

    /// Returns the same weights, of which some are trained.
    pub(crate) fn training(
        self,
        trained: &'a Trained<'a>,
        parameters: &'a RefCell<Parameters>,
    ) -> Self {
        Self { training: Some(Training { trained, parameters }), ..self }
    }

    /// Returns the part under a further prefix.
    pub(crate) fn pp(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: self.name(name), ..self.clone() }
    }

    /// Returns the whole name of a tensor of this part.
    pub(crate) fn name(&self, name: impl std::fmt::Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }

    /// Returns how much has been loaded of the matrices.
    pub(crate) fn footprint(&self) -> Footprint {
        self.footprint.get()
    }

    /// Returns the device that the model is loaded on.
    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    /// Returns whether a tensor exists.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.checkpoint.tensor(&self.name(name)).is_some()
    }

    /// Returns the shape of a tensor, if it exists.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.checkpoint.tensor(&self.name(name)).map(|tensor| tensor.shape.as_slice())
    }

    /// Returns a tensor of the expected shape in the type that the model is to have.
    fn get(&self, name: &str, shape: &[usize]) -> Result<checkpoint::Tensor, Error> {
        let tensor = self.stored(name, shape)?;
        match self.dtype {
            None => Ok(tensor),
            Some(dtype) => self.converted(name, &tensor, dtype),
        }
    }

    /// Returns a tensor in another type.
    fn converted(
        &self,
        name: &str,
        tensor: &checkpoint::Tensor,
        dtype: Dtype,
    ) -> Result<checkpoint::Tensor, Error> {
        let wrong = |_| Error::TensorDtype { name: self.name(name), found: tensor.dtype };
        quantization::converted(tensor, dtype).map_err(wrong)
    }

    /// Returns a tensor of the expected shape as it is stored.
    fn stored(&self, name: &str, shape: &[usize]) -> Result<checkpoint::Tensor, Error> {
        let name = self.name(name);
        let Some(tensor) = self.checkpoint.tensor(&name) else {
            return Err(Error::MissingTensor { name, expected: shape.to_vec() });
        };
        if tensor.shape != shape && quantization::padded_shape(&name, &tensor.shape) != shape {
            let (found, expected) = (tensor.shape.clone(), shape.to_vec());
            return Err(Error::TensorShape { name, found, expected });
        }
        let found = tensor.dtype;
        if !matches!(found, Dtype::F32 | Dtype::F16 | Dtype::Bf16) && format(found).is_none() {
            return Err(Error::TensorDtype { name, found });
        }
        Ok(quantization::resized(tensor, shape))
    }

    /// Returns how many elements the inner layer of which this is the way in has, `inner` of them not
    /// zero: whole blocks of them in a file of blocks, and where blocks are made of them.
    pub(crate) fn inner_width(&self, inner: usize) -> usize {
        let padded = quantization::padded_width(inner);
        let is_stored = self.shape("bias") == Some(&[padded]);
        let is_made = self.quantization.is_some() && self.device.is_cpu();
        if is_stored || is_made { padded } else { inner }
    }

    /// Returns a tensor of the expected shape in a float type.
    fn floats(&self, name: &str, shape: &[usize]) -> Result<checkpoint::Tensor, Error> {
        self.get(name, shape).map(widened)
    }

    /// Returns a matrix to multiply with or to look rows up in; what is stored in the right type
    /// is not copied on the CPU.
    pub(crate) fn matrix(&self, name: &str, shape: &[usize]) -> Result<Storage, Error> {
        let storage = self.storage(name, shape)?;
        let bytes = storage.dtype().num_bytes(shape).unwrap_or(0);
        let mut footprint = self.footprint.get();
        footprint.add(&self.name(name), shape, bytes);
        self.footprint.set(footprint);
        Ok(storage)
    }

    fn storage(&self, name: &str, shape: &[usize]) -> Result<Storage, Error> {
        if let Some(parameter) = self.parameter(name, shape)? {
            return Ok(Storage::Trained(parameter));
        }
        if let Some(dtype) = self.blocks_of(name, shape) {
            let tensor = self.converted(name, &self.stored(name, shape)?, dtype)?;
            return Ok(Storage::mapped(tensor.bytes, dtype));
        }
        let tensor = self.get(name, shape)?;
        if self.device.is_cpu() {
            let checkpoint::Tensor { bytes, dtype, .. } = tensor;
            return Ok(Storage::mapped(bytes, dtype));
        }
        let checkpoint::Tensor { bytes, dtype, .. } = widened(tensor);
        let width = shape[1..].iter().product::<usize>();
        let shape = [shape[0], width];
        Ok(Storage::Dense(Tensor::from_raw_buffer(&bytes, to_candle(dtype), &shape, self.device)?))
    }

    /// Returns the blocks that a matrix is to become.
    fn blocks_of(&self, name: &str, shape: &[usize]) -> Option<Dtype> {
        let quantization = self.quantization.filter(|_| self.device.is_cpu())?;
        quantization.choose(&self.name(name), shape).dtype()
    }

    /// Returns a small tensor in the type of the activations: f32 on the CPU.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight, Error> {
        if let Some(parameter) = self.parameter(name, shape)? {
            return Ok(Weight::Trained(parameter));
        }
        let checkpoint::Tensor { bytes, dtype, .. } = self.floats(name, shape)?;
        let dtype = to_candle(dtype);
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, shape, self.device)?;
        let dtype = if self.device.is_cpu() { DType::F32 } else { dtype };
        Ok(Weight::Fixed(tensor.to_dtype(dtype)?))
    }

    /// Returns the parameter of a name, if it is trained.
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<Option<Arc<Parameter>>, Error> {
        let Some(Training { trained, parameters }) = self.training else { return Ok(None) };
        if !(trained.is_trained)(&self.name(name)) {
            return Ok(None);
        }
        let make = |full: String| {
            let tensor = self.floats(name, shape)?;
            let found = tensor.dtype;
            let wrong = |_| Error::TensorDtype { name: full.clone(), found };
            let values = tensor.to_f32_vec().map_err(wrong)?;
            Ok::<_, Error>(Parameter::new(full, shape.to_vec(), values, self.device))
        };
        parameters.borrow_mut().share(self.name(name), make).map(Some)
    }

    /// Returns the adapter of the linear layer that this part is, if it has one.
    pub(crate) fn adapter(&self, [width, out_width]: [usize; 2]) -> Result<Option<Adapter>, Error> {
        let Some(Training { trained, parameters }) = self.training else { return Ok(None) };
        let Some(lora) = &trained.lora else { return Ok(None) };
        if !(lora.is_target)(&self.prefix) {
            return Ok(None);
        }
        let make = |name: &str, shape: [usize; 2], start: &dyn Fn(&str) -> Vec<f32>| {
            let make = |full: String| {
                let values = if self.has(name) {
                    let tensor = self.floats(name, &shape)?;
                    let found = tensor.dtype;
                    let wrong = |_| Error::TensorDtype { name: full.clone(), found };
                    tensor.to_f32_vec().map_err(wrong)?
                } else {
                    start(&full)
                };
                Ok::<_, Error>(Parameter::new(full, shape.to_vec(), values, self.device))
            };
            parameters.borrow_mut().share(self.name(name), make)
        };
        let rank = lora.rank;
        let a = |name: &str| lora::uniform(lora.seed, name, rank * width, width);
        let b = |_: &str| vec![0.0; out_width * rank];
        Ok(Some(Adapter {
            a: Storage::Trained(make("lora_A.weight", [rank, width], &a)?),
            b: Storage::Trained(make("lora_B.weight", [out_width, rank], &b)?),
            rank,
            scale: lora.scale(),
        }))
    }
}

/// Returns the framework's name of a float type, for blocks that of the numbers beside them.
pub(crate) fn to_candle(dtype: Dtype) -> DType {
    match dtype {
        dtype if format(dtype).is_some() => DType::BF16,
        Dtype::Bf16 => DType::BF16,
        Dtype::F16 => DType::F16,
        _ => DType::F32,
    }
}

impl Storage {
    /// Returns a matrix of a mapped file.
    pub(crate) fn mapped(bytes: Bytes, dtype: Dtype) -> Self {
        Self::Mapped { bytes, dtype, rounded: Arc::default() }
    }

    /// Returns the mapped elements for the kernels.
    pub(crate) fn as_matrix(
        bytes: &Bytes,
        dtype: Dtype,
    ) -> candle_core::Result<kernels::Matrix<'_>> {
        if let Some(format) = format(dtype) {
            return Ok(kernels::Matrix::Blocks(Blocks { format, bytes }));
        }
        let matrix = match dtype {
            Dtype::Bf16 => bytes.as_bf16().map(kernels::Matrix::Bf16),
            Dtype::F16 => bytes.as_f16().map(kernels::Matrix::F16),
            _ => bytes.as_f32().map(kernels::Matrix::F32),
        };
        matrix.ok_or_else(|| candle_core::Error::Msg("weights are not aligned".to_owned()))
    }

    /// Returns the type of the elements.
    pub(crate) fn dtype(&self) -> Dtype {
        match self {
            Self::Mapped { dtype, .. } => *dtype,
            Self::Trained(_) => Dtype::F32,
            Self::Dense(tensor) => match tensor.dtype() {
                DType::BF16 => Dtype::Bf16,
                DType::F16 => Dtype::F16,
                _ => Dtype::F32,
            },
        }
    }

    /// Returns the given rows in the type of the activations. `// [ids, width]`
    pub(crate) fn rows(&self, ids: &[u32], width: usize, device: &Device) -> Result<Tensor, Error> {
        match self {
            Self::Dense(table) => {
                let ids = Tensor::new(ids, device)?;
                Ok(table.index_select(&ids, 0)?)
            }
            Self::Trained(parameter) => {
                let values = parameter.values();
                let row = |id: &u32| &values[*id as usize * width..][..width];
                let rows: Vec<f32> = ids.iter().flat_map(row).copied().collect();
                Ok(Tensor::from_vec(rows, (ids.len(), width), device)?)
            }
            Self::Mapped { bytes, dtype, .. } => {
                let mut rows = Vec::with_capacity(ids.len() * width);
                let matrix = Self::as_matrix(bytes, *dtype)?;
                for id in ids {
                    let range = *id as usize * width..(*id as usize + 1) * width;
                    match matrix {
                        kernels::Matrix::F32(all) => rows.extend(&all[range]),
                        kernels::Matrix::Bf16(all) => {
                            rows.extend(all[range].iter().map(|v| v.to_f32()));
                        }
                        kernels::Matrix::F16(all) => {
                            rows.extend(all[range].iter().map(|v| v.to_f32()));
                        }
                        kernels::Matrix::Blocks(Blocks { format, bytes }) => {
                            let size = format.num_bytes(width);
                            let bytes = &bytes[*id as usize * size..][..size];
                            let start = rows.len();
                            rows.resize(start + width, 0.0);
                            kernels::dequantize(Blocks { format, bytes }, &mut rows[start..]);
                        }
                    }
                }
                Ok(Tensor::from_vec(rows, (ids.len(), width), device)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(dtype: Dtype) -> Checkpoint {
        let values: Vec<u8> = (0..12_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
        let bytes = Bytes::from(values);
        let tensor = checkpoint::Tensor { dtype: Dtype::F32, shape: vec![3, 4], bytes };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("model.safetensors");
        let tensor = tensor.to_dtype(dtype).unwrap();
        checkpoint::save_file(&file, [("table", &tensor)]).unwrap();
        Checkpoint::open(&file).unwrap()
    }

    #[test]
    fn a_matrix_on_the_cpu_is_the_mapped_bytes() {
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
            let checkpoint = checkpoint(dtype);
            for wanted in [None, Some(dtype)] {
                let weights = Weights::new(&checkpoint, &Device::Cpu, wanted);
                let Storage::Mapped { bytes, dtype: found, .. } =
                    weights.matrix("table", &[3, 4]).unwrap()
                else {
                    panic!("not mapped");
                };
                let mapped = &checkpoint.tensor("table").unwrap().bytes;
                assert_eq!((bytes.as_ptr(), found), (mapped.as_ptr(), dtype));
            }
        }
    }

    #[test]
    fn rows_are_the_same_from_either_storage() {
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
            let checkpoint = checkpoint(dtype);
            let weights = Weights::new(&checkpoint, &Device::Cpu, None);
            let mapped = weights.matrix("table", &[3, 4]).unwrap();
            let dense = weights.tensor("table", &[3, 4]).unwrap().tensor().unwrap();
            let dense = Storage::Dense(dense);
            for storage in [mapped, dense] {
                let rows = storage.rows(&[2, 0, 2], 4, &Device::Cpu).unwrap();
                let rows = rows.to_vec2::<f32>().unwrap();
                assert_eq!(rows, [[8., 9., 10., 11.], [0., 1., 2., 3.], [8., 9., 10., 11.]]);
            }
        }
    }
}
