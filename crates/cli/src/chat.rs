//! `aki chat`: a conversation over several turns and images.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Context, Result};
use engine::{FinishReason, Prompt, Session};
use model::Tensor;
use prompt::{ChatTemplate, Message};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use sequence::{AttentionPolicy, Layout, Role, SpanKind, TokenId};

use crate::args::ChatArgs;
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::report::{self, Failure};
use crate::runtime::{self, Runtime};
use crate::stream::Answer;
use crate::{input, output, progress};

/// Says what a line that begins with a slash does.
fn help() -> String {
    format!(
        "/image FILE    show an image with the next question\n\
         /system TEXT   change the instructions and start again\n\
         /policy NAME   change who reads whom: {}\n\
         /reset         start again\n\
         /help          this list\n\
         /quit          leave, as Ctrl-D does",
        AttentionPolicy::names()
    )
}

/// Talks until the user leaves.
pub(crate) fn run(args: &ChatArgs, environment: &Environment) -> Result<()> {
    runtime::sampling(&args.generation)?;
    let interrupt = Interrupt::install()?;
    let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
    let mut chat = Chat::new(args, &runtime)?;
    for path in &args.image {
        chat.show(path)?;
    }
    let mut lines = Lines::open()?;
    if lines.interactive() {
        output::note(&format!("{}. /help lists what you can do.", model_name(args)));
    }
    while let Some(line) = lines.next()? {
        match chat.take(line.trim(), &interrupt) {
            Ok(Flow::Continue) => {}
            Ok(Flow::Leave) => break,
            // A person can go on; a script should not.
            Err(error) if lines.interactive() => report::show(&error),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn model_name(args: &ChatArgs) -> String {
    match args.model.model.as_str() {
        "miniature" => {
            "The built-in model knows the pictures of `aki miniature`, not photographs".to_owned()
        }
        name => format!("Talking with {name}"),
    }
}

/// Whether the conversation goes on.
enum Flow {
    Continue,
    Leave,
}

/// The conversation so far. Every prompt is all of it; the session computes what is new.
struct Chat<'r> {
    args: &'r ChatArgs,
    runtime: &'r Runtime,
    session: Session<'r>,
    template: ChatTemplate,
    policy: AttentionPolicy,
    ids: Vec<TokenId>,
    layout: Layout,
    features: Vec<Tensor>,
    /// Images to be shown with the next question.
    pending: Vec<Tensor>,
}

impl<'r> Chat<'r> {
    fn new(args: &'r ChatArgs, runtime: &'r Runtime) -> Result<Self> {
        Ok(Self {
            args,
            runtime,
            session: Session::new(&runtime.aki)?,
            template: runtime::template(args.generation.system.as_deref()),
            policy: args.policy.attention,
            ids: Vec::new(),
            layout: Layout::new(),
            features: Vec::new(),
            pending: Vec::new(),
        })
    }

    /// Does what a line says.
    fn take(&mut self, line: &str, interrupt: &Interrupt) -> Result<Flow> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "" => {}
            "/quit" | "/exit" => return Ok(Flow::Leave),
            "/help" => output::note(&help()),
            "/reset" => self.reset(),
            "/image" if rest.is_empty() => {
                return Err(Failure::usage("`/image` needs a file").into());
            }
            "/image" => self.show(Path::new(rest))?,
            "/system" => {
                self.template = runtime::template(Some(rest));
                self.reset();
            }
            "/policy" => self.policy = rest.parse()?,
            _ if word.starts_with('/') => {
                let failure = Failure::usage(format!("unknown command `{word}`"));
                return Err(failure.hint("/help lists the commands").into());
            }
            _ => self.ask(line, interrupt)?,
        }
        Ok(Flow::Continue)
    }

    fn reset(&mut self) {
        self.ids.clear();
        self.layout = Layout::new();
        self.features.clear();
        self.pending.clear();
    }

    /// Shows an image with the next question.
    fn show(&mut self, path: &Path) -> Result<()> {
        let image = input::image(path)?;
        let spinner = progress::spinner("looking at the image");
        let features = self.runtime.see(&image);
        spinner.finish_and_clear();
        self.pending.push(features?);
        Ok(())
    }

    /// Asks a question and prints the answer.
    fn ask(&mut self, question: &str, interrupt: &Interrupt) -> Result<()> {
        let prompt = self.prompt(question)?;
        let cancel = interrupt.arm();
        let sampling = runtime::sampling(&self.args.generation)?;
        let limit = (self.args.generation.max_new_tokens, cancel);
        let request = self.runtime.request(prompt.clone(), sampling, limit);
        let spinner = progress::spinner("reading the question");
        let mut print = |text: &str| {
            spinner.finish_and_clear();
            output::text(text)
        };
        let stops = &self.args.generation.stop;
        let mut answer = Answer::new(&self.runtime.tokenizer, stops, &mut print);
        let generated = self.session.generate(&request, |id| answer.push(id));
        interrupt.disarm();
        let (_, _) = answer.finish()?;
        spinner.finish_and_clear();
        output::line("")?;
        let generated = generated?;

        // What was asked and answered is history from here on.
        self.features = prompt.features;
        self.pending.clear();
        self.ids = prompt.ids;
        self.layout = prompt.layout;
        self.reply(&generated.new_ids);
        if generated.finish != FinishReason::Stop {
            self.reply(&[self.runtime.special.end]);
        }
        Ok(())
    }

    /// Returns the whole conversation with a further question.
    fn prompt(&self, question: &str) -> Result<Prompt> {
        let parts = prompt::parse_question(question, self.pending.len())?;
        let question = [Message::user(parts)];
        let num_vision_tokens = self.runtime.config.num_vision_tokens;
        let tokenizer = &self.runtime.tokenizer;
        let next = if self.ids.is_empty() {
            self.template.encode(tokenizer, &question, num_vision_tokens)?
        } else {
            self.template.encode_next_turn(tokenizer, &question, num_vision_tokens)?
        };
        let mut layout = self.layout.clone();
        for span in next.layout.spans() {
            layout.push(span.kind, span.len);
        }
        self.runtime.check_length(layout.len()).context("the conversation is too long")?;
        Ok(Prompt {
            ids: [self.ids.as_slice(), &next.ids].concat(),
            layout,
            features: [self.features.as_slice(), &self.pending].concat(),
            policy: self.policy,
        })
    }

    /// Appends tokens of a reply to the history.
    fn reply(&mut self, ids: &[TokenId]) {
        self.ids.extend(ids);
        self.layout.push(SpanKind::Text(Role::Assistant), ids.len());
    }
}

/// Lines from a person with an editor, or from a pipe.
enum Lines {
    Editor(Box<DefaultEditor>),
    Pipe(io::Lines<io::StdinLock<'static>>),
}

impl Lines {
    fn open() -> Result<Self> {
        if io::stdin().is_terminal() {
            let editor = DefaultEditor::new().context("cannot use the terminal")?;
            return Ok(Self::Editor(Box::new(editor)));
        }
        Ok(Self::Pipe(io::stdin().lines()))
    }

    fn interactive(&self) -> bool {
        matches!(self, Self::Editor(_))
    }

    /// Returns the next line; none at the end.
    fn next(&mut self) -> Result<Option<String>> {
        match self {
            Self::Pipe(lines) => lines.next().transpose().context("cannot read standard input"),
            Self::Editor(editor) => loop {
                match editor.readline("> ") {
                    Ok(line) => {
                        // A line that cannot be remembered can still be answered.
                        let _ = editor.add_history_entry(&line);
                        return Ok(Some(line));
                    }
                    Err(ReadlineError::Interrupted) => output::note("/quit or Ctrl-D leaves"),
                    Err(ReadlineError::Eof) => return Ok(None),
                    Err(error) => return Err(error).context("cannot read from the terminal"),
                }
            },
        }
    }
}
