//! `aki inspect`: what a checkpoint holds, and who reads whom in a prompt.

mod summary;
mod view;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use sequence::AttentionPolicy;

use crate::args::InspectArgs;
use crate::environment::Environment;
use crate::load::{self, Model};
use crate::report::Failure;
use crate::{figure, output};

use summary::Summary;
use view::View;

/// Sums a checkpoint up, or shows a prompt.
pub(crate) fn run(args: &InspectArgs, environment: &Environment) -> Result<()> {
    // What names a model is one: `aki inspect miniature`.
    let is_model = |name: &&str| *name == load::EMBEDDED || Path::new(name).exists();
    let named = args.question.as_deref().filter(|_| args.image.is_empty()).filter(is_model);
    let shows_prompt = named.is_none() && (args.question.is_some() || !args.image.is_empty());
    if !shows_prompt && (args.mask.is_some() || args.reply.is_some() || args.compare) {
        let failure = Failure::usage("there is no prompt whose mask could be shown");
        return Err(failure.hint("add a question, or --image FILE").into());
    }
    let word = args.question.as_deref().filter(|it| named.is_none() && !it.contains(' '));
    if let Some(word) = word.filter(|_| args.image.is_empty()) {
        output::note(&format!("there is no model `{word}`, so it is taken for a question"));
    }
    let model = Model::locate(named.unwrap_or(&args.model.model), environment)?;
    if !shows_prompt {
        let summary = Summary::new(&model, &model.config()?, &model.checkpoint()?);
        if args.json {
            return output::json(&summary);
        }
        output::text(&summary.to_string())?;
        // Cards on the hub are long and start with a table of their own; ours says what it knows.
        return match model.card().filter(|_| model.dir().is_none()) {
            Some(card) => output::text(&format!("\n{card}")),
            None => Ok(()),
        };
    }
    let policies =
        if args.compare { AttentionPolicy::ALL.to_vec() } else { args.attention.clone() };
    let view = View::new(&model, args)?;
    if args.json {
        output::json(&view.json(&policies))?;
    } else {
        output::text(&view.text(&policies))?;
    }
    match &args.mask {
        None => Ok(()),
        Some(path) => {
            write_figure(path, &view, &policies)?;
            output::note(&format!("wrote {}", path.display()));
            Ok(())
        }
    }
}

/// Draws the masks into a file.
fn write_figure(path: &Path, view: &View, policies: &[AttentionPolicy]) -> Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    let file = File::create(path).with_context(failed)?;
    figure::write_masks(view.layout(), policies, BufWriter::new(file)).with_context(failed)
}
