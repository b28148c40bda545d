//! `aki bench`: speed and memory, as a table or JSON.

mod inference;
mod measure;
mod train;

use anyhow::Result;
use serde::Serialize;

use crate::args::{BenchArgs, Measured};
use crate::compute;
use crate::environment::Environment;
use crate::output;
use crate::report::Failure;
use crate::runtime::Runtime;
use measure::{Row, peak_memory};

/// More of anything than a measurement needs.
const MOST: usize = 1 << 20;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Null if only training was measured.
    model: Option<String>,
    /// The number type of the weights that was asked for.
    dtype: String,
    threads: usize,
    /// The instructions that the kernels use.
    level: &'static str,
    /// What all threads together read from memory in a second.
    read_bytes_per_second: f64,
    /// What they do in a second at most in f32, a multiply-add being two.
    operations_per_second: f64,
    /// Null if only training was measured.
    load_ms: Option<f64>,
    rows: Vec<Row>,
    /// The most memory that the program has held, mapped weights included; null where the system
    /// does not say.
    peak_memory_bytes: Option<u64>,
}

/// Measures what was asked for.
pub(crate) fn run(args: &BenchArgs, environment: &Environment) -> Result<()> {
    for (name, value, least) in [
        ("repeat", args.repeat, 1),
        ("new-tokens", args.new_tokens, 1),
        ("batch", args.batch, 1),
        // Some before the image, the question, and the mark of the reply.
        ("text-tokens", args.text_tokens, 3),
    ] {
        if !(least..=MOST).contains(&value) {
            let message = format!("`{name}` is {value}, expected a number from {least} to {MOST}");
            return Err(Failure::usage(message).into());
        }
    }
    let what = match args.what.as_slice() {
        [] => &[
            Measured::Image,
            Measured::Prefill,
            Measured::First,
            Measured::Second,
            Measured::Decode,
            Measured::Batch,
        ],
        what => what,
    };
    let mut rows = Vec::new();
    let mut load_ms = None;
    let of_model: Vec<_> = what.iter().filter(|what| **what != Measured::Train).collect();
    if of_model.is_empty() {
        compute::start(args.compute.threads, environment)?;
    } else {
        let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
        load_ms = Some(runtime.load_time.as_secs_f64() * 1e3);
        let bench = inference::Inference::new(&runtime, args)?;
        for what in of_model {
            rows.push(match what {
                Measured::Image => bench.image()?,
                Measured::Prefill => bench.prefill()?,
                Measured::First => bench.first()?,
                Measured::Second => bench.second()?,
                Measured::Decode => bench.decode()?,
                Measured::Batch => bench.batch()?,
                Measured::Train => continue,
            });
        }
    }
    if what.contains(&Measured::Train) {
        // As `aki train` does.
        kernels::keep_freed_memory();
        rows.extend(train::rows(args.decoder, args.repeat)?);
    }
    // Before the bandwidth is measured, which takes memory too.
    let peak_memory_bytes = peak_memory();
    let report = Report {
        model: load_ms.map(|_| args.model.model.clone()),
        dtype: format!("{:?}", args.compute.dtype).to_lowercase(),
        threads: kernels::parallel::num_threads(),
        level: kernels::Level::current().name(),
        read_bytes_per_second: kernels::read_bytes_per_second(),
        operations_per_second: kernels::operations_per_second(),
        load_ms,
        rows,
        peak_memory_bytes,
    };
    if args.json { output::json(&report) } else { output::text(&report.table()) }
}

impl Report {
    fn table(&self) -> String {
        let model = match (&self.model, self.load_ms) {
            (Some(model), Some(ms)) => format!("{model}, loaded in {ms:.0} ms, "),
            _ => String::new(),
        };
        let mut text = format!(
            "{model}{} threads, {}, at most {:.1} GB/s from memory and {:.0} GFLOP/s in f32\n\n",
            self.threads,
            self.level,
            self.read_bytes_per_second / 1e9,
            self.operations_per_second / 1e9,
        );
        text.push_str(
            "what                              median      best     worst   per second\n",
        );
        for row in &self.rows {
            let [median, best, worst] =
                [row.median_ms, row.best_ms, row.worst_ms].map(|ms| format!("{ms:.1} ms"));
            let speed = format!("{:.1} {}", row.per_second, row.unit);
            let memory = row.peak_memory_bytes.map(|peak| format!(", {:.2} GB", peak as f64 / 1e9));
            let (name, memory) = (&row.name, memory.unwrap_or_default());
            let line = format!("{name:<28} {median:>12} {best:>9} {worst:>9}   {speed}{memory}\n");
            text.push_str(&line);
        }
        let peak = self.peak_memory_bytes.map_or_else(String::new, |peak| {
            format!("\npeak memory {:.2} GB, mapped weights included\n", peak as f64 / 1e9)
        });
        text + &peak
    }
}
