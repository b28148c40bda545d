//! `aki serve`: the API and the page, until somebody says stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use engine::{Scheduler, SchedulerOptions};
use server::{ApiKey, ConnectionLimits, Model, Options};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::args::ServeArgs;
use crate::environment::Environment;
use crate::output;
use crate::report::Failure;
use crate::runtime::Runtime;

/// Exit code of a program that was told twice to stop.
const INTERRUPTED: i32 = 130;
/// How often is looked whether the engine is there.
const LOOK: Duration = Duration::from_secs(1);

/// Serves until the program is told to stop.
pub(crate) fn run(args: &ServeArgs, environment: &Environment) -> Result<()> {
    let keys = keys(args, environment)?;
    let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
    let name = args.name.clone().unwrap_or_else(|| args.model.model.clone());
    log(args.log_json);
    let served = model(runtime, name, args)?;
    let (engine, has_failed) = (served.scheduler.watch(), AtomicBool::new(false));
    let options = Options {
        keys,
        max_body_bytes: args.max_body_mib.saturating_mul(1 << 20),
        deadline: Duration::from_secs(args.timeout),
        origins: args.allow_origin.clone(),
        files: args.allow_files.clone(),
        remote_images: args.allow_remote_images,
        ..Options::default()
    };
    let router = server::router(served, options);
    let stop = stop_signal()?;
    let service = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the threads of the server")?;
    service.block_on(async {
        let address = (args.host.as_str(), args.port);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {}:{}", args.host, args.port))?;
        output::note(&format!("listening on http://{}", listener.local_addr()?));
        let ended = async {
            while engine.is_alive() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let until = async {
            tokio::select! {
                () = stop.notified() => {}
                () = ended => has_failed.store(true, Ordering::Relaxed),
            }
        };
        server::serve(listener, router, ConnectionLimits::default(), until)
            .await
            .context("the server stopped")
    })?;
    // Whoever watches over the program starts it anew after a failure.
    let has_failed = has_failed.load(Ordering::Relaxed);
    anyhow::ensure!(!has_failed, "the engine has stopped; what it said is above");
    Ok(())
}

fn model(runtime: Runtime, name: String, args: &ServeArgs) -> Result<Model> {
    let (tokenizer, special, preprocessor, aki) = (
        runtime.tokenizer.clone(),
        runtime.special,
        crate::load::preprocessor(&runtime.config),
        runtime.aki,
    );
    let options = SchedulerOptions {
        max_running: args.max_running,
        max_waiting: args.max_waiting,
        max_cache_bytes: args.cache_mib.saturating_mul(1 << 20),
        max_feature_bytes: args.image_cache_mib.saturating_mul(1 << 20),
        prefill_rows: args.prefill_rows,
    };
    let positions = options.max_cache_bytes / aki.new_cache(1)?.num_bytes().max(1);
    let max_positions = aki.max_positions().min(positions);
    Ok(Model {
        name,
        tokenizer,
        special,
        preprocessor,
        num_vision_tokens: runtime.config.num_vision_tokens,
        max_positions,
        scheduler: Scheduler::start(aki, options)?,
    })
}

/// Returns the keys of a file, one in each line, and that of the environment.
fn keys(args: &ServeArgs, environment: &Environment) -> Result<Vec<ApiKey>> {
    let mut keys: Vec<ApiKey> = environment.serve_key.iter().map(|key| ApiKey::new(key)).collect();
    if let Some(path) = &args.api_keys {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = line.strip_prefix("sha256:").map_or_else(
                || Some(ApiKey::new(line)),
                |digits| ApiKey::from_sha256(digits.trim()),
            );
            // The line is not shown: it may be a key that was meant to be a hash.
            keys.push(key.ok_or_else(|| {
                let place = format!("line {} of `{}`", index + 1, path.display());
                Failure::usage(format!(
                    "{place} has `sha256:`, expected 64 hexadecimal digits after it"
                ))
            })?);
        }
        if keys.is_empty() {
            let message = format!("`{}` has no key, expected one in each line", path.display());
            return Err(Failure::usage(message).into());
        }
    }
    Ok(keys)
}

/// Sends the log to standard error.
fn log(json: bool) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false);
    // Another subscriber is there already only in a program that installed it for itself.
    let _ = if json { lines.json().flatten_event(true).try_init() } else { lines.try_init() };
}

/// Returns what is told at Ctrl-C or SIGTERM; the second time ends the program at once.
#[allow(clippy::exit, reason = "the user asked twice")]
fn stop_signal() -> Result<Arc<Notify>> {
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    let before = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if before.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
        output::note("stopping when the running requests are done; again to stop at once");
        told.notify_one();
    })
    .context("cannot handle Ctrl-C")?;
    Ok(stop)
}
