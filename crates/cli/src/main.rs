//! `aki`: multimodal language models with modality-mutual attention on the command line.
//!
//! Every command is a module of its name. [`load`] is the one way from what a user calls a model
//! to its files, [`environment`] the one place that reads environment variables, [`report`] the one
//! that turns errors into what is printed.
#![forbid(unsafe_code)]

mod args;
mod ask;
mod bench;
mod chat;
mod compute;
mod convert;
mod device;
mod environment;
mod eval;
mod figure;
mod files;
mod hub;
mod init;
mod input;
mod inspect;
mod interrupt;
mod load;
mod miniature;
mod output;
mod preprocess;
mod probe;
mod progress;
mod quiz;
mod report;
mod runtime;
mod score;
mod serve;
mod stream;
mod table1;
mod tokenize;
mod trace;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use environment::Environment;

/// What kernels read and write begins a line of the cache.
#[global_allocator]
static ALLOCATOR: kernels::LineAllocator = kernels::LineAllocator;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output; nothing can be done if it is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::report(&error),
    }
}

fn run(command: &Command) -> Result<()> {
    let environment = Environment::read()?;
    match command {
        Command::Ask(args) => ask::run(args, &environment),
        Command::Chat(args) => chat::run(args, &environment),
        Command::Inspect(args) => inspect::run(args, &environment),
        Command::Trace(args) => trace::run(args, &environment),
        Command::Tokenize(args) => tokenize::run(args, &environment),
        Command::Preprocess(args) => preprocess::run(args, &environment),
        Command::Init(args) => init::run(args, &environment),
        Command::Convert(args) => convert::run(args, &environment),
        Command::Train(args) => train::run(args, &environment),
        Command::Miniature(args) => miniature::run(args),
        Command::Eval(args) => eval::run(args, &environment),
        Command::Score(args) => score::run(args, &environment),
        Command::Quiz(args) => quiz::run(args, &environment),
        Command::Probe(args) => probe::run(args, &environment),
        Command::Table1(args) => table1::run(args, &environment),
        Command::Serve(args) => serve::run(args, &environment),
        Command::Bench(args) => bench::run(args, &environment),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "aki", &mut script);
            output::text(&String::from_utf8_lossy(&script))
        }
    }
}
