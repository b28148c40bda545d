//! Processes that `mpirun` starts. `cargo xtask mpi` runs these where there is one.
#![cfg(feature = "mpi")]

use std::process::{Command, Output, Stdio};

use super::support::{Place, two_phases};
use crate::program::{aki, command};

const STEPS: u64 = 12;

/// Returns a command that starts a process for each list of arguments.
fn mpirun(processes: &[Vec<String>]) -> Command {
    let program = command::<&str>([]).get_program().to_owned();
    let mut command = Command::new("mpirun");
    // What OpenMPI asks for in containers; others do not know these variables.
    for name in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] {
        command.env(name, "1");
    }
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    for (index, args) in processes.iter().enumerate() {
        command.args((index > 0).then_some(":"));
        command.args(["-n", "1"]).arg(&program).args(args);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(processes: &[Vec<String>]) -> Output {
    mpirun(processes).output().expect("mpirun runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn processes_learn_bit_for_bit_what_one_learns_that_accumulates_as_much() {
    let one = Place::new(&two_phases());
    aki(one.args(&["--set", "batch.accumulation=6"])).success();
    for (world, accumulation) in [(2, 3), (3, 2)] {
        let several = Place::new(&two_phases());
        let setting = format!("batch.accumulation={accumulation}");
        let output = run(&vec![several.args(&["--set", &setting]); world]);
        assert!(output.status.success(), "{}", said(&output));
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(stdout.matches("12 steps").count(), 1, "one process tells: {stdout}");
        assert_eq!(several.metrics(), one.metrics(), "{world} processes");
        assert!(several.learned(STEPS) == one.learned(STEPS), "{world} processes");
    }
}

#[test]
fn processes_of_which_one_is_killed_end_and_go_on() {
    let whole = Place::new(&two_phases());
    let args = whole.args(&[]);
    assert!(run(&[args.clone(), args]).status.success());
    let killed = Place::new(&two_phases());
    let mut child = mpirun(&vec![killed.args(&[]); 2]).spawn().expect("mpirun runs");
    super::support::wait_for(&mut child, "step 4 of 12");
    let recipe = killed.recipe();
    let victim = Command::new("pgrep").args(["-n", "-f", &format!("aki train {recipe}")]).output();
    let victim = String::from_utf8(victim.expect("pgrep runs").stdout).expect("a number");
    let status = Command::new("kill").args(["-KILL", victim.trim()]).status();
    assert!(status.expect("kill runs").success(), "{victim}");
    drop(child.stderr.take());
    assert!(!child.wait().expect("mpirun ends").success());
    let output = run(&vec![killed.args(&["--resume"]); 2]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(killed.metrics(), whole.metrics());
    assert!(killed.learned(STEPS) == whole.learned(STEPS));
}

#[test]
fn processes_that_disagree_say_so_and_end() {
    let place = Place::new(&two_phases());
    let output = run(&[place.args(&[]), place.args(&["--set", "seed=7"])]);
    assert!(!output.status.success());
    assert!(said(&output).contains("starts at the beginning of recipe"), "{}", said(&output));
}
