//! Generated ids to text on the screen, as they come.

use std::ops::ControlFlow;

use prompt::{StopStrings, TextStream, Tokenizer};
use sequence::TokenId;

/// Turns ids into text and watches for stop strings.
pub(crate) struct Answer<'p> {
    stream: TextStream,
    stops: StopStrings,
    text: String,
    print: &'p mut dyn FnMut(&str) -> anyhow::Result<()>,
    failure: Option<anyhow::Error>,
}

impl<'p> Answer<'p> {
    /// Starts an answer whose text goes to `print` piece by piece.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        stops: &[String],
        print: &'p mut dyn FnMut(&str) -> anyhow::Result<()>,
    ) -> Self {
        Self {
            stream: TextStream::new(tokenizer),
            stops: StopStrings::new(stops.iter().cloned()),
            text: String::new(),
            print,
            failure: None,
        }
    }

    /// Takes the next id; breaks at a stop string, or if nobody reads the text.
    pub(crate) fn push(&mut self, id: TokenId) -> ControlFlow<()> {
        if let Some(piece) = self.stream.push(id) {
            let certain = self.stops.push(&piece);
            self.emit(&certain);
        }
        if self.stops.stopped() || self.failure.is_some() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Ends the answer; returns its text, and whether a stop string ended it.
    ///
    /// # Errors
    /// If the text could not be printed.
    pub(crate) fn finish(mut self) -> anyhow::Result<(String, bool)> {
        if let Some(piece) = self.stream.finish() {
            let certain = self.stops.push(&piece);
            self.emit(&certain);
        }
        let stopped = self.stops.stopped();
        let held = self.stops.finish();
        self.emit(&held);
        match self.failure {
            Some(error) => Err(error),
            None => Ok((self.text, stopped)),
        }
    }

    fn emit(&mut self, text: &str) {
        if text.is_empty() || self.failure.is_some() {
            return;
        }
        self.text.push_str(text);
        self.failure = (self.print)(text).err();
    }
}
