//! A conversation through a pipe.

use crate::program::{aki, aki_with, goldens};

#[test]
fn the_first_answer_is_that_of_ask() {
    let image = goldens("images/cat.jpg");
    let asked = aki(["ask", "--image", &image, "Why?", "--max-new-tokens", "8"]).success();
    let lines = format!("/image {image}\nWhy?\n");
    let chatted = aki_with(["chat", "--max-new-tokens", "8"], &[], lines.as_bytes()).success();
    assert_eq!(chatted, asked);
}

#[test]
fn a_conversation_goes_on_and_starts_again() {
    let image = goldens("images/cat.jpg");
    let lines = b"Why?\nAnd then?\n/reset\n/image";
    let lines = [&lines[..], b" ", image.as_bytes(), b"\nWhy?\n/quit\nnever asked\n"].concat();
    let args = ["chat", "--max-new-tokens", "4"];
    let chatted = aki_with(args, &[], &lines).success();
    let fresh = aki(["ask", "--image", &image, "Why?", "--max-new-tokens", "4"]).success();
    assert!(chatted.ends_with(&fresh), "{chatted:?} ends with {fresh:?}");
}

#[test]
fn a_script_stops_at_what_it_got_wrong() {
    let error = aki_with(["chat"], &[], b"/imgae cat.jpg\n").failure(2);
    insta::assert_snapshot!(error, @r"
    error: unknown command `/imgae`
    hint: /help lists the commands
    ");
    let error = aki_with(["chat"], &[], b"/policy mutal\n").failure(1);
    assert!(error.contains("unknown attention policy `mutal`"), "{error}");
    let error = aki_with(["chat"], &[], b"/image nowhere.jpg\n").failure(1);
    assert!(error.contains("cannot read `nowhere.jpg`"), "{error}");
}
