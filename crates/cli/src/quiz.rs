//! `aki quiz`: how often a model is right about the miniature world.

mod report;

use ::miniature::{Quiz, QuizQuestion};
use anyhow::{Context, Result};
use engine::{CancelToken, Prompt, Session};
use model::Tensor;
use prompt::{ChatTemplate, Message, Part, RgbImage};

use self::report::{CAPTIONS, Report, Tally};
use crate::args::QuizArgs;
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::report::Interrupted;
use crate::runtime::Runtime;
use crate::stream::Answer;
use crate::{output, progress};

/// The width and height of the pictures, those of `aki miniature`.
const PICTURE: usize = 384;
/// The longest reply to a question, and the longest caption.
const REPLY: usize = 16;
const CAPTION: usize = 64;
/// What is said before a question that a word answers.
const SHORT: &str = "Answer the question using a single word or phrase. ";
/// What is asked for a caption.
const DESCRIBE: &str = "Describe the image.";

/// Asks and counts.
pub(crate) fn run(args: &QuizArgs, environment: &Environment) -> Result<()> {
    let cancel = Interrupt::install()?.arm();
    let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
    let bar = progress::things("asking", args.pictures * args.seeds);
    let seeds: Vec<u64> = (0..args.seeds).map(|number| args.seed.wrapping_add(number)).collect();
    let mut tallies = Vec::new();
    for seed in &seeds {
        let mut tally = Tally::default();
        for index in 0..args.pictures {
            let make = if args.rockets { Quiz::on_new } else { Quiz::make };
            ask_about(&make(*seed, index), (args, &runtime, &cancel), &mut tally)?;
            bar.inc(1);
            if cancel.is_cancelled() {
                return Err(Interrupted.into());
            }
        }
        tallies.push(tally);
    }
    bar.finish_and_clear();
    let report = Report::new(seeds, args.pictures, &tallies);
    if args.json { output::json(&report) } else { output::text(&report.table()) }
}

/// Asks everything about one picture.
fn ask_about(
    quiz: &Quiz,
    (args, runtime, cancel): (&QuizArgs, &Runtime, &CancelToken),
    tally: &mut Tally,
) -> Result<()> {
    let features = runtime.see(&picture(quiz)?)?;
    let asker = Asker { args, runtime, features, cancel: cancel.clone() };
    for question in &quiz.questions {
        tally.add(question.topic, asker.asks(question)?);
    }
    if !quiz.names.is_empty() {
        let reply = asker.reply(DESCRIBE, CAPTION)?.to_lowercase();
        quiz.names.iter().for_each(|name| tally.add(CAPTIONS, reply.contains(name)));
        asker.show(DESCRIBE, &quiz.names.join(", "), &reply)?;
    }
    Ok(())
}

/// Draws the picture of a quiz.
fn picture(quiz: &Quiz) -> Result<RgbImage> {
    let drawn = quiz.scene.draw(PICTURE).into_raw();
    RgbImage::new(PICTURE, PICTURE, drawn).context("a picture has three values for every pixel")
}

/// Asks about one picture.
struct Asker<'a> {
    args: &'a QuizArgs,
    runtime: &'a Runtime,
    features: Tensor,
    cancel: CancelToken,
}

impl Asker<'_> {
    /// Returns whether the model is right.
    fn asks(&self, question: &QuizQuestion) -> Result<bool> {
        let QuizQuestion { text, answer, .. } = question;
        let asked = if self.args.conversation { text.clone() } else { format!("{SHORT}{text}") };
        let reply = self.reply(&asked, REPLY)?;
        self.show(text, answer, &reply)?;
        Ok(agrees(&reply, answer, self.args.conversation))
    }

    /// Generates a reply.
    fn reply(&self, question: &str, max_new_tokens: usize) -> Result<String> {
        let Runtime { tokenizer, config, .. } = self.runtime;
        let content = vec![Part::Image, Part::Text(question.to_owned())];
        let messages = [Message::user(content)];
        let template = ChatTemplate::default();
        let encoded = template.encode(tokenizer, &messages, config.num_vision_tokens)?;
        let prompt = Prompt {
            ids: encoded.ids,
            layout: encoded.layout,
            features: vec![self.features.clone()],
            policy: self.args.policy.attention,
        };
        let limits = (max_new_tokens, self.cancel.clone());
        let request = self.runtime.request(prompt, engine::Sampling::greedy(), limits);
        let mut silent = |_: &str| Ok(());
        let mut answer = Answer::new(tokenizer, &[], &mut silent);
        Session::new(&self.runtime.aki)?.generate(&request, |id| answer.push(id))?;
        Ok(answer.finish()?.0.trim().to_owned())
    }

    fn show(&self, question: &str, answer: &str, reply: &str) -> Result<()> {
        if !self.args.verbose || self.args.json {
            return Ok(());
        }
        let reply = reply.replace('\n', " ");
        output::line(&format!("{question} [{answer}] {reply}"))
    }
}

/// Returns whether a reply is an answer, or in a conversation has it among its words.
fn agrees(reply: &str, answer: &str, is_conversation: bool) -> bool {
    let plain = |text: &str| {
        let words = text.split_whitespace();
        let words = words.map(|word| word.trim_matches(|c: char| c.is_ascii_punctuation()));
        words.collect::<Vec<_>>().join(" ").to_lowercase()
    };
    let (reply, answer) = (plain(reply), plain(answer));
    if is_conversation {
        format!(" {reply} ").contains(&format!(" {answer} "))
    } else {
        reply == answer
    }
}

#[cfg(test)]
mod tests {
    use super::agrees;

    #[test]
    fn an_answer_is_alone_or_a_word_of_a_conversation() {
        assert!(agrees("Yes.", "yes", false));
        assert!(!agrees("There are 3.", "3", false));
        assert!(agrees("There are 3.", "3", true));
        assert!(!agrees("There are 13.", "3", true));
        assert!(agrees("It is the red star.", "red star", true));
    }
}
