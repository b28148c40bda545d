//! From text to a recipe, with errors that say where and what else.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{CheckpointRecipe, ComputeRecipe, ModelRecipe, Phase, PhaseRecipe, Recipe, Start};
use crate::Error;
use crate::schedule::Schedule;

/// How much of two keys must be equal for one to be suggested in place of the other.
const LEAST_SIMILARITY: f64 = 0.6;

impl Recipe {
    /// Reads a recipe and changes it by `path=value` settings.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, has an unknown key, or lacks one.
    pub fn open(path: &Path, settings: &[String]) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(Error::read(path))?;
        Self::parse(&text, &path.display().to_string(), settings)
    }

    /// Parses the text of a recipe that is called `name` in errors.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn parse(text: &str, name: &str, settings: &[String]) -> Result<Self, Error> {
        let wrong = |error: &toml::de::Error| located(error, text, name);
        let recipe: Self = toml::from_str(text).map_err(|error| wrong(&error))?;
        if settings.is_empty() {
            return Ok(recipe);
        }
        let mut table: Table = toml::from_str(text).map_err(|error| wrong(&error))?;
        for setting in settings {
            let Some((path, value)) = setting.split_once('=') else {
                return Err(failed(format!(
                    "--set `{setting}` has no `=`, expected `path.to.key=value`"
                )));
            };
            let keys: Vec<_> = path.trim().split('.').collect();
            set(&mut table, &keys, parse_value(value.trim()))
                .map_err(|reason| failed(format!("--set `{setting}`: {reason}")))?;
        }
        let changed = toml::to_string(&table).unwrap_or_default();
        toml::from_str(&changed).map_err(|error| {
            failed(format!("{name} with --set {}: {}", settings.join(" "), explained(&error)))
        })
    }

    /// Returns the recipe with every phase spelled out, and the phases themselves.
    ///
    /// # Errors
    /// If a phase lacks something, or a number makes no sense.
    pub fn resolve(&self) -> Result<(Self, Vec<Phase>), Error> {
        let mut phases = Vec::new();
        if self.phases.is_empty() {
            let name = "train".to_owned();
            let (stage, batch, schedule) = (None, None, None);
            let alone =
                PhaseRecipe { name, stage, batch, schedule, optimizer: None, data: Vec::new() };
            phases.push(self.phase(&alone)?);
        }
        for phase in &self.phases {
            phases.push(self.phase(phase)?);
        }
        if self.checkpoints.every == 0 || self.checkpoints.keep == 0 {
            return Err(failed(
                "`checkpoints.every` and `checkpoints.keep` must be at least 1".to_owned(),
            ));
        }
        if let Some(lora) = &self.lora
            && (lora.rank == 0 || !lora.alpha.is_finite() || lora.targets.is_empty())
        {
            return Err(failed(
                "`lora` needs a `rank` of at least 1, a number `alpha`, and `targets`".to_owned(),
            ));
        }
        let spelled = phases.iter().cloned().map(|phase| PhaseRecipe {
            name: phase.name,
            stage: Some(phase.stage),
            batch: Some(phase.batch),
            schedule: Some(phase.schedule),
            optimizer: Some(phase.optimizer),
            data: phase.data,
        });
        let resolved = Self {
            stage: None,
            batch: None,
            schedule: None,
            optimizer: None,
            data: Vec::new(),
            phases: spelled.collect(),
            ..self.clone()
        };
        Ok((resolved, phases))
    }

    /// Returns the recipe as TOML.
    ///
    /// # Errors
    /// If a number does not fit into TOML.
    pub fn to_toml(&self) -> Result<String, Error> {
        toml::to_string_pretty(self)
            .map_err(|error| failed(format!("the recipe cannot be written as TOML: {error}")))
    }

    /// Returns a number that differs where runs of two recipes would learn differently.
    ///
    /// # Errors
    /// As [`Self::to_toml`].
    pub fn fingerprint(&self) -> Result<String, Error> {
        // FNV-1a: the same on every machine and in every version.
        let hash =
            self.learned()?.to_toml()?.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Ok(format!("{hash:016x}"))
    }

    /// Returns the first key by which runs of two recipes would learn differently from the same
    /// weights.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn difference(&self, other: &Self) -> Result<Option<String>, Error> {
        let table = |recipe: &Self| -> Result<Table, Error> {
            let text = recipe.learned()?.to_toml()?;
            toml::from_str(&text).map_err(|error| located(&error, &text, "the recipe"))
        };
        Ok(first_difference(&Value::Table(table(self)?), &Value::Table(table(other)?)))
    }

    /// Returns what of the recipe decides what is learned from given weights: a run may go on with
    /// anything else changed.
    fn learned(&self) -> Result<Self, Error> {
        let (init, base, start) = (String::new(), None, Start::Scratch);
        let model = ModelRecipe { init, base, start, ..self.model.clone() };
        let mut compute = ComputeRecipe { loader_threads: None, ..self.compute.clone() };
        // Where features are kept does not matter, but that they are: they are computed otherwise.
        compute.feature_cache = compute.feature_cache.map(|_| PathBuf::new());
        let checkpoints = CheckpointRecipe::default();
        Ok(Self { model, compute, checkpoints, samples: None, ..self.resolve()?.0 })
    }

    fn phase(&self, phase: &PhaseRecipe) -> Result<Phase, Error> {
        let name = &phase.name;
        let lacks = |key: &str| {
            failed(format!("phase `{name}` has no `{key}`, neither of its own nor in common"))
        };
        let data = if phase.data.is_empty() { &self.data } else { &phase.data };
        let ready = Phase {
            name: name.clone(),
            stage: phase.stage.clone().or(self.stage.clone()).ok_or_else(|| lacks("stage"))?,
            batch: phase.batch.or(self.batch).ok_or_else(|| lacks("batch"))?,
            schedule: phase.schedule.or(self.schedule).ok_or_else(|| lacks("schedule"))?,
            optimizer: phase.optimizer.clone().or(self.optimizer.clone()).unwrap_or_default(),
            data: data.clone(),
        };
        if ready.data.is_empty() {
            return Err(lacks("data"));
        }
        ready.check().map_err(|reason| failed(format!("phase `{name}`: {reason}")))?;
        Ok(ready)
    }
}

impl Phase {
    fn check(&self) -> Result<(), String> {
        let Schedule { lr, min_lr, warmup_steps, steps, .. } = self.schedule;
        let betas = self.optimizer.betas;
        let is_no_scale = |(_, scale): &(&String, &f64)| !(**scale >= 0.0 && scale.is_finite());
        let (of, no_scale) = self.optimizer.lr_scale.iter().find(is_no_scale).unzip();
        let (of, scale) = (of.map_or("", String::as_str), no_scale.copied().unwrap_or(1.0));
        let rules = [
            (lr > 0.0 && lr.is_finite(), format!("`lr` is {lr}, expected a number above 0")),
            (
                (0.0..=lr).contains(&min_lr),
                format!("`min_lr` is {min_lr}, expected 0 to `lr`, which is {lr}"),
            ),
            (steps > 0, "`steps` is 0, expected at least 1".to_owned()),
            (
                warmup_steps <= steps,
                format!("`warmup_steps` is {warmup_steps}, expected at most `steps`, {steps}"),
            ),
            (self.batch.micro_batch > 0, "`micro_batch` is 0, expected at least 1".to_owned()),
            (self.batch.accumulation > 0, "`accumulation` is 0, expected at least 1".to_owned()),
            (
                betas.iter().all(|beta| (0.0..1.0).contains(beta)),
                format!("`betas` is {betas:?}, expected two numbers from 0 to below 1"),
            ),
            (
                no_scale.is_none(),
                format!("`lr_scale` of `{of}` is {scale}, expected a number from 0 on"),
            ),
            (
                self.data.iter().all(|data| data.weight > 0.0 && data.weight.is_finite()),
                "a `weight` is not above 0".to_owned(),
            ),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, reason)| Err(reason))
    }
}

fn failed(message: String) -> Error {
    Error::Recipe { message }
}

/// Takes a value as TOML, and what is no TOML as text.
fn parse_value(text: &str) -> Value {
    let table: Option<Table> = toml::from_str(&format!("value = {text}")).ok();
    table
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Sets a value in nested tables; a number picks an element of a list.
fn set(table: &mut Table, keys: &[&str], value: Value) -> Result<(), String> {
    let [key, rest @ ..] = keys else { return Err("the path is empty".to_owned()) };
    if rest.is_empty() {
        table.insert((*key).to_owned(), value);
        return Ok(());
    }
    match table.entry(*key).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(inner) => set(inner, rest, value),
        Value::Array(list) => {
            let len = list.len();
            let element = rest[0].parse::<usize>().ok().and_then(|at| list.get_mut(at));
            match element {
                Some(element) if rest.len() == 1 => {
                    *element = value;
                    Ok(())
                }
                Some(Value::Table(inner)) => set(inner, &rest[1..], value),
                _ => Err(format!("`{key}` is a list of {len}, expected a place in it")),
            }
        }
        _ => Err(format!("`{key}` is no table")),
    }
}

/// Returns the path of the first place where two values differ.
fn first_difference(a: &Value, b: &Value) -> Option<String> {
    let inside = |key: &str, a: Option<&Value>, b: Option<&Value>| match (a, b) {
        (Some(a), Some(b)) => first_difference(a, b).map(|path| match path.as_str() {
            "" => key.to_owned(),
            _ => format!("{key}.{path}"),
        }),
        (None, None) => None,
        _ => Some(key.to_owned()),
    };
    match (a, b) {
        (Value::Table(a), Value::Table(b)) => {
            let keys = a.keys().chain(b.keys());
            keys.into_iter().find_map(|key| inside(key, a.get(key), b.get(key)))
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len()))
            .find_map(|index| inside(&index.to_string(), a.get(index), b.get(index))),
        _ => (a != b).then(String::new),
    }
}

/// Returns an error with file, line and a suggestion.
fn located(error: &toml::de::Error, text: &str, name: &str) -> Error {
    let line = error.span().map(|span| {
        let before = text.get(..span.start).unwrap_or(text);
        before.matches('\n').count() + 1
    });
    let place = line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
    failed(format!("{place}: {}", explained(error)))
}

/// Returns what is wrong, in our words where it is a key.
fn explained(error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', ", ");
    let quoted: Vec<_> = message.split('`').skip(1).step_by(2).collect();
    for kind in ["unknown field", "unknown variant"] {
        if !message.starts_with(kind) || quoted.is_empty() {
            continue;
        }
        let what = if kind == "unknown field" { "key" } else { "value" };
        let (unknown, known) = (quoted[0], &quoted[1..]);
        let nearest = known
            .iter()
            .map(|known| (strsim::jaro_winkler(unknown, known), known))
            .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        return match nearest {
            Some((_, nearest)) => {
                format!("unknown {what} `{unknown}`, did you mean `{nearest}`?")
            }
            None => format!("unknown {what} `{unknown}`, expected one of {}", known.join(", ")),
        };
    }
    message
        .strip_prefix("missing field")
        .map_or_else(|| message.clone(), |field| format!("key{field} is missing"))
}
