//! The scheduler's thread: whose turn it is, and what is done between tokens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use engine::{
    CancelToken, Constraint, Error, FinishReason, Generated, Image, Job, Progress, Sampling,
    Scheduler, SchedulerOptions,
};
use model::{Aki, AkiConfig, LoadOptions};
use sequence::{AttentionPolicy, Layout, Role, TokenId};

use crate::golden::words;

fn scheduler(max_running: usize, max_waiting: usize) -> Scheduler {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../goldens/base/model");
    let config = std::fs::read_to_string(format!("{folder}/config.json")).unwrap();
    let config = AkiConfig::from_json(&config).unwrap();
    let weights = checkpoint::Checkpoint::open(folder).unwrap();
    let aki = Aki::load(config, &weights, LoadOptions::default()).unwrap();
    let options = SchedulerOptions {
        max_running,
        max_waiting,
        max_cache_bytes: 64 << 20,
        max_feature_bytes: 1 << 20,
        prefill_rows: 16,
    };
    Scheduler::start(aki, options).unwrap()
}

fn image(seed: u8) -> Image {
    let pixels = (0..3 * 56 * 56_u32).map(|at| f32::from((at % 251) as u8 ^ seed) / 255.0);
    Image { key: [seed; 32], pixels: Arc::new(pixels.collect()) }
}

/// A question about images, each of as many vision tokens as the model makes.
fn job(images: Vec<Image>, max_new_tokens: usize) -> Job {
    let mut ids = vec![TokenId(1)];
    let mut layout = Layout::new().text(Role::User, 1);
    for _ in &images {
        ids.push(TokenId(0));
        layout.push(sequence::SpanKind::Image, NUM_VISION_TOKENS);
    }
    ids.extend(words(3, 10));
    layout.push(sequence::SpanKind::Text(Role::User), 10);
    ids.push(TokenId(2));
    layout.push(sequence::SpanKind::ReplyMark, 1);
    Job {
        ids,
        layout,
        images,
        policy: AttentionPolicy::ModalityMutual,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        max_new_tokens,
        top_logprobs: None,
        bias: Vec::new(),
        constraint: None,
        client: 0,
        deadline: None,
        cancel: CancelToken::new(),
    }
}

/// How many vision tokens the golden model makes of an image.
const NUM_VISION_TOKENS: usize = 8;

/// Submits a job; what happens to it comes out at the other end.
fn submit(scheduler: &Scheduler, job: Job) -> Result<Receiver<Progress>, Error> {
    let (sender, receiver) = channel();
    scheduler.submit(job, move |progress| drop(sender.send(progress)))?;
    Ok(receiver)
}

fn finished(progress: &Receiver<Progress>) -> Result<Generated, Error> {
    loop {
        match progress.recv().unwrap() {
            Progress::Token { .. } => {}
            Progress::Finished(generated) => return Ok(generated),
            Progress::Failed(error) => return Err(error),
        }
    }
}

#[test]
fn replies_go_on_between_the_images_of_others() {
    let scheduler = Arc::new(scheduler(4, 16));
    let (sender, receiver) = channel();
    let (first, started) = channel();
    let counts = Arc::downgrade(&scheduler);
    let listen = move |progress| {
        // The thread itself tells how many images it has seen by each token.
        let seen = counts.upgrade().map_or(0, |scheduler| scheduler.counts().feature_misses);
        let _ = first.send(());
        let _ = sender.send((seen, matches!(progress, Progress::Token { .. })));
    };
    scheduler.submit(job(Vec::new(), 400), listen).unwrap();
    started.recv().unwrap();
    let others: Vec<_> =
        (0..8).map(|seed| submit(&scheduler, job(vec![image(seed)], 2)).unwrap()).collect();
    for other in &others {
        assert_eq!(finished(other).unwrap().new_ids.len(), 2);
    }
    let seen: Vec<usize> = receiver.iter().take(400).map(|(seen, _)| seen).collect();
    assert!(seen.windows(2).all(|pair| pair[1] - pair[0] <= 1), "{seen:?}");
    assert_eq!(scheduler.counts().feature_misses, 8);
}

#[test]
fn a_question_without_new_images_does_not_wait_for_those_with_some() {
    let scheduler = scheduler(4, 16);
    let many = submit(&scheduler, job((0..16).map(image).collect(), 1)).unwrap();
    let known = submit(&scheduler, job(Vec::new(), 1)).unwrap();
    finished(&known).unwrap();
    // The images take sixteen turns, the text one.
    assert!(scheduler.counts().feature_misses < 16);
    finished(&many).unwrap();
    assert_eq!(scheduler.counts().feature_misses, 16);
    finished(&submit(&scheduler, job((0..16).map(image).collect(), 1)).unwrap()).unwrap();
    assert_eq!(scheduler.counts().feature_hits, 16);
}

#[test]
fn what_is_cancelled_or_late_before_its_turn_is_told_so_and_counts_no_more() {
    let scheduler = scheduler(1, 8);
    let running = job(Vec::new(), 400);
    let cancel = running.cancel.clone();
    let running = submit(&scheduler, running).unwrap();
    let gone = job(vec![image(1)], 5);
    gone.cancel.cancel();
    let gone = submit(&scheduler, gone).unwrap();
    assert!(matches!(finished(&gone).unwrap_err(), Error::Stopped));
    let late = Job { deadline: Some(Instant::now()), ..job(vec![image(2)], 5) };
    let late = submit(&scheduler, late).unwrap();
    assert!(matches!(finished(&late).unwrap_err(), Error::DeadlineExceeded));
    let later =
        Job { deadline: Some(Instant::now() + Duration::from_millis(1)), ..job(Vec::new(), 400) };
    assert!(matches!(finished(&submit(&scheduler, later).unwrap()), Err(Error::DeadlineExceeded)));
    cancel.cancel();
    let finish = finished(&running).unwrap().finish;
    assert!([FinishReason::Cancelled, FinishReason::Length].contains(&finish));
    assert_eq!(scheduler.outstanding(), 0);
    assert!(scheduler.is_alive());
}

#[test]
fn more_than_may_wait_are_refused_until_there_is_room() {
    let scheduler = scheduler(1, 2);
    let endless = || job(Vec::new(), 400);
    let jobs: Vec<Job> = (0..3).map(|_| endless()).collect();
    let switches: Vec<CancelToken> = jobs.iter().map(|job| job.cancel.clone()).collect();
    let taken: Vec<_> = jobs.into_iter().map(|job| submit(&scheduler, job).unwrap()).collect();
    assert!(matches!(submit(&scheduler, endless()), Err(Error::QueueFull { limit: 3 })));
    switches.iter().for_each(CancelToken::cancel);
    for progress in &taken {
        // Whether it was cancelled while it ran or before makes no difference here.
        let _ = finished(progress);
    }
    assert!(submit(&scheduler, job(Vec::new(), 1)).is_ok());
}

/// Lets only some tokens come, each once.
#[derive(Clone, Debug)]
struct Once(BTreeSet<TokenId>);

impl Constraint for Once {
    fn rule_out(&mut self, logits: &mut [f32]) -> Result<(), String> {
        for (id, logit) in logits.iter_mut().enumerate() {
            if !self.0.contains(&TokenId(id as u32)) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    fn accept(&mut self, id: TokenId) -> Result<bool, String> {
        if self.0.remove(&id) { Ok(self.0.is_empty()) } else { Err("not one of them".to_owned()) }
    }

    fn boxed_clone(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

#[test]
fn a_reply_keeps_to_its_constraint_and_ends_with_it() {
    let scheduler = scheduler(2, 2);
    let ids: BTreeSet<TokenId> = [300, 301, 302].map(TokenId).into();
    for temperature in [0.0, 1.0] {
        let options = engine::SamplingOptions { temperature, ..engine::SamplingOptions::default() };
        let held = Job {
            constraint: Some(Box::new(Once(ids.clone()))),
            sampling: Sampling::try_from(options).unwrap(),
            top_logprobs: Some(1),
            ..job(Vec::new(), 50)
        };
        let reply = finished(&submit(&scheduler, held).unwrap()).unwrap();
        assert_eq!(reply.new_ids.iter().copied().collect::<BTreeSet<_>>(), ids);
        assert_eq!((reply.new_ids.len(), reply.finish), (3, FinishReason::Stop));
        // The log-probabilities are the model's own.
        assert!(reply.logprobs.iter().all(|one| one.logprob < 0.0 && one.top.len() == 1));
    }
    let nothing = Job { constraint: Some(Box::new(Once(BTreeSet::new()))), ..job(Vec::new(), 5) };
    let error = finished(&submit(&scheduler, nothing).unwrap()).unwrap_err();
    assert!(matches!(error, Error::NoPossibleToken), "{error}");
}

#[test]
fn a_bias_decides_where_it_is_large() {
    let scheduler = scheduler(2, 2);
    let favoured = Job { bias: vec![(TokenId(77), 1e6)], ..job(Vec::new(), 4) };
    let reply = finished(&submit(&scheduler, favoured).unwrap()).unwrap();
    assert_eq!(reply.new_ids, [TokenId(77); 4]);
}
