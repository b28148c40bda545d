//! What was answered so far: a folder for each benchmark, to which answers are only ever added.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Shard;
use crate::score::{Record, Sheet};
use crate::{Dataset, Error, Family};

/// Describes a run.
const RUN: &str = "run.json";
/// The questions without their images.
const QUESTIONS: &str = "questions.jsonl";
/// What answers are kept in, before the shard's name and the ending.
const PREDICTIONS: &str = "predictions";

/// How a benchmark was asked: what has to be the same for a run to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSettings {
    /// The benchmark's name.
    pub benchmark: String,
    /// How it is scored.
    pub family: Family,
    /// The file it was read from.
    pub data: PathBuf,
    /// The file's checksum.
    pub checksum: String,
    /// The model.
    pub model: String,
    /// Everything else that decides what is answered, by name.
    pub options: BTreeMap<String, String>,
}

/// How long a reply took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Looking at the images.
    pub image: f64,
    /// Reading the question, up to the first token.
    pub prefill: f64,
    /// Writing the answer.
    pub decode: f64,
}

/// An answer as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Which question.
    pub index: String,
    /// What was asked, `<image>` in the place of every image.
    pub prompt: String,
    /// What was answered.
    pub answer: String,
    /// Why the answer ended: `stop` or `length`.
    #[serde(default)]
    pub finish: String,
    /// How many tokens were read.
    #[serde(default)]
    pub prompt_tokens: usize,
    /// How many tokens were written.
    #[serde(default)]
    pub new_tokens: usize,
    /// How long it took.
    #[serde(default)]
    pub seconds: Seconds,
    /// Why there is no answer; such a question is asked again when the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The part of a stored answer that scoring reads.
#[derive(Debug, Deserialize)]
struct Scored {
    #[serde(deserialize_with = "text")]
    index: String,
    #[serde(alias = "prediction", deserialize_with = "text")]
    answer: String,
    #[serde(default)]
    error: Option<String>,
}

/// Reads a text, or a number as its digits: other programs write both.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_string<E: de::Error>(self, text: String) -> Result<String, E> {
            Ok(text)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
            Ok(crate::rules::python::float_text(number))
        }

        fn visit_unit<E: de::Error>(self) -> Result<String, E> {
            Ok(String::new())
        }
    }

    deserializer.deserialize_any(Text)
}

/// The folder of one benchmark of a run.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    path: PathBuf,
    file: File,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}

impl Store {
    /// Opens or makes a folder for answers to a benchmark's questions.
    ///
    /// # Errors
    /// If the folder belongs to another run, or cannot be written.
    pub fn open(
        folder: &Path,
        settings: &RunSettings,
        dataset: &Dataset,
        shard: Shard,
    ) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(failed("make", folder))?;
        let run = folder.join(RUN);
        if run.exists() {
            check_same(&run, &read_json(&run)?, settings)?;
        } else {
            let questions = dataset.questions.iter().map(|question| Record {
                index: question.index.clone(),
                row: question.row.clone(),
            });
            write_lines(&folder.join(QUESTIONS), questions)?;
            write_whole(
                &run,
                &serde_json::to_vec_pretty(settings)
                    .map_err(|source| Error::Json { path: run.clone(), source })?,
            )?;
        }
        let path = folder.join(shard.file_name(PREDICTIONS));
        let file = open_to_append(&path)?;
        Ok(Self { folder: folder.to_owned(), path, file })
    }

    /// Returns the answered questions of all shards; those without an answer are not among them.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn answered(&self) -> Result<BTreeSet<String>, Error> {
        Ok(read_answers(&self.folder)?.into_keys().collect())
    }

    /// Adds an answer.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append(&mut self, prediction: &Prediction) -> Result<(), Error> {
        let mut line = serde_json::to_vec(prediction)
            .map_err(|source| Error::Json { path: self.path.clone(), source })?;
        line.push(b'\n');
        // One write for each line, so that a kill leaves whole lines.
        self.file.write_all(&line).map_err(failed("write", &self.path))
    }
}

/// Opens a file for further lines; a line that a kill cut short is removed.
fn open_to_append(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).append(true).create(true).open(path);
    let mut file = file.map_err(failed("write", path))?;
    let len = file.seek(SeekFrom::End(0)).map_err(failed("read", path))?;
    // No line is longer than this unless a model ran wild; then the whole file is searched.
    for tail in [1 << 16, u64::MAX] {
        let start = len.saturating_sub(tail);
        file.seek(SeekFrom::Start(start)).map_err(failed("read", path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read", path))?;
        if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
            file.set_len(start + end as u64 + 1).map_err(failed("write", path))?;
            return Ok(file);
        }
    }
    file.set_len(0).map_err(failed("write", path))?;
    Ok(file)
}

fn check_same(path: &Path, found: &RunSettings, expected: &RunSettings) -> Result<(), Error> {
    let mut fields = vec![
        ("benchmark", &found.benchmark, &expected.benchmark),
        ("checksum", &found.checksum, &expected.checksum),
        ("model", &found.model, &expected.model),
    ];
    let none = "(nothing)".to_owned();
    let names: BTreeSet<&String> = found.options.keys().chain(expected.options.keys()).collect();
    for name in names {
        let value = |run: &'_ RunSettings| run.options.get(name).cloned();
        if value(found) != value(expected) {
            let pair = (found.options.get(name), expected.options.get(name));
            fields.push((name, pair.0.unwrap_or(&none), pair.1.unwrap_or(&none)));
        }
    }
    match fields.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((field, found, expected)) => Err(Error::OtherRun {
            path: path.to_owned(),
            field: field.to_owned(),
            found: format!("`{found}`"),
            expected: format!("`{expected}`"),
        }),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).map_err(failed("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Writes a file under another name first: a kill leaves the old one or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes).map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("write", path))
}

fn write_lines<T: Serialize>(path: &Path, values: impl Iterator<Item = T>) -> Result<(), Error> {
    let temporary = path.with_extension("tmp");
    let file = File::create(&temporary).map_err(failed("write", &temporary))?;
    let mut writer = BufWriter::new(file);
    for value in values {
        serde_json::to_writer(&mut writer, &value)
            .map_err(|source| Error::Json { path: path.to_owned(), source })?;
        writer.write_all(b"\n").map_err(failed("write", &temporary))?;
    }
    writer.flush().map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("write", path))
}

/// Reads a file of one JSON object on each line; a last line without an end is left out.
fn read_lines<T: DeserializeOwned + Send>(path: &Path) -> Result<Vec<T>, Error> {
    let text = fs::read(path).map_err(failed("read", path))?;
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines: Vec<&[u8]> = text[..end].split(|byte| *byte == b'\n').collect();
    let parse = |(at, line): (usize, &&[u8])| {
        (!line.is_empty()).then(|| {
            serde_json::from_slice(line).map_err(|source| Error::Predictions {
                path: path.to_owned(),
                line: at + 1,
                problem: source.to_string(),
            })
        })
    };
    lines.par_iter().enumerate().filter_map(parse).collect()
}

/// Returns the files of answers in a folder.
fn prediction_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?;
            let is_lines = path.extension().is_some_and(|ending| ending == "jsonl");
            (name.starts_with(PREDICTIONS) && is_lines).then_some(path)
        })
        .collect();
    paths.sort();
    Ok(paths)
}

/// Reads the answers of a folder by index; of several to a question the last one counts.
fn read_answers(folder: &Path) -> Result<HashMap<String, String>, Error> {
    let mut answers = HashMap::new();
    for path in prediction_files(folder)? {
        let lines: Vec<Scored> = read_lines(&path)?;
        answers.reserve(lines.len());
        for Scored { index, answer, error } in lines {
            if error.is_none() {
                answers.insert(index, answer);
            }
        }
    }
    Ok(answers)
}

/// Returns the folders of benchmarks in a run, or the folder itself if it is one of a benchmark.
pub(crate) fn folders(run: &Path) -> Result<Vec<PathBuf>, Error> {
    if run.join(RUN).exists() {
        return Ok(vec![run.to_owned()]);
    }
    let entries = fs::read_dir(run).map_err(failed("read", run))?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join(RUN).exists())
        .collect();
    folders.sort();
    if folders.is_empty() {
        return Err(Error::Empty {
            path: run.to_owned(),
            what: "folder of a benchmark with a run.json",
        });
    }
    Ok(folders)
}

impl Sheet {
    /// Reads the questions and answers of a benchmark's folder.
    ///
    /// # Errors
    /// If a file cannot be read or is broken.
    pub fn read(folder: &Path) -> Result<(RunSettings, Self), Error> {
        let settings: RunSettings = read_json(&folder.join(RUN))?;
        let records = read_lines(&folder.join(QUESTIONS))?;
        let answers = read_answers(folder)?;
        let (name, family) = (settings.benchmark.clone(), settings.family);
        Ok((settings, Self { name, family, records, answers }))
    }

    /// Puts a file of answers beside a benchmark's questions: lines of JSON with `index` and
    /// `answer` or `prediction`, a JSON list of such objects (`.json`), or a table with columns of
    /// these names (`.tsv`).
    ///
    /// # Errors
    /// If the file cannot be read, or is a spreadsheet.
    pub fn of_file(answers: &Path, dataset: Dataset) -> Result<Self, Error> {
        let ending = answers.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let refused = |kind| Error::AnswersKind { path: answers.to_owned(), kind };
        let good = |lines: Vec<Scored>| {
            let good = lines.into_iter().filter(|line| line.error.is_none());
            good.map(|line| (line.index, line.answer)).collect()
        };
        let answers = match ending.to_lowercase().as_str() {
            "tsv" => crate::data::answers_of_table(answers)?,
            "xlsx" | "xls" => return Err(refused("a spreadsheet")),
            "csv" => return Err(refused("a table with commas")),
            "json" => good(read_json(answers)?),
            _ => good(read_lines(answers)?),
        };
        let Dataset { name, family, questions, .. } = dataset;
        let record =
            |question: crate::Question| Record { index: question.index, row: question.row };
        let records = questions.into_iter().map(record).collect();
        Ok(Self { name, family, records, answers })
    }
}

/// What became of a benchmark when runs were put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The benchmark.
    pub name: String,
    /// How many questions are answered.
    pub answers: usize,
    /// How many questions there are.
    pub questions: usize,
}

/// Puts runs of shards together into one.
///
/// Returns what each benchmark has then.
///
/// # Errors
/// If the runs were made in different ways, or a file cannot be written.
pub fn merge(runs: &[PathBuf], output: &Path) -> Result<Vec<Merged>, Error> {
    let mut found: BTreeMap<String, Vec<(PathBuf, RunSettings)>> = BTreeMap::new();
    for run in runs {
        for folder in folders(run)? {
            let settings: RunSettings = read_json(&folder.join(RUN))?;
            found.entry(settings.benchmark.clone()).or_default().push((folder, settings));
        }
    }
    let mut merged = Vec::new();
    for (name, parts) in found {
        let (first, settings) = &parts[0];
        let mut answers: Vec<Prediction> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for (folder, other) in &parts {
            check_same(&folder.join(RUN), other, settings)?;
            for path in prediction_files(folder)? {
                for answer in read_lines::<Prediction>(&path)? {
                    // An answer counts more than none, whichever came first.
                    if answer.error.is_some() {
                        continue;
                    }
                    if let Some(at) = known.get(&answer.index) {
                        answers[*at] = answer;
                    } else {
                        known.insert(answer.index.clone(), answers.len());
                        answers.push(answer);
                    }
                }
            }
        }
        let folder = output.join(&name);
        fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        let questions: Vec<Record> = read_lines(&first.join(QUESTIONS))?;
        merged.push(Merged { name, answers: answers.len(), questions: questions.len() });
        write_lines(&folder.join(QUESTIONS), questions.into_iter())?;
        write_lines(&folder.join(format!("{PREDICTIONS}.jsonl")), answers.into_iter())?;
        let run = folder.join(RUN);
        let json = serde_json::to_vec_pretty(settings);
        write_whole(&run, &json.map_err(|source| Error::Json { path: run.clone(), source })?)?;
    }
    Ok(merged)
}
