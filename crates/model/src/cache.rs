//! Keys and values of one sequence, in memory that is allocated once.

use candle_core::{DType, Device, Tensor};

use crate::Error;
use crate::ops::Heads;
use crate::ops::kept::{self, Kept};

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// As they are computed.
    F32,
    /// In half precision.
    F16,
    /// In bfloat16.
    Bf16,
    /// In blocks of 32 integers of eight bits with a scale; every head begins with a new one.
    Q8_0,
}

impl KvType {
    /// Every type, the largest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0];

    /// Returns the name that the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Returns the type that suits weights of a type.
    pub(crate) fn of_weights(dtype: DType) -> Self {
        match dtype {
            DType::BF16 => Self::Bf16,
            DType::F16 => Self::F16,
            _ => Self::F32,
        }
    }

    /// Returns the framework's type of single numbers, none for blocks.
    pub(crate) fn numbers(self) -> Option<DType> {
        match self {
            Self::F32 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
            Self::Q8_0 => None,
        }
    }

    /// Returns the bytes of one position's keys, or values, in one layer.
    fn num_bytes(self, heads: Heads) -> usize {
        match self.numbers() {
            Some(dtype) => heads.key_value * heads.dim * dtype.size_in_bytes(),
            None => kept::row_bytes(heads),
        }
    }
}

/// The keys and values of the first positions of one sequence, in every layer.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
    capacity: usize,
    heads: Heads,
    kv_type: KvType,
    device: Device,
}

/// Keys and values of one layer.
#[derive(Debug)]
struct LayerCache {
    keys: Memory,
    values: Memory,
}

/// Keys or values.
#[derive(Debug)]
enum Memory {
    /// `// [capacity, kv_heads * head_dim]`
    Numbers(Tensor),
    /// Rows of blocks.
    Blocks(Vec<u8>),
}

impl Memory {
    /// Takes the first positions of another of the same type, so many in so many bytes.
    fn copy_from(&mut self, other: &Self, (len, num_bytes): (usize, usize)) -> Result<(), Error> {
        match (self, other) {
            (Self::Numbers(to), Self::Numbers(from)) if len > 0 => {
                to.slice_set(&from.narrow(0, 0, len)?.contiguous()?, 0, 0)?;
            }
            (Self::Blocks(to), Self::Blocks(from)) => {
                to[..num_bytes].copy_from_slice(&from[..num_bytes]);
            }
            _ => {}
        }
        Ok(())
    }
}

impl KvCache {
    pub(crate) fn new(
        (num_layers, capacity, heads): (usize, usize, Heads),
        kv_type: KvType,
        device: &Device,
    ) -> Result<Self, Error> {
        let device = device.clone();
        let mut cache = Self { layers: Vec::new(), len: 0, capacity, heads, kv_type, device };
        for _ in 0..num_layers {
            let (keys, values) = (cache.memory(capacity)?, cache.memory(capacity)?);
            cache.layers.push(LayerCache { keys, values });
        }
        Ok(cache)
    }

    /// Returns memory for so many positions, which is written before it is read.
    fn memory(&self, capacity: usize) -> Result<Memory, Error> {
        let width = self.heads.key_value * self.heads.dim;
        Ok(match self.kv_type.numbers() {
            // Filling it would take a fortieth of the time of a prompt.
            Some(DType::BF16) if self.device.is_cpu() => {
                let numbers = kernels::unwritten_bf16(capacity * width);
                Memory::Numbers(Tensor::from_vec(numbers, (capacity, width), &self.device)?)
            }
            Some(dtype) => Memory::Numbers(Tensor::zeros((capacity, width), dtype, &self.device)?),
            None => Memory::Blocks(vec![0; capacity * kept::row_bytes(self.heads)]),
        })
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

    /// Returns how keys and values are kept.
    pub fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// Returns the memory that the cache takes, used or not.
    pub fn num_bytes(&self) -> usize {
        2 * self.layers.len() * self.capacity * self.kv_type.num_bytes(self.heads)
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
        let row_bytes = self.kv_type.num_bytes(self.heads);
        for layer in 0..self.layers.len() {
            let (keys, values) = (self.memory(capacity)?, self.memory(capacity)?);
            let LayerCache { keys: old_keys, values: old_values } = &mut self.layers[layer];
            for (old, mut larger) in [(old_keys, keys), (old_values, values)] {
                larger.copy_from(old, (self.len, self.len * row_bytes))?;
                *old = larger;
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
        let num_bytes = len * self.kv_type.num_bytes(self.heads);
        for (mine, theirs) in self.layers.iter_mut().zip(&other.layers) {
            mine.keys.copy_from(&theirs.keys, (len, num_bytes))?;
            mine.values.copy_from(&theirs.values, (len, num_bytes))?;
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
    ) -> Result<Kept<'_>, Error> {
        let start = self.len * self.kv_type.num_bytes(self.heads);
        let cached = &mut self.layers[layer];
        for (memory, new) in [(&mut cached.keys, keys), (&mut cached.values, values)] {
            match memory {
                Memory::Numbers(all) => {
                    kept::write_rows(all, self.len, new)?;
                }
                Memory::Blocks(all) => {
                    let rows = kept::in_blocks(new, self.heads)?;
                    all[start..start + rows.len()].copy_from_slice(&rows);
                }
            }
        }
        Ok(match (&cached.keys, &cached.values) {
            (Memory::Blocks(keys), Memory::Blocks(values)) => {
                Kept::Blocks(keys.into(), values.into())
            }
            (Memory::Numbers(keys), Memory::Numbers(values)) => {
                Kept::Numbers(keys.clone(), values.clone())
            }
            _ => unreachable!("a cache has one type"),
        })
    }

    /// Counts positions whose keys and values every layer has written.
    pub(crate) fn advance(&mut self, num_positions: usize) {
        self.len += num_positions;
    }
}
