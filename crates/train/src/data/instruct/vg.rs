//! Visual Genome: descriptions of millions of regions.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::regions::Regions;
use super::{InstructionSet, Place, read};
use crate::data::Error;

/// A picture; its number is called either way.
#[derive(Deserialize)]
struct Picture {
    id: Option<u64>,
    image_id: Option<u64>,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Description {
    id: Option<u64>,
    image_id: Option<u64>,
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

pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let mut regions = Regions::new(place.images);
    let mut size_of = HashMap::new();
    read::list(&place.files[1], None, |picture: Picture| {
        let size = (f64::from(picture.width), f64::from(picture.height));
        size_of.extend(picture.image_id.or(picture.id).map(|id| (id, size)));
    })?;
    let mut num_unknown = 0_u64;
    read::list(&place.files[0], None, |record: Description| {
        let id = record.id.or(record.image_id);
        let known = id.and_then(|id| size_of.get(&id).map(|size| (id, *size)));
        let Some((id, (width, height))) = known else {
            num_unknown += 1;
            return;
        };
        regions.push_picture(&format!("{id}.jpg"), width, height);
        for Region { x, y, width, height, phrase } in record.regions {
            regions.push([x, y, width, height], &phrase);
        }
    })?;
    if num_unknown > 0 {
        let path = place.files[1].display();
        tracing::warn!(num_unknown, "pictures have no size in `{path}`, they are left out");
    }
    Ok(regions.finish())
}
