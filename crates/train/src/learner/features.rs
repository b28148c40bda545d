//! What a frozen vision encoder makes of images, remembered on disk.

use std::path::Path;

use candle_core::Tensor;
use model::Aki;

use super::aki::{AkiFiles, stack};
use crate::Error;
use crate::features::{FeatureCache, image_key, key};

/// The features of images, computed once.
#[derive(Debug)]
pub(super) struct EncodedImages {
    cache: FeatureCache,
    /// Patches of an image and numbers of a patch.
    shape: (usize, usize),
}

impl EncodedImages {
    /// Opens the cache of a model's encoder in a folder, for a rank.
    pub(super) fn open(files: &AkiFiles, folder: &Path, rank: usize) -> Result<Self, Error> {
        let vision = &files.config.vision;
        let shape = (vision.num_patches(), vision.hidden_size);
        let names = files.weights.names().filter(|name| name.starts_with("vision_encoder."));
        let tensors = names.filter_map(|name| files.weights.tensor(name));
        let how = format!("{vision:?}");
        let parts = tensors.map(|tensor| &*tensor.bytes).chain([how.as_bytes()]);
        let cache = FeatureCache::open(folder, &key(parts), rank, shape.0 * shape.1)?;
        Ok(Self { cache, shape })
    }

    /// Returns the features of images. `// [images, patches, width]`
    pub(super) fn of(&mut self, aki: &Aki, images: &[&[f32]]) -> Result<Tensor, Error> {
        let keys: Vec<_> = images.iter().map(|pixels| image_key(pixels)).collect();
        let mut features = Vec::with_capacity(images.len());
        for key in &keys {
            features.push(self.cache.get(key)?);
        }
        if features.contains(&None) {
            // Another process may have encoded some meanwhile.
            self.cache.refresh()?;
            for (key, features) in keys.iter().zip(&mut features) {
                if features.is_none() {
                    *features = self.cache.get(key)?;
                }
            }
        }
        let missing: Vec<_> = (0..images.len()).filter(|at| features[*at].is_none()).collect();
        if !missing.is_empty() {
            let pixels: Vec<_> = missing.iter().map(|at| images[*at]).collect();
            let encoded = aki.encode(&stack(&pixels, aki)?)?;
            for (row, at) in missing.into_iter().enumerate() {
                let values = encoded.get(row)?.flatten_all()?.to_vec1::<f32>()?;
                self.cache.put(keys[at], &values)?;
                features[at] = Some(values);
            }
        }
        let values = features.into_iter().flatten().flatten().collect::<Vec<_>>();
        let (patches, width) = self.shape;
        Ok(Tensor::from_vec(values, (images.len(), patches, width), aki.device())?)
    }
}
