//! The parts of answers that all have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::Timings;
use serde_json::{Value, json};

/// How many ids have been given.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns an id that no other request of any replica is likely to have.
pub(crate) fn fresh_id(prefix: &str) -> String {
    use std::hash::{BuildHasher, RandomState};
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let random = || RandomState::new().hash_one((now(), count));
    format!("{prefix}{:016x}{:016x}", random(), random())
}

/// Returns how many tokens a request took, each prompt of which has gone on in some `ways`.
pub(crate) fn usage(all: &[Timings], ways: usize) -> Value {
    let prompts = || all.chunks(ways.max(1));
    let prompt: usize = prompts().map(|ways| ways[0].prompt_tokens).sum();
    let most = |ways: &[Timings]| ways.iter().map(|timings| timings.cached_tokens).max();
    let cached: usize = prompts().filter_map(most).sum();
    let new: usize = all.iter().map(|timings| timings.new_tokens).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": new,
        "total_tokens": prompt + new,
        "prompt_tokens_details": {"cached_tokens": cached},
    })
}

/// Returns where the time of a request went, in milliseconds; `first` is from the question to the
/// first token, the wait for a turn included.
pub(crate) fn timings(first: Option<Duration>, all: &[Timings]) -> Value {
    let milliseconds = |longest: Option<Duration>| {
        longest.map_or(0.0, |time| (time.as_secs_f64() * 1e6).round() / 1e3)
    };
    json!({
        "first_token_ms": milliseconds(first),
        "prefill_ms": milliseconds(all.iter().map(|timings| timings.prefill).max()),
        "decode_ms": milliseconds(all.iter().map(|timings| timings.decode).max()),
    })
}
