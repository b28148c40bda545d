//! Bodies of requests, and how much of them and of the work on them there is at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::header::CONTENT_LENGTH;
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::App;
use crate::error::ApiError;

/// How many of the largest bodies there is memory for.
const LARGEST_BODIES: usize = 4;
/// How many answers of other servers are waited for at once.
const FETCHES: usize = 32;
/// How many bytes a second have to arrive once the time that every body gets is over.
const BODY_SPEED: u64 = 256 << 10;
/// What memory is counted in, in bytes.
const UNIT: usize = 1 << 10;

/// How much is done at once besides answering; what is beyond that waits.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Memory for bodies, in units.
    memory: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
}

/// A body, and its place in memory.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) place: OwnedSemaphorePermit,
}

impl Budget {
    /// Returns a budget for bodies of at most `max_body_bytes`.
    pub(crate) fn new(max_body_bytes: usize) -> Self {
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        let memory = LARGEST_BODIES.saturating_mul(units(max_body_bytes) as usize);
        Self {
            memory: Arc::new(Semaphore::new(memory.min(Semaphore::MAX_PERMITS))),
            workers: Arc::new(Semaphore::new(workers)),
            fetches: Arc::new(Semaphore::new(FETCHES)),
        }
    }

    /// Runs what takes a while on a thread for such work.
    ///
    /// # Errors
    /// If the work fails.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        run(&self.workers, work).await?
    }

    /// Runs what waits for others on a thread of its own.
    ///
    /// # Errors
    /// If the work panics.
    pub(crate) async fn wait<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        run(&self.fetches, work).await
    }
}

async fn run<T: Send + 'static>(
    places: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let place = Arc::clone(places).acquire_owned().await.map_err(|_| ApiError::Stopping)?;
    let task = tokio::task::spawn_blocking(move || {
        // Work goes on when its client is gone, and takes its place until it is done.
        let _place = place;
        work()
    });
    task.await.map_err(|error| {
        tracing::error!(%error, "reading a request failed");
        ApiError::Internal
    })
}

/// Receives a request's body.
///
/// # Errors
/// If it is too large, too slow or does not arrive.
pub(crate) async fn receive(app: &App, request: Request) -> Result<Body, ApiError> {
    let limit = app.options.max_body_bytes;
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    // A body that does not say how long it is may be as long as any.
    let length = length.and_then(|length| length.parse().ok()).unwrap_or(limit);
    if length > limit {
        return Err(ApiError::TooLarge { limit });
    }
    let memory = Arc::clone(&app.budget.memory);
    let place = memory.acquire_many_owned(units(length)).await;
    let place = place.map_err(|_| ApiError::Stopping)?;
    let bytes = collect(request.into_body(), limit, app.options.body_time).await?;
    Ok(Body { bytes, place })
}

/// Collects a body that keeps up: its time grows with what has arrived of it, not with what it
/// promises, so that nobody holds the memory of large bodies by sending none.
async fn collect(
    body: axum::body::Body,
    limit: usize,
    time: Duration,
) -> Result<Vec<u8>, ApiError> {
    let started = Instant::now();
    let mut bytes = Vec::new();
    let mut stream = body.into_data_stream();
    loop {
        let until = started + time + Duration::from_secs(bytes.len() as u64 / BODY_SPEED);
        let next = tokio::time::timeout_at(until, stream.next()).await;
        let Some(part) = next.map_err(|_| ApiError::Slow)? else { break };
        let part = part.map_err(|_| ApiError::Invalid {
            message: "the body did not arrive as a whole".to_owned(),
            param: None,
        })?;
        if bytes.len() + part.len() > limit {
            return Err(ApiError::TooLarge { limit });
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / UNIT + 1).unwrap_or(u32::MAX >> 3)
}
