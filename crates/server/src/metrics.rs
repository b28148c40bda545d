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
const BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0];

/// How replies end; the last is without an end, because the client went away or something failed.
const FINISHES: [&str; 3] = ["stop", "length", "none"];

/// What has happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Requests by the class of their status: 2xx, 4xx, 5xx, others.
    requests: [AtomicU64; 4],
    /// Replies by how they ended: as `FINISHES` says.
    replies: [AtomicU64; FINISHES.len()],
    /// Tokens of prompts, of them those that were cached, and tokens of replies.
    tokens: [AtomicU64; 3],
    first_token: Histogram,
    next_token: Histogram,
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

    fn write(&self, name: &str, about: &str, text: &mut String) {
        head(name, "histogram", about, text);
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

fn head(name: &str, kind: &str, about: &str, text: &mut String) {
    let _ = writeln!(text, "# HELP {name} {about}\n# TYPE {name} {kind}");
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

    /// Counts a reply that has ended, complete or not; `first` is when its first token came.
    pub(crate) fn reply(&self, finish: &str, first: Option<Duration>, timings: &engine::Timings) {
        let kinds = FINISHES.iter().zip(&self.replies);
        if let Some((_, count)) = kinds.into_iter().find(|(name, _)| **name == finish) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let tokens = [timings.prompt_tokens, timings.cached_tokens, timings.new_tokens];
        for (counter, count) in self.tokens.iter().zip(tokens) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
        if let Some(first) = first {
            self.first_token.observe(first);
        }
        if let Some(following @ 1..) = timings.new_tokens.checked_sub(1) {
            self.next_token.observe(timings.decode / u32::try_from(following).unwrap_or(u32::MAX));
        }
    }

    fn write(&self, text: &mut String) {
        head("aki_requests_total", "counter", "Requests by the class of their status", text);
        for (class, count) in ["2xx", "4xx", "5xx", "other"].iter().zip(&self.requests) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "aki_requests_total{{status=\"{class}\"}} {count}");
        }
        head("aki_replies_total", "counter", "Replies by how they ended", text);
        for (finish, count) in FINISHES.iter().zip(&self.replies) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "aki_replies_total{{finish=\"{finish}\"}} {count}");
        }
        let kinds = [
            ("aki_prompt_tokens_total", "Tokens of prompts"),
            ("aki_cached_tokens_total", "Tokens of prompts that were not computed again"),
            ("aki_new_tokens_total", "Tokens of replies"),
        ];
        for ((name, about), count) in kinds.iter().zip(&self.tokens) {
            head(name, "counter", about, text);
            let _ = writeln!(text, "{name} {}", count.load(Ordering::Relaxed));
        }
        let histograms = [
            (&self.first_token, "aki_first_token_seconds", "From a question to its first token"),
            (&self.next_token, "aki_next_token_seconds", "Between tokens, the mean of a reply"),
            (&self.durations, "aki_request_seconds", "Requests, to the start of a stream"),
        ];
        for (histogram, name, about) in histograms {
            histogram.write(name, about, text);
        }
    }
}

/// Writes all counters.
pub(crate) async fn handle(State(app): State<Arc<App>>) -> Response {
    let mut text = String::new();
    app.metrics.write(&mut text);
    let counts = app.model.scheduler.counts();
    for (name, kind, value, about) in [
        ("aki_requests_running", "gauge", counts.running, "Replies that are being written"),
        ("aki_requests_waiting", "gauge", counts.waiting, "Replies that have not begun"),
        ("aki_cache_bytes", "gauge", counts.cache_bytes, "Memory of keys and values"),
        ("aki_image_feature_bytes", "gauge", counts.feature_bytes, "Memory of images' features"),
        ("aki_image_cache_hits_total", "counter", counts.feature_hits, "Images seen before"),
        ("aki_image_cache_misses_total", "counter", counts.feature_misses, "Images seen anew"),
    ] {
        head(name, kind, about, &mut text);
        let _ = writeln!(text, "{name} {value}");
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
