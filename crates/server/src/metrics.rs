//! Counters in the format of Prometheus.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::App;

/// Upper ends of the buckets of durations, in seconds.
const BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0];

/// What has happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Requests by the class of their status: 2xx, 4xx, 5xx, others.
    requests: [AtomicU64; 4],
    /// Tokens of prompts, of them those that were cached, and tokens of replies.
    tokens: [AtomicU64; 3],
    first_token: Histogram,
    durations: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    microseconds: AtomicU64,
}

impl Histogram {
    fn observe(&self, time: Duration) {
        for (bucket, end) in self.buckets.iter().zip(BUCKETS) {
            if time.as_secs_f64() <= end {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    fn write(&self, name: &str, text: &mut String) {
        let _ = writeln!(text, "# TYPE {name} histogram");
        for (bucket, end) in self.buckets.iter().zip(BUCKETS) {
            let count = bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{le=\"{end}\"}} {count}");
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = self.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum {sum}\n{name}_count {count}");
    }
}

impl Metrics {
    /// Counts an answered request.
    pub(crate) fn request(&self, status: u16, time: Duration) {
        let class = match status / 100 {
            2 => 0,
            4 => 1,
            5 => 2,
            _ => 3,
        };
        self.requests[class].fetch_add(1, Ordering::Relaxed);
        self.durations.observe(time);
    }

    /// Counts a finished reply.
    pub(crate) fn reply(&self, timings: &engine::Timings) {
        let tokens = [timings.prompt_tokens, timings.cached_tokens, timings.new_tokens];
        for (counter, count) in self.tokens.iter().zip(tokens) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
        self.first_token.observe(timings.prefill);
    }
}

/// Writes all counters.
pub(crate) async fn handle(State(app): State<Arc<App>>) -> Response {
    let metrics = &app.metrics;
    let mut text = String::from("# TYPE aki_requests_total counter\n");
    for (class, count) in ["2xx", "4xx", "5xx", "other"].iter().zip(&metrics.requests) {
        let count = count.load(Ordering::Relaxed);
        let _ = writeln!(text, "aki_requests_total{{status=\"{class}\"}} {count}");
    }
    let kinds = ["aki_prompt_tokens_total", "aki_cached_tokens_total", "aki_new_tokens_total"];
    for (name, count) in kinds.iter().zip(&metrics.tokens) {
        let count = count.load(Ordering::Relaxed);
        let _ = writeln!(text, "# TYPE {name} counter\n{name} {count}");
    }
    let counts = app.model.scheduler.counts();
    for (name, value) in [
        ("aki_requests_running", counts.running),
        ("aki_requests_waiting", counts.waiting),
        ("aki_cache_bytes", counts.cache_bytes),
        ("aki_image_feature_bytes", counts.feature_bytes),
    ] {
        let _ = writeln!(text, "# TYPE {name} gauge\n{name} {value}");
    }
    for (name, value) in [
        ("aki_image_cache_hits_total", counts.feature_hits),
        ("aki_image_cache_misses_total", counts.feature_misses),
    ] {
        let _ = writeln!(text, "# TYPE {name} counter\n{name} {value}");
    }
    metrics.first_token.write("aki_first_token_seconds", &mut text);
    metrics.durations.write("aki_request_seconds", &mut text);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
