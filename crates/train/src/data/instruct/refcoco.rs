//! `RefCOCO`, `RefCOCO+` and `RefCOCOg`: expressions for things in pictures of COCO.
//!
//! All three are read in the form that MDETR gave them: one picture for every expression.

use std::sync::Arc;

use serde::Deserialize;

use super::regions::Regions;
use super::{InstructionSet, Place, read};
use crate::data::Error;

#[derive(Deserialize)]
struct Image {
    file_name: String,
    width: f64,
    height: f64,
    caption: String,
}

#[derive(Deserialize)]
struct Annotation {
    bbox: [f64; 4],
}

pub(super) fn open(place: &Place<'_>) -> Result<Arc<dyn InstructionSet>, Error> {
    let mut regions = Regions::new(place.images);
    let mut boxes = Vec::new();
    read::list(&place.files[0], Some("annotations"), |record: Annotation| boxes.push(record.bbox))?;
    let mut num_images = 0;
    // The two lists have the same order.
    read::list(&place.files[0], Some("images"), |record: Image| {
        if let Some(pixels) = boxes.get(num_images) {
            regions.push_picture(&record.file_name, record.width, record.height);
            regions.push(*pixels, &record.caption);
        }
        num_images += 1;
    })?;
    if num_images != boxes.len() {
        let reason = format!(
            "it has {num_images} `images` and {} `annotations`, expected one for each",
            boxes.len()
        );
        return Err(Error::UnusableFile { path: place.files[0].clone(), reason });
    }
    Ok(regions.finish())
}
