//! Several processes compute what one computes, and none waits for one that is gone.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use sequence::AttentionPolicy;
use serde_json::json;
use train::data::{Sample, Share, furthest};
use train::learner::{BatchLoss, GradientSink, ParameterSpec};
use train::parallel::{Alone, Collective, Group, Member, Plan, Tag};
use train::run::{Found, StepMetrics, newest};
use train::step::Accumulator;
use train::trainer::Outcome;
use train::{Error, Learner};

use super::support::{Feeder, Toy, Watch, run_with};

/// What a process of a run ended with.
struct Ended {
    outcome: Result<Outcome, Error>,
    toy: Toy,
    watch: Watch,
}

/// A run of one process or several.
struct Run<'a> {
    directory: &'a Path,
    accumulation: usize,
    stop_at: Option<u64>,
    bad_every: u64,
    from: Option<Found>,
}

impl<'a> Run<'a> {
    fn new(directory: &'a Path, accumulation: usize) -> Self {
        Self { directory, accumulation, stop_at: None, bad_every: 0, from: None }
    }

    fn process(&self, group: &mut dyn Collective, change: &dyn Fn(usize, &mut Toy)) -> Ended {
        let share = Share { index: group.rank(), count: group.world(), block: 3 };
        let mut feed = Feeder { bad_every: self.bad_every, share };
        let mut toy = self.from.as_ref().map_or_else(Toy::new, |found| Toy::load(&found.path));
        change(group.rank(), &mut toy);
        let mut watch = Watch { stop_at: self.stop_at, ..Watch::default() };
        let settings = [format!("batch.accumulation={}", self.accumulation)];
        let setting = (self.directory, settings.as_slice(), &mut feed);
        let outcome = run_with(setting, &mut toy, &mut watch, self.from.clone(), group);
        Ended { outcome, toy, watch }
    }

    fn alone(&self) -> Ended {
        self.process(&mut Alone, &|_, _| ())
    }

    fn together(&self, world: usize, change: &(dyn Fn(usize, &mut Toy) + Sync)) -> Vec<Ended> {
        let process = |mut member: Member| self.process(&mut member, change);
        std::thread::scope(|scope| {
            let process = &process;
            let members = Group::new(world).into_iter();
            let threads: Vec<_> = members.map(|m| scope.spawn(move || process(m))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}

/// What the watcher of a run saw that does not depend on the clock.
fn seen(ended: &Ended) -> Vec<(f64, f64, u64)> {
    let of = |m: &StepMetrics| (m.training_loss, m.gradient_norm, m.samples);
    ended.watch.steps.iter().map(of).collect()
}

#[test]
fn processes_are_bit_for_bit_one_process_that_accumulates_as_much() {
    for (world, accumulation) in [(2, 1), (2, 2), (3, 1), (3, 2), (5, 1)] {
        let (one, several) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = Run::new(one.path(), accumulation * world).alone();
        let ended = Run::new(several.path(), accumulation).together(world, &|_, _| ());
        for (rank, ended) in ended.iter().enumerate() {
            let what = format!("process {rank} of {world}, accumulation {accumulation}");
            assert_eq!(ended.toy.bits(), expected.toy.bits(), "{what}");
            assert!(ended.outcome.as_ref().unwrap().is_finished);
        }
        assert_eq!(seen(&ended[0]), seen(&expected), "{world} processes of {accumulation}");
    }
}

#[test]
fn moments_of_several_processes_are_gone_on_with_by_any_number() {
    let whole = tempfile::tempdir().unwrap();
    let expected = Run::new(whole.path(), 6).alone();
    for (before, after) in [(2, 2), (2, 3), (3, 1), (1, 2), (6, 3)] {
        let parts = tempfile::tempdir().unwrap();
        let mut run = Run::new(parts.path(), 6 / before);
        run.stop_at = Some(7);
        for ended in run.together(before, &|_, _| ()) {
            assert!(!ended.outcome.unwrap().is_finished);
        }
        let mut run = Run::new(parts.path(), 6 / after);
        run.from = newest(parts.path()).unwrap().0;
        let ended = run.together(after, &|_, _| ());
        for ended in &ended {
            assert_eq!(ended.toy.bits(), expected.toy.bits(), "{before} processes, then {after}");
        }
        assert_eq!(seen(&ended[0]), seen(&expected)[7..], "{before} processes, then {after}");
        let expected = &expected.outcome.as_ref().unwrap().losses[7..];
        assert_eq!(ended[0].outcome.as_ref().unwrap().losses[7..], *expected);
    }
}

#[test]
fn processes_that_replaced_bad_samples_go_on_where_each_of_them_was() {
    let whole = tempfile::tempdir().unwrap();
    let mut run = Run::new(whole.path(), 2);
    run.bad_every = 7;
    let expected = run.together(2, &|_, _| ());
    let bad = |ended: &Ended| ended.watch.steps.last().map(|metrics| metrics.bad_samples);
    assert!(bad(&expected[0]) > Some(0));
    for stop in [2, 3, 5, 6, 7, 9] {
        let parts = tempfile::tempdir().unwrap();
        let mut run = Run::new(parts.path(), 2);
        run.bad_every = 7;
        run.stop_at = Some(stop);
        run.together(2, &|_, _| ());
        run.stop_at = None;
        run.from = newest(parts.path()).unwrap().0;
        let ended = run.together(2, &|_, _| ());
        for (ended, expected) in ended.iter().zip(&expected) {
            assert_eq!(ended.toy.bits(), expected.toy.bits(), "stopped after step {stop}");
        }
        assert_eq!(bad(&ended[0]), bad(&expected[0]));
    }
}

#[test]
fn all_processes_stop_where_one_is_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let run = Run::new(directory.path(), 1);
    let stop = |mut member: Member| {
        let stop_at = (member.rank() == 1).then_some(5);
        let run = Run { stop_at, from: None, ..run };
        run.process(&mut member, &|_, _| ()).outcome.unwrap()
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let members = Group::new(3).into_iter();
        let threads: Vec<_> = members.map(|m| scope.spawn(move || stop(m))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for outcome in outcomes {
        assert_eq!((outcome.step, outcome.is_finished), (5, false));
        assert_eq!(outcome.checkpoint, Some(directory.path().join("checkpoint-00000005")));
    }
}

#[test]
fn a_process_that_fails_ends_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let ended = Run::new(directory.path(), 1).together(3, &|rank, toy| {
        // Only process 0 writes, and its disk is full at the second checkpoint.
        toy.saves = if rank == 0 { 1.into() } else { 0.into() };
    });
    let texts: Vec<_> = ended.iter().map(|e| e.outcome.as_ref().unwrap_err().to_string()).collect();
    assert!(texts[0].starts_with("the checkpoint of step 8 cannot be saved"), "{texts:?}");
    for text in &texts[1..] {
        // Process 2 may hear of it from process 1.
        assert!(text.starts_with("the processes cannot work together: process "), "{text}");
        assert!(text.ends_with(" has ended; what it wrote last says why"), "{text}");
    }
}

#[test]
fn a_process_that_panics_ends_the_others() {
    let mut members = Group::new(2);
    let (second, mut first) = (members.pop().unwrap(), members.pop().unwrap());
    let thread = std::thread::spawn(move || {
        let _member = second;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    let error = first.barrier().unwrap_err();
    assert!(error.to_string().contains("process 1 has ended"), "{error}");
    assert!(thread.join().is_err());
    assert!(first.send(1, Tag(0), Bytes::new()).is_err());
    assert!(first.try_receive(1, Tag(0)).is_err());
    assert!(first.receive(2, Tag(0)).is_err());
}

#[test]
fn a_loss_that_is_not_a_number_stops_all_processes() {
    let directory = tempfile::tempdir().unwrap();
    let ended = Run::new(directory.path(), 1).together(2, &|rank, toy| {
        toy.breaks_at = (rank == 1).then_some(6);
    });
    for ended in ended {
        let text = ended.outcome.unwrap_err().to_string();
        assert!(text.starts_with("the loss of step 6 is NaN, the last complete"), "{text}");
    }
}

#[test]
fn processes_of_different_recipes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let process = |mut member: Member| {
        let run = Run::new(directory.path(), 1 + member.rank());
        run.process(&mut member, &|_, _| ()).outcome.unwrap_err().to_string()
    };
    let texts: Vec<_> = std::thread::scope(|scope| {
        let process = &process;
        let members = Group::new(2).into_iter();
        let threads: Vec<_> = members.map(|m| scope.spawn(move || process(m))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for text in texts {
        assert!(text.contains("starts at the beginning of recipe"), "{text}");
    }
}

/// Goes on with its backward pass only once it hears that the first gradient has arrived.
struct Patient {
    specs: Vec<ParameterSpec>,
    go_on: Receiver<()>,
}

impl Learner for Patient {
    fn parameters(&self) -> &[ParameterSpec] {
        &self.specs
    }

    fn set_attention(&mut self, _: AttentionPolicy) {}

    fn gradients(&self, _: &[Sample], sink: &mut GradientSink<'_>) -> Result<BatchLoss, Error> {
        sink("last", vec![1.0, 2.0])?;
        let heard = self.go_on.recv_timeout(Duration::from_secs(30));
        heard.map_err(|_| Error::Collective { reason: "nothing has arrived".to_owned() })?;
        sink("first", vec![3.0, 4.0])?;
        Ok(BatchLoss { mean: 0.0, num_labels: 1 })
    }

    fn loss(&self, _: &[Sample]) -> Result<BatchLoss, Error> {
        Ok(BatchLoss { mean: 0.0, num_labels: 1 })
    }

    fn change(&self, _: &str, _: &mut (dyn FnMut(&mut [f32]) + Send)) -> Result<(), Error> {
        Ok(())
    }

    fn save(&self, _: &Path) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn gradients_arrive_while_the_backward_pass_goes_on() {
    let spec = |name: &str| ParameterSpec { name: name.to_owned(), shape: vec![2] };
    let specs = vec![spec("first"), spec("last")];
    let mut members = Group::new(2);
    let (mut owner, mut sender) = (members.remove(0), members.remove(0));
    // Each in a bucket of its own; process 0 keeps both.
    let plan = Plan::with_bucket_bytes(&specs, 1, 1).unwrap();
    let (go, go_on) = channel();
    let thread = std::thread::spawn(move || {
        let learner = Patient { specs, go_on };
        let mut gradients = Accumulator::new(&plan, &sender);
        gradients.add(&learner, &[], &mut sender).map_err(|error| error.to_string())
    });
    // The bucket of `last` is filled first.
    let message = owner.receive(1, Tag(16)).unwrap();
    assert_eq!(message[1..5], 1.0_f32.to_le_bytes());
    go.send(()).unwrap();
    thread.join().unwrap().unwrap();
    assert!(owner.try_receive(1, Tag(17)).unwrap().is_some());
}

#[test]
fn another_number_of_processes_starts_behind_what_was_seen() {
    let places =
        |seen: &[u64]| -> Vec<_> { seen.iter().map(|num| json!({ "num_tasks": num })).collect() };
    assert_eq!(furthest(&places(&[6, 11, 9])).unwrap()["num_tasks"], 11);
    assert_eq!(furthest(&places(&[])), None);
}
