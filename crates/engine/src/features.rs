//! The features of images, kept by content.

use std::collections::BTreeMap;

use candle_core::Tensor;
use model::{Aki, NoTap};

use crate::{Error, Image};

/// The features of the images that were seen last.
#[derive(Debug)]
pub(crate) struct Features {
    known: BTreeMap<[u8; 32], (Tensor, u64)>,
    clock: u64,
    pub(crate) num_bytes: usize,
    max_bytes: usize,
    pub(crate) hits: usize,
    pub(crate) misses: usize,
}

impl Features {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { known: BTreeMap::new(), clock: 0, num_bytes: 0, max_bytes, hits: 0, misses: 0 }
    }

    /// Returns the features of an image, `[tokens, hidden]`, if they are at hand.
    pub(crate) fn known(&mut self, image: &Image) -> Option<Tensor> {
        let (features, used) = self.known.get_mut(&image.key)?;
        self.clock += 1;
        *used = self.clock;
        self.hits += 1;
        Some(features.clone())
    }

    /// Computes the features of an image, `[tokens, hidden]`, and keeps them.
    pub(crate) fn see(&mut self, aki: &Aki, image: &Image) -> Result<Tensor, Error> {
        self.clock += 1;
        self.misses += 1;
        let size = aki.config().vision.image_size;
        let pixels = Tensor::from_slice(&image.pixels, (1, 3, size, size), aki.device())?;
        let features = aki.see(&pixels, &mut NoTap)?.squeeze(0)?;
        self.num_bytes += bytes_of(&features);
        self.known.insert(image.key, (features.clone(), self.clock));
        while self.num_bytes > self.max_bytes {
            let oldest = self.known.iter().min_by_key(|(_, (_, used))| *used);
            let Some(key) = oldest.map(|(key, _)| *key) else { break };
            if let Some((dropped, _)) = self.known.remove(&key) {
                self.num_bytes -= bytes_of(&dropped);
            }
        }
        Ok(features)
    }
}

fn bytes_of(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}
