//! Ctrl-C ends the answer, not what there is of it.
#![cfg(unix)]

use std::io::Read;
use std::process::{Command, Stdio};

use crate::program::{command, goldens};

#[test]
fn ctrl_c_ends_the_answer_and_keeps_what_there_is() {
    let mut child =
        command(["ask", "--model", &goldens("base/model"), "Why?", "--max-new-tokens", "4000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
    let mut stdout = child.stdout.take().expect("piped");
    let mut text = vec![0; 1];
    stdout.read_exact(&mut text).expect("the answer has begun");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    stdout.read_to_end(&mut text).expect("the answer ends");
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(text.len() > 1 && text.ends_with(b"\n"), "{text:?}");
}
