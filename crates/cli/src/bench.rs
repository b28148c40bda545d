//! `aki bench`: speed and memory, as a table or JSON.

mod inference;
mod measure;
mod quality;
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
use quality::Quality;

/// More of anything than a measurement needs.
const MOST: usize = 1 << 20;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Null if only training was measured.
    model: Option<String>,
    /// The number type of the weights that was asked for.
    dtype: String,
    /// The mix of blocks that the weights became while loading; null if they stayed as they were.
    quantize: Option<&'static str>,
    /// The type of keys and values; null if only training was measured.
    kv_cache: Option<&'static str>,
    /// The bytes of all matrices of the model; null if only training was measured.
    weight_bytes: Option<usize>,
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
    /// How close fewer bits come, if that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quality: Vec<Quality>,
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
    let (mut load_ms, mut kv_cache, mut weight_bytes) = (None, None, None);
    let is_of_model = |what: &&Measured| !matches!(what, Measured::Train | Measured::Quality);
    let of_model: Vec<_> = what.iter().filter(is_of_model).collect();
    if of_model.is_empty() {
        compute::start(&args.compute.hardware, environment)?;
    } else {
        let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
        load_ms = Some(runtime.load_time.as_secs_f64() * 1e3);
        kv_cache = Some(runtime.aki.new_cache(0)?.kv_type().name());
        weight_bytes = Some(runtime.aki.footprint().all().bytes);
        let bench = inference::Inference::new(&runtime, args)?;
        for what in of_model {
            rows.push(match what {
                Measured::Image => bench.image()?,
                Measured::Prefill => bench.prefill()?,
                Measured::First => bench.first()?,
                Measured::Second => bench.second()?,
                Measured::Decode => bench.decode()?,
                Measured::Batch => bench.batch()?,
                Measured::Train | Measured::Quality => continue,
            });
        }
    }
    if what.contains(&Measured::Train) {
        // As `aki train` does.
        kernels::keep_freed_memory();
        rows.extend(train::rows(args.decoder, args.repeat)?);
    }
    let quality = if what.contains(&Measured::Quality) {
        quality::rows(args, environment)?
    } else {
        Vec::new()
    };
    // Before the bandwidth is measured, which takes memory too.
    let peak_memory_bytes = peak_memory();
    let report = Report {
        model: load_ms.map(|_| args.model.model.clone()),
        dtype: format!("{:?}", args.compute.dtype).to_lowercase(),
        quantize: args.compute.quantize.map(|it| it.quantization().name()),
        kv_cache,
        weight_bytes,
        threads: kernels::parallel::num_threads(),
        level: kernels::Level::current().name(),
        read_bytes_per_second: kernels::read_bytes_per_second(),
        operations_per_second: kernels::operations_per_second(),
        load_ms,
        rows,
        quality,
        peak_memory_bytes,
    };
    if args.json { output::json(&report) } else { output::text(&report.table()) }
}

impl Report {
    /// Returns what a row achieves of what the machine gives.
    fn rates(&self, row: &Row) -> String {
        let rate = |rate: Option<f64>, most: f64, unit: &str| {
            rate.map_or_else(String::new, |rate| {
                format!(", {:.1} {unit} ({:.0}%)", rate / 1e9, 100.0 * rate / most)
            })
        };
        rate(row.read_bytes_per_second, self.read_bytes_per_second, "GB/s")
            + &rate(row.operations_per_second, self.operations_per_second, "GFLOP/s")
    }

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
        if !self.rows.is_empty() {
            text.push_str(
                "what                              median      best     worst   per second\n",
            );
        }
        for row in &self.rows {
            let [median, best, worst] =
                [row.median_ms, row.best_ms, row.worst_ms].map(|ms| format!("{ms:.1} ms"));
            let speed = format!("{:.1} {}", row.per_second, row.unit);
            let memory = row.peak_memory_bytes.map(|peak| format!(", {:.2} GB", peak as f64 / 1e9));
            let (name, memory) = (&row.name, memory.unwrap_or_default());
            let rates = self.rates(row);
            let line =
                format!("{name:<28} {median:>12} {best:>9} {worst:>9}   {speed}{memory}{rates}\n");
            text.push_str(&line);
        }
        if !self.quality.is_empty() {
            text.push_str(&quality::table(&self.quality));
        }
        let peak = self.peak_memory_bytes.map_or_else(String::new, |peak| {
            format!("\npeak memory {:.2} GB, mapped weights included\n", peak as f64 / 1e9)
        });
        text + &peak
    }
}
