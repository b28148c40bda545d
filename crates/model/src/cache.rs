//! Keys and values of one sequence, in memory that is allocated once.

use candle_core::{DType, Device, Tensor};

use crate::Error;

/// The keys and values of the first positions of one sequence, in every layer.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
    capacity: usize,
    width: usize,
    dtype: DType,
    device: Device,
}

/// Keys and values of one layer. `// [capacity, kv_heads * head_dim]`
#[derive(Debug)]
struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

impl KvCache {
    pub(crate) fn new(
        (num_layers, capacity, width): (usize, usize, usize),
        dtype: DType,
        device: &Device,
    ) -> Result<Self, Error> {
        let empty = || Tensor::zeros((capacity, width), dtype, device);
        let layers = (0..num_layers)
            .map(|_| Ok(LayerCache { keys: empty()?, values: empty()? }))
            .collect::<Result<_, Error>>()?;
        Ok(Self { layers, len: 0, capacity, width, dtype, device: device.clone() })
    }

    /// Returns the number of positions that are cached.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the number of positions that there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the memory that the cache takes, used or not.
    pub fn num_bytes(&self) -> usize {
        2 * self.layers.len() * self.capacity * self.width * self.dtype.size_in_bytes()
    }

    /// Forgets all but the first `len` positions; nothing if there are not as many.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Makes room for at least `capacity` positions.
    ///
    /// # Errors
    /// If the device's memory is exhausted.
    pub fn reserve(&mut self, capacity: usize) -> Result<(), Error> {
        if capacity <= self.capacity {
            return Ok(());
        }
        for layer in &mut self.layers {
            for tensor in [&mut layer.keys, &mut layer.values] {
                let larger = Tensor::zeros((capacity, self.width), self.dtype, &self.device)?;
                if self.len > 0 {
                    larger.slice_set(&tensor.narrow(0, 0, self.len)?.contiguous()?, 0, 0)?;
                }
                *tensor = larger;
            }
        }
        self.capacity = capacity;
        Ok(())
    }

    /// Replaces what is cached by the first `len` positions of another sequence of the same model;
    /// by all of them, if there are not as many.
    ///
    /// # Errors
    /// If the device's memory is exhausted.
    pub fn copy_from(&mut self, other: &Self, len: usize) -> Result<(), Error> {
        let len = len.min(other.len);
        self.len = 0;
        self.reserve(len)?;
        for (mine, theirs) in self.layers.iter().zip(&other.layers) {
            for (to, from) in [(&mine.keys, &theirs.keys), (&mine.values, &theirs.values)] {
                if len > 0 {
                    to.slice_set(&from.narrow(0, 0, len)?.contiguous()?, 0, 0)?;
                }
            }
        }
        self.len = len;
        Ok(())
    }

    /// Writes new keys and values of one layer after the cached ones, and returns all of them.
    pub(crate) fn write(
        &mut self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor), Error> {
        let cached = &self.layers[layer];
        for (target, new) in [(&cached.keys, keys), (&cached.values, values)] {
            target.slice_set(&new.to_dtype(self.dtype)?.contiguous()?, 0, self.len)?;
        }
        Ok((cached.keys.clone(), cached.values.clone()))
    }

    /// Counts positions whose keys and values every layer has written.
    pub(crate) fn advance(&mut self, num_positions: usize) {
        self.len += num_positions;
    }
}
