//! What form a reply shall have: JSON, by a schema or not, a choice, a regular expression.

use std::sync::Arc;

use engine::Constraint;
use prompt::{Grammar, GrammarCompiler, TextForm};
use sequence::TokenId;
use serde_json::{Map, Value};

use crate::App;
use crate::error::ApiError;
use crate::fields::{Fields, expected};

/// The most texts to choose from.
const MAX_CHOICES: usize = 1000;

/// The grammar of a reply, as the engine asks for it.
#[derive(Clone, Debug)]
struct Held(Grammar);

impl Constraint for Held {
    fn rule_out(&mut self, logits: &mut [f32]) -> Result<(), String> {
        self.0.rule_out(logits).map_err(|error| error.to_string())
    }

    fn accept(&mut self, id: TokenId) -> Result<bool, String> {
        self.0.push(id).map_err(|error| error.to_string())
    }

    fn boxed_clone(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

/// Reads what form the reply shall have, and makes its grammar.
///
/// `response_format` is the API's own; `structured_outputs` and the fields that begin with
/// `guided_` are those of other servers of open models.
///
/// # Errors
/// If there are several forms, or one makes no sense.
pub(crate) fn constraint(
    app: &App,
    fields: &Fields,
) -> Result<Option<Box<dyn Constraint>>, ApiError> {
    let mut forms = Vec::new();
    if let Some(format) = fields.get("response_format") {
        forms.extend(response_format(format)?.map(|form| ("response_format".to_owned(), form)));
    }
    if let Some(value) = fields.get("structured_outputs") {
        let name = "structured_outputs";
        let object = value.as_object().ok_or_else(|| expected(name, value, "an object"))?;
        forms.extend(guided(object, &format!("{name}."))?);
    }
    forms.extend(guided(fields.all(), "guided_")?);
    let Some((param, form)) = forms.pop() else { return Ok(None) };
    if let Some((other, _)) = forms.pop() {
        let message = format!("`{other}` and `{param}` are given, expected one of them");
        return Err(ApiError::invalid(param, message));
    }
    let grammar = compiler(app)?.compile(&form);
    let grammar = grammar.map_err(|error| ApiError::invalid(param, error.to_string()))?;
    Ok(Some(Box::new(Held(grammar))))
}

/// Returns what knows the tokens, made when it is first needed.
fn compiler(app: &App) -> Result<Arc<GrammarCompiler>, ApiError> {
    let made = app.grammars.get_or_init(|| {
        let model = &app.model;
        GrammarCompiler::new(&model.tokenizer, &model.special.stops()).map(Arc::new)
    });
    made.as_ref().map(Arc::clone).map_err(|error| {
        tracing::error!(%error, "grammars cannot be made");
        ApiError::Internal
    })
}

fn response_format(format: &Value) -> Result<Option<TextForm>, ApiError> {
    let name = "response_format";
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(TextForm::JsonObject)),
        Some("json_schema") => {
            let name = "response_format.json_schema";
            let described = format.get("json_schema").unwrap_or(&Value::Null);
            let object = described
                .as_object()
                .ok_or_else(|| expected(name, described, "an object with a `schema`"))?;
            let strict = match object.get("strict") {
                None | Some(Value::Null) => false,
                Some(Value::Bool(strict)) => *strict,
                Some(other) => {
                    return Err(expected(&format!("{name}.strict"), other, "true or false"));
                }
            };
            let schema = object.get("schema").unwrap_or(&Value::Null);
            Ok(Some(TextForm::JsonSchema { schema: schema_of(schema, name)?, strict }))
        }
        _ => {
            let message = "`response_format.type` is not known, expected text, json_object or \
                           json_schema";
            Err(ApiError::invalid(name, message))
        }
    }
}

fn schema_of(value: &Value, name: &str) -> Result<Value, ApiError> {
    let wrong = || expected(&format!("{name}.schema"), value, "a JSON schema");
    if value.is_object() { Ok(value.clone()) } else { Err(wrong()) }
}

/// Reads the forms as other servers of open models name them.
fn guided(fields: &Map<String, Value>, prefix: &str) -> Result<Vec<(String, TextForm)>, ApiError> {
    let mut forms = Vec::new();
    for kind in ["json", "choice", "regex"] {
        let name = format!("{prefix}{kind}");
        let key = if prefix.ends_with('.') { kind } else { &name };
        let Some(value) = fields.get(key).filter(|value| !value.is_null()) else { continue };
        let form = match (kind, value) {
            ("json", Value::String(text)) => {
                let schema = serde_json::from_str(text).unwrap_or(Value::Null);
                TextForm::JsonSchema { schema: schema_of(&schema, &name)?, strict: false }
            }
            ("json", schema) => {
                TextForm::JsonSchema { schema: schema_of(schema, &name)?, strict: false }
            }
            ("choice", Value::Array(texts)) if (1..=MAX_CHOICES).contains(&texts.len()) => {
                let texts = texts.iter().map(|text| text.as_str().map(str::to_owned));
                let texts: Option<Vec<String>> = texts.collect();
                TextForm::Choice(texts.ok_or_else(|| expected(&name, value, "a list of texts"))?)
            }
            ("regex", Value::String(regex)) => TextForm::Regex(regex.clone()),
            ("choice", _) => {
                let wanted = format!("a list of 1 to {MAX_CHOICES} texts");
                return Err(expected(&name, value, &wanted));
            }
            _ => return Err(expected(&name, value, "a regular expression")),
        };
        forms.push((name, form));
    }
    Ok(forms)
}
