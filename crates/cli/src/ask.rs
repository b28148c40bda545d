//! `aki ask`: one answer.

use std::time::{Duration, Instant};

use anyhow::Result;
use engine::{BeamOptions, BeamRequest, FinishReason, Generated, Prompt, Request, Session};
use prompt::{Message, RgbImage};
use sequence::TokenId;
use serde::Serialize;

use crate::args::AskArgs;
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::report::{Failure, Interrupted};
use crate::runtime::{self, Runtime};
use crate::stream::Answer;
use crate::{input, output, progress};

/// The engine's limit, told before anything is loaded.
const MAX_BEAMS: usize = 64;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    text: String,
    prompt_ids: Vec<u32>,
    new_ids: Vec<u32>,
    finish_reason: &'static str,
    timings: Timings,
}

/// Milliseconds by phase.
#[derive(Debug, Serialize)]
struct Timings {
    load_ms: f64,
    image_ms: f64,
    prefill_ms: f64,
    /// From the loaded model to the first token.
    first_token_ms: f64,
    decode_ms: f64,
    tokens_per_second: f64,
    prompt_tokens: usize,
    new_tokens: usize,
}

/// Answers the question.
pub(crate) fn run(args: &AskArgs, environment: &Environment) -> Result<()> {
    let sampling = runtime::sampling(&args.generation)?;
    if !(1..=MAX_BEAMS).contains(&args.beams) {
        let message = format!("`beams` is {}, expected a number from 1 to {MAX_BEAMS}", args.beams);
        return Err(Failure::usage(message).into());
    }
    if args.beams > 1 && !sampling.is_greedy() {
        return Err(Failure::usage(format!(
            "`temperature` is {} with {} beams, expected 0: beams are not sampled",
            args.generation.temperature, args.beams
        ))
        .into());
    }
    let images = args.image.iter().map(|path| input::image(path)).collect::<Result<Vec<_>>>()?;
    let question = Message::user(prompt::parse_question(&args.question, images.len())?);
    let interrupt = Interrupt::install()?;
    let cancel = interrupt.arm();
    let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
    let start = Instant::now();
    let template = runtime::template(args.generation.system.as_deref());
    let num_vision_tokens = runtime.config.num_vision_tokens;
    let encoded = template.encode(&runtime.tokenizer, &[question], num_vision_tokens)?;
    runtime.check_length(encoded.layout.len())?;
    let features = see(&runtime, &images)?;
    let image_time = start.elapsed();

    let prompt_ids = encoded.ids.clone();
    let prompt = Prompt {
        ids: encoded.ids,
        layout: encoded.layout,
        features,
        policy: args.policy.attention,
    };
    let request = runtime.request(prompt, sampling, (args.generation.max_new_tokens, cancel));
    let answered = answer(args, &runtime, request)?;
    if args.json {
        let timings = Timings::new(&runtime, image_time, &answered.generated);
        output::json(&Report {
            text: answered.text,
            prompt_ids: numbers(&prompt_ids),
            new_ids: numbers(&answered.generated.new_ids),
            finish_reason: reason(answered.generated.finish, answered.stopped),
            timings,
        })?;
    } else {
        output::line("")?;
    }
    let cancelled = answered.generated.finish == FinishReason::Cancelled && !answered.stopped;
    if cancelled { Err(Interrupted.into()) } else { Ok(()) }
}

/// An answer and its text.
struct Answered {
    generated: Generated,
    text: String,
    /// Whether a stop string ended it.
    stopped: bool,
}

/// Generates and, unless the answer is wanted as JSON, prints.
fn answer(args: &AskArgs, runtime: &Runtime, request: Request) -> Result<Answered> {
    let spinner = progress::spinner("reading the question");
    let mut print = |text: &str| {
        spinner.finish_and_clear();
        if args.json { Ok(()) } else { output::text(text) }
    };
    let mut answer = Answer::new(&runtime.tokenizer, &args.generation.stop, &mut print);
    let mut session = Session::new(&runtime.aki)?;
    let generated = if args.beams == 1 {
        session.generate(&request, |id| answer.push(id))?
    } else {
        let generated = beams(&mut session, request, args.beams)?;
        for id in &generated.new_ids {
            if answer.push(*id).is_break() {
                break;
            }
        }
        generated
    };
    let (text, stopped) = answer.finish()?;
    spinner.finish_and_clear();
    Ok(Answered { generated, text, stopped })
}

/// Returns the best of several continuations.
fn beams(session: &mut Session<'_>, request: Request, width: usize) -> Result<Generated> {
    let options = BeamOptions { width, ..BeamOptions::default() };
    let Request { prompt, stop, max_new_tokens, cancel, .. } = request;
    let request = BeamRequest { prompt, options, stop, max_new_tokens, cancel };
    let reply = session.beam_search(&request)?;
    let timings = reply.timings;
    let best = reply.hypotheses.into_iter().next();
    let (new_ids, finish) = match best {
        Some(best) => (best.new_ids, best.finish),
        None => (Vec::new(), FinishReason::Cancelled),
    };
    Ok(Generated { new_ids, logprobs: Vec::new(), finish, timings })
}

/// Returns the vision tokens of every image.
fn see(runtime: &Runtime, images: &[RgbImage]) -> Result<Vec<model::Tensor>> {
    let spinner = progress::spinner("looking at the image");
    let features = images.iter().map(|image| runtime.see(image)).collect();
    spinner.finish_and_clear();
    features
}

impl Timings {
    fn new(runtime: &Runtime, image: Duration, generated: &Generated) -> Self {
        let timings = &generated.timings;
        // The first token comes out of the prefill.
        let decoded = timings.new_tokens.saturating_sub(1);
        let seconds = timings.decode.as_secs_f64();
        Self {
            load_ms: milliseconds(runtime.load_time),
            image_ms: milliseconds(image),
            prefill_ms: milliseconds(timings.prefill),
            first_token_ms: milliseconds(image + timings.prefill),
            decode_ms: milliseconds(timings.decode),
            tokens_per_second: if seconds > 0.0 { decoded as f64 / seconds } else { 0.0 },
            prompt_tokens: timings.prompt_tokens,
            new_tokens: timings.new_tokens,
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn numbers(ids: &[TokenId]) -> Vec<u32> {
    ids.iter().map(|id| id.0).collect()
}

/// Returns the reason's name; an answer that a stop string ended was broken off on purpose.
fn reason(finish: FinishReason, stopped: bool) -> &'static str {
    match finish {
        _ if stopped => "stop",
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Cancelled => "cancelled",
    }
}
