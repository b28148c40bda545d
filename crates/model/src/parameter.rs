//! What is trained.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use candle_core::{Device, Result, Tensor};
use half::bf16;

/// One trained tensor: its values in f32, wherever the model computes.
#[derive(Debug)]
pub struct Parameter {
    name: String,
    shape: Vec<usize>,
    device: Device,
    values: RwLock<Vec<f32>>,
    copies: RwLock<Copies>,
}

/// What is made of the values when it is first asked for, until they change.
#[derive(Debug, Default)]
struct Copies {
    rounded: Option<Arc<Vec<bf16>>>,
    tensor: Option<Tensor>,
}

impl Parameter {
    pub(crate) fn new(name: String, shape: Vec<usize>, values: Vec<f32>, device: &Device) -> Self {
        let (values, copies) = (RwLock::new(values), RwLock::default());
        Self { name, shape, device: device.clone(), values, copies }
    }

    /// Returns the name in the checkpoint.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the shape, outermost dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the number of elements.
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns the values, row-major, to be read while nobody changes them.
    pub fn values(&self) -> RwLockReadGuard<'_, Vec<f32>> {
        // Values are only ever overwritten, so those of a thread that panicked are values still.
        self.values.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the values.
    pub fn change(&self, change: &mut dyn FnMut(&mut [f32])) {
        change(&mut self.values.write().unwrap_or_else(PoisonError::into_inner));
        *self.copies.write().unwrap_or_else(PoisonError::into_inner) = Copies::default();
    }

    /// Returns the values rounded to bfloat16.
    pub(crate) fn rounded(&self) -> Arc<Vec<bf16>> {
        let mut copies = self.copies.write().unwrap_or_else(PoisonError::into_inner);
        let round = || Arc::new(kernels::round_to_bf16(&self.values()));
        Arc::clone(copies.rounded.get_or_insert_with(round))
    }

    /// Returns the values as a tensor on the device that computes.
    pub(crate) fn tensor(&self) -> Result<Tensor> {
        let mut copies = self.copies.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = &copies.tensor {
            return Ok(tensor.clone());
        }
        let tensor = Tensor::from_slice(&self.values(), self.shape.as_slice(), &self.device)?;
        // On the CPU only small ones come this way, and the copy is no cheaper kept.
        if !self.device.is_cpu() {
            copies.tensor = Some(tensor.clone());
        }
        Ok(tensor)
    }
}

/// All that is trained, in the order of names.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    by_name: BTreeMap<String, Arc<Parameter>>,
}

impl Parameters {
    /// Returns the parameters.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.by_name.values().map(Arc::as_ref)
    }

    /// Returns the parameter of a name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.by_name.get(name).map(Arc::as_ref)
    }

    /// Returns the number of parameters.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Returns whether nothing is trained.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Returns the number of elements of all of them.
    pub fn num_elements(&self) -> usize {
        self.iter().map(Parameter::num_elements).sum()
    }

    /// Returns the parameter of a name, made if it is not there.
    pub(crate) fn share<E>(
        &mut self,
        name: String,
        make: impl FnOnce(String) -> std::result::Result<Parameter, E>,
    ) -> std::result::Result<Arc<Parameter>, E> {
        if let Some(parameter) = self.by_name.get(&name) {
            return Ok(Arc::clone(parameter));
        }
        let parameter = Arc::new(make(name.clone())?);
        self.by_name.insert(name, Arc::clone(&parameter));
        Ok(parameter)
    }
}
