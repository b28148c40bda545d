//! `aki quiz`: how often a model is right about the miniature world.

use std::collections::BTreeMap;
use std::fmt::Write;

use ::miniature::{Quiz, QuizQuestion};
use anyhow::{Context, Result};
use engine::{CancelToken, Prompt, Session};
use model::Tensor;
use prompt::{ChatTemplate, Message, Part, RgbImage};
use serde::Serialize;

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

/// How often a model was right.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Score {
    right: usize,
    asked: usize,
}

impl Score {
    fn add(&mut self, is_right: bool) {
        self.right += usize::from(is_right);
        self.asked += 1;
    }

    fn percent(self) -> f64 {
        100.0 * self.right as f64 / self.asked.max(1) as f64
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    seed: u64,
    pictures: u64,
    /// By topic; of `caption`, how many of the kinds of objects were named.
    topics: BTreeMap<&'static str, Score>,
    /// By what the model card promises.
    groups: BTreeMap<&'static str, f64>,
}

/// Which topics belong together.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "yes/no and attributes",
        &["existence", "says", "number", "hue", "position", "color", "kind", "texture", "size"],
    ),
    ("counting up to five", &["count"]),
    ("spatial relations", &["position", "side", "depth", "distance"]),
    ("reading", &["reading"]),
    ("objects named in captions", &["caption"]),
];

/// Asks and counts.
pub(crate) fn run(args: &QuizArgs, environment: &Environment) -> Result<()> {
    let cancel = Interrupt::install()?.arm();
    let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
    let mut topics: BTreeMap<&'static str, Score> = BTreeMap::new();
    let bar = progress::things("asking", args.pictures);
    for index in 0..args.pictures {
        let quiz = Quiz::make(args.seed, index);
        let picture = picture(&quiz)?;
        let features = runtime.see(&picture)?;
        let asker = Asker { args, runtime: &runtime, features, cancel: cancel.clone() };
        for question in &quiz.questions {
            let is_right = asker.asks(question)?;
            topics.entry(question.topic).or_default().add(is_right);
        }
        if !quiz.names.is_empty() {
            let reply = asker.reply(DESCRIBE, CAPTION)?.to_lowercase();
            let caption = topics.entry("caption").or_default();
            quiz.names.iter().for_each(|name| caption.add(reply.contains(name)));
            asker.show(DESCRIBE, &quiz.names.join(", "), &reply)?;
        }
        bar.inc(1);
        if cancel.is_cancelled() {
            return Err(Interrupted.into());
        }
    }
    bar.finish_and_clear();
    let groups = GROUPS.map(|(name, parts)| {
        let of_group = parts.iter().filter_map(|topic| topics.get(topic));
        let sum = of_group.fold(Score::default(), |sum, score| Score {
            right: sum.right + score.right,
            asked: sum.asked + score.asked,
        });
        (name, (sum.percent() * 10.0).round() / 10.0)
    });
    let report = Report { seed: args.seed, pictures: args.pictures, topics, groups: groups.into() };
    if args.json { output::json(&report) } else { output::text(&table(&report)) }
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

/// Writes the scores down.
fn table(report: &Report) -> String {
    let mut text = String::new();
    for (topic, score) in &report.topics {
        let Score { right, asked } = score;
        let percent = score.percent();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{topic:<28}{percent:>6.1} %  {right} of {asked}");
    }
    text.push('\n');
    for (group, percent) in &report.groups {
        let _ = writeln!(text, "{group:<28}{percent:>6.1} %");
    }
    text
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
