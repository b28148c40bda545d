//! From what a request says about a picture to pixel values.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use engine::Image;
use prompt::RgbImage;
use sha2::{Digest, Sha256};

use crate::App;
use crate::error::ApiError;

/// Base64 as clients write it, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where a picture is, and which field says so.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) url: String,
    pub(crate) param: String,
}

/// Reads pictures, those of other servers first.
///
/// # Errors
/// If an address is not allowed, or there is no picture.
pub(crate) async fn read(app: &Arc<App>, sources: Vec<Source>) -> Result<Vec<Image>, ApiError> {
    let mut found = Vec::with_capacity(sources.len());
    for Source { url, param } in sources {
        let place = if is_remote(&url) {
            Place::Remote(fetch(app, url, &param).await?)
        } else {
            Place::Local(url)
        };
        found.push((place, param));
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let reader = Arc::clone(app);
    let read =
        move || found.into_iter().map(|(place, param)| one(&reader, place, &param)).collect();
    app.budget.work(read).await
}

/// Where a picture is now.
enum Place {
    Remote(Vec<u8>),
    Local(String),
}

fn is_remote(url: &str) -> bool {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
}

async fn fetch(app: &Arc<App>, url: String, param: &str) -> Result<Vec<u8>, ApiError> {
    if !app.options.remote_images {
        let message = "this server fetches no remote images; send the image as a data URI";
        return Err(ApiError::invalid(param, message));
    }
    let fetcher = app.fetcher.clone();
    let fetched = app.budget.wait(move || fetcher.fetch(&url)).await?;
    fetched.map_err(|message| ApiError::invalid(param, message))
}

fn one(app: &App, place: Place, param: &str) -> Result<Image, ApiError> {
    let refuse = |message: String| ApiError::invalid(param, message);
    let bytes = match place {
        Place::Remote(bytes) => bytes,
        Place::Local(url) => {
            if let Some(rest) = url.strip_prefix("data:") {
                data(rest).ok_or_else(|| {
                    refuse(
                        "the data URI is not valid, expected `data:image/...;base64,...`"
                            .to_owned(),
                    )
                })?
            } else if let Some(path) = url.strip_prefix("file://") {
                file(app, path).ok_or_else(|| {
                    refuse("`file:` addresses are not allowed, or there is no such file".to_owned())
                })?
            } else {
                return Err(refuse(
                    "the address of an image is not known, expected a data URI".to_owned(),
                ));
            }
        }
    };
    let picture = RgbImage::decode_within(&bytes, app.options.image_limits)
        .map_err(|error| refuse(error.to_string()))?;
    let key = Sha256::digest(&bytes).into();
    Ok(Image { key, pixels: Arc::new(app.model.preprocessor.preprocess(&picture)) })
}

fn data(rest: &str) -> Option<Vec<u8>> {
    let (head, body) = rest.split_once(',')?;
    if !head.ends_with(";base64") {
        return None;
    }
    let body = body.trim();
    if body.contains(['-', '_']) {
        return general_purpose::URL_SAFE.decode(body).ok();
    }
    BASE64.decode(body).ok()
}

/// Reads a file of the folder that is allowed, links resolved.
fn file(app: &App, path: &str) -> Option<Vec<u8>> {
    let root = app.options.files.as_ref()?.canonicalize().ok()?;
    let path = Path::new(path).canonicalize().ok()?;
    let allowed = path.starts_with(&root) && path.is_file();
    let small = path.metadata().ok()?.len() <= app.options.max_body_bytes as u64;
    if allowed && small { std::fs::read(path).ok() } else { None }
}
