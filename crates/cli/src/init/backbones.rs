//! The pretrained models that an AKI starts with: a vision encoder and a decoder.

use anyhow::{Context, Result};
use checkpoint::{Checkpoint, Dtype, Tensor, TensorSpec};

use crate::environment::Environment;
use crate::load::Model;
use crate::report::Failure;

/// Tensors of ours below `prefix` are `theirs` and the rest of the name in the backbone.
struct Place {
    option: &'static str,
    prefix: &'static str,
    theirs: &'static str,
    /// What no backbone has: the added ids, and the bias of the head.
    ours: &'static [&'static str],
}

const VISION: Place =
    Place { option: "--vision", prefix: "vision_encoder.", theirs: "vision_model.", ours: &[] };
const TEXT: Place = Place {
    option: "--text",
    prefix: "lang_model.",
    theirs: "",
    ours: &["additional_embedding.", "additional_fc.", "lm_head.bias"],
};

/// The backbones that were named.
pub(super) struct Backbones {
    found: Vec<(Place, String, Checkpoint)>,
}

impl Backbones {
    /// Opens the checkpoints, downloading those of hub ids that are not there yet.
    ///
    /// # Errors
    /// If one of them does not exist or is not sound.
    pub(super) fn open(
        vision: Option<&str>,
        text: Option<&str>,
        environment: &Environment,
    ) -> Result<Self> {
        let named = [(VISION, vision), (TEXT, text)];
        let open = |(place, name): (Place, Option<&str>)| {
            let name = name?;
            let checkpoint = Model::locate(name, environment).and_then(|it| it.checkpoint());
            let checkpoint = checkpoint.with_context(|| format!("{} `{name}`", place.option));
            Some(checkpoint.map(|checkpoint| (place, name.to_owned(), checkpoint)))
        };
        Ok(Self { found: named.into_iter().filter_map(open).collect::<Result<_>>()? })
    }

    /// Returns the bytes of a tensor, none if it is not the backbones' to give.
    ///
    /// # Errors
    /// If a backbone lacks it, or has it in another shape.
    pub(super) fn bytes(&self, spec: &TensorSpec) -> Result<Option<checkpoint::Bytes>> {
        let Some((tensor, place, name)) = self.tensor(spec)? else { return Ok(None) };
        if tensor.shape != spec.shape {
            let (found, expected) = (&tensor.shape, &spec.shape);
            let message = format!(
                "tensor `{}` of {} `{name}` has shape {found:?}, expected {expected:?}",
                place.their_name(&spec.name),
                place.option
            );
            return Err(Failure::new(message)
                .hint("--preset says which model it should be")
                .into());
        }
        // Blocks of few bits, as of a GGUF file, start a model as well as floats do.
        let as_floats = model::widened(tensor.clone()).to_dtype(spec.dtype);
        let as_floats = as_floats.with_context(|| format!("tensor `{}`", spec.name))?;
        Ok(Some(as_floats.bytes))
    }

    fn tensor(&self, spec: &TensorSpec) -> Result<Option<(&Tensor, &Place, &str)>> {
        for (place, name, checkpoint) in &self.found {
            if !spec.name.starts_with(place.prefix)
                || place.ours.iter().any(|part| spec.name.contains(part))
            {
                continue;
            }
            let wanted = place.their_name(&spec.name);
            // A checkpoint of ours has them under our names.
            let tensor = checkpoint.tensor(&wanted).or_else(|| checkpoint.tensor(&spec.name));
            let Some(tensor) = tensor.filter(|it| it.dtype != Dtype::U8) else {
                let message = format!("{} `{name}` has no tensor `{wanted}`", place.option);
                return Err(Failure::new(message).into());
            };
            return Ok(Some((tensor, place, name)));
        }
        Ok(None)
    }
}

impl Place {
    fn their_name(&self, name: &str) -> String {
        format!("{}{}", self.theirs, name.trim_start_matches(self.prefix))
    }
}
