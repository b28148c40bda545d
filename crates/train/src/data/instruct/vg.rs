//! Visual Genome: descriptions of millions of regions.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::regions::Regions;
use super::{InstructionSet, read};
use crate::data::Error;
use crate::recipe::DataRecipe;

#[derive(Deserialize)]
struct Size {
    #[serde(alias = "id")]
    image_id: u64,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Image {
    #[serde(alias = "image_id")]
    id: u64,
    regions: Vec<Region>,
}

#[derive(Deserialize)]
struct Region {
    x: f32,
    y: f32,
    width: f32,
    height: f32,
    phrase: String,
}

pub(super) fn open(recipe: &DataRecipe) -> Result<Arc<dyn InstructionSet>, Error> {
    let [descriptions, sizes] =
        read::files(recipe, ["region_descriptions.json", "image_data.json"])?;
    let mut regions = Regions::new(read::images(recipe)?);
    let mut size_of = HashMap::new();
    read::list(&sizes, None, |record: Size| {
        size_of.insert(record.image_id, (record.width, record.height));
    })?;
    let mut num_unknown = 0_u64;
    read::list(&descriptions, None, |image: Image| {
        let Some((width, height)) = size_of.get(&image.id) else {
            num_unknown += 1;
            return;
        };
        regions.push_picture(&format!("{}.jpg", image.id), f64::from(*width), f64::from(*height));
        for Region { x, y, width, height, phrase } in image.regions {
            regions.push([x, y, width, height], &phrase);
        }
    })?;
    if num_unknown > 0 {
        let path = sizes.display();
        tracing::warn!(num_unknown, "pictures have no size in `{path}`, they are left out");
    }
    Ok(regions.finish())
}
