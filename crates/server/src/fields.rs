//! A JSON object whose fields are taken one by one, with errors that name them.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// The fields of a request; `null` counts as left out, unknown ones are ignored.
#[derive(Debug)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a request's body.
    ///
    /// # Errors
    /// If it is not a JSON object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::Invalid {
                message: "the body is not a JSON object".to_owned(),
                param: None,
            }),
            Err(error) => Err(ApiError::Invalid {
                message: format!("the body is not valid JSON: {error}"),
                param: None,
            }),
        }
    }

    /// Returns all fields.
    pub(crate) fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Returns a field, none if it is left out or `null`.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Returns a number within limits.
    ///
    /// # Errors
    /// If the field is something else.
    pub(crate) fn number(
        &self,
        name: &str,
        limits: std::ops::RangeInclusive<f64>,
    ) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_f64().filter(|number| limits.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(expected(
                name,
                value,
                &format!("a number from {} to {}", limits.start(), limits.end()),
            )),
        }
    }

    /// Returns a whole number within limits.
    ///
    /// # Errors
    /// If the field is something else.
    pub(crate) fn integer(
        &self,
        name: &str,
        limits: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_i64().filter(|number| limits.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(expected(
                name,
                value,
                &format!("a whole number from {} to {}", limits.start(), limits.end()),
            )),
        }
    }

    /// Returns a truth value, `false` if it is left out.
    ///
    /// # Errors
    /// If the field is something else.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(expected(name, value, "true or false")),
        }
    }

    /// Returns a text.
    ///
    /// # Errors
    /// If the field is something else.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(expected(name, value, "a text")),
        }
    }

    /// Returns one text or a list of them, at most `most`.
    ///
    /// # Errors
    /// If the field is something else.
    pub(crate) fn texts(&self, name: &str, most: usize) -> Result<Vec<String>, ApiError> {
        let wanted = format!("a text or a list of at most {most} texts");
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(value) => {
                let texts = value.as_array().filter(|texts| texts.len() <= most);
                let texts = texts.and_then(|texts| {
                    texts.iter().map(|text| text.as_str().map(str::to_owned)).collect()
                });
                texts.ok_or_else(|| expected(name, value, &wanted))
            }
        }
    }
}

/// Returns the error of a field that is not what it should be.
pub(crate) fn expected(name: &str, found: &Value, wanted: &str) -> ApiError {
    let shown: String = match found {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(_) => "a text".to_owned(),
        other => format!("`{other}`"),
    };
    ApiError::invalid(name, format!("`{name}` is {shown}, expected {wanted}"))
}
