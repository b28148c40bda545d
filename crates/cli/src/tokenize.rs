//! `aki tokenize`: text to ids and back.

use anyhow::{Context, Result};
use sequence::TokenId;

use crate::args::TokenizeArgs;
use crate::environment::Environment;
use crate::input;
use crate::load::Model;
use crate::output;
use crate::report::Failure;

/// Prints ids as a JSON array, or the text of ids.
pub(crate) fn run(args: &TokenizeArgs, environment: &Environment) -> Result<()> {
    let tokenizer = Model::locate(&args.model.model, environment)?.tokenizer()?;
    if let Some(ids) = &args.decode {
        return output::line(&tokenizer.decode(&parse_ids(ids)?, args.skip_special));
    }
    let text = match (&args.text, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => input::read_text(file)?,
        (None, None) => return Err(Failure::usage("nothing to tokenize").into()),
    };
    let ids = tokenizer.encode(&text, args.bos).context("cannot tokenize the text")?;
    output::json(&ids.iter().map(|id| id.0).collect::<Vec<_>>())
}

/// Parses ids that are separated by commas or spaces, with or without the brackets of JSON.
fn parse_ids(text: &str) -> Result<Vec<TokenId>> {
    let list = text.trim().trim_start_matches('[').trim_end_matches(']');
    list.split([',', ' ', '\n'])
        .filter(|id| !id.is_empty())
        .map(|id| {
            let parsed = id.parse().map(TokenId);
            parsed.map_err(|_| Failure::usage(format!("`{id}` is not a token id")).into())
        })
        .collect()
}
