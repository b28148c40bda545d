//! Timing, and what the machine gives.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

/// One measured thing.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) median_ms: f64,
    pub(super) best_ms: f64,
    pub(super) worst_ms: f64,
    /// How many units the median makes in a second.
    pub(super) per_second: f64,
    pub(super) unit: &'static str,
    /// Bytes of weights, and of keys and values, that are read in a second; where a pass reads them
    /// once and they are what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) read_bytes_per_second: Option<f64>,
    /// Operations of products with weights in a second, a multiply-add being two; attention and
    /// what lies between are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operations_per_second: Option<f64>,
    /// The most memory that the program has held meanwhile, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_memory_bytes: Option<u64>,
}

/// Runs `work` once to warm up and `repeat` times to measure; `work` returns its seconds, and does
/// `count` units in them.
pub(super) fn row(
    name: impl Into<String>,
    (count, unit): (usize, &'static str),
    repeat: usize,
    mut work: impl FnMut() -> Result<f64>,
) -> Result<Row> {
    work()?;
    let mut seconds = (0..repeat).map(|_| work()).collect::<Result<Vec<_>>>()?;
    seconds.sort_by(f64::total_cmp);
    let median = f64::midpoint(seconds[(repeat - 1) / 2], seconds[repeat / 2]);
    Ok(Row {
        name: name.into(),
        median_ms: median * 1e3,
        best_ms: seconds[0] * 1e3,
        worst_ms: seconds[repeat - 1] * 1e3,
        per_second: count as f64 / median,
        unit,
        read_bytes_per_second: None,
        operations_per_second: None,
        peak_memory_bytes: None,
    })
}

impl Row {
    /// Says how many bytes a run reads.
    pub(super) fn reading(self, bytes: usize) -> Self {
        let rate = bytes as f64 / (self.median_ms / 1e3);
        Self { read_bytes_per_second: Some(rate), ..self }
    }

    /// Says how many operations a run has.
    pub(super) fn computing(self, operations: usize) -> Self {
        let rate = operations as f64 / (self.median_ms / 1e3);
        Self { operations_per_second: Some(rate), ..self }
    }
}

/// Times a piece of work.
pub(super) fn seconds<T>(work: impl FnOnce() -> Result<T>) -> Result<f64> {
    let start = Instant::now();
    black_box(work()?);
    Ok(start.elapsed().as_secs_f64())
}

/// Forgets the most memory that this process has held, where the system can.
pub(super) fn reset_peak_memory() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Returns the most memory that this process has held, where the system says.
pub(super) fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    peak_of(&status)
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_systems_table() {
        assert_eq!(peak_of("Name:\taki\nVmHWM:\t    1200 kB\nVmRSS:\t 7 kB\n"), Some(1_228_800));
        assert_eq!(peak_of("Name:\taki\n"), None);
    }

    #[test]
    fn rates_are_those_of_the_median() {
        let row = row("work", (1, "runs/s"), 1, || Ok(2.0)).unwrap();
        assert!(row.read_bytes_per_second.is_none() && row.operations_per_second.is_none());
        let row = row.reading(100).computing(30);
        let found = (row.read_bytes_per_second, row.operations_per_second);
        assert_eq!(found, (Some(50.0), Some(15.0)));
    }

    #[test]
    fn the_first_run_only_warms_up() {
        let mut times = [9.0, 3.0, 1.0, 2.0].into_iter();
        let row = row("work", (10, "units/s"), 3, || Ok(times.next().unwrap())).unwrap();
        let found = [row.median_ms, row.best_ms, row.worst_ms, row.per_second];
        for (found, expected) in found.into_iter().zip([2e3, 1e3, 3e3, 5.0]) {
            assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
        }
    }
}
