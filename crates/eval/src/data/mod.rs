//! The questions of a benchmark, and their images when they are wanted.

mod base64;
mod catalog;
mod cells;
mod cv_bench;
mod row;
mod table;

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::catalog::{Found, catalog, find};
pub use self::row::Row;
use crate::benchmark::{CV_BENCH, Published};
use crate::{Error, Family};

/// Which cells count as missing. pandas, which the published scorers read tables with, takes some
/// words for nothing, so that an option of that text disappears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingValues {
    /// Those of pandas from 2 on, the word None among them.
    #[default]
    Pandas,
    /// Those of pandas before 2: None is a word.
    OldPandas,
    /// Empty cells only.
    Empty,
}

impl MissingValues {
    /// Returns whether a cell is missing.
    pub fn is_missing(self, cell: &str) -> bool {
        const WORDS: [&str; 16] = [
            "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
            "<NA>", "N/A", "NA", "NULL", "NaN", "n/a", "nan",
        ];
        cell.is_empty()
            || (self != Self::Empty && (WORDS.contains(&cell) || cell == "null"))
            || (self == Self::Pandas && cell == "None")
    }
}

impl FromStr for MissingValues {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "pandas" => Ok(Self::Pandas),
            "old-pandas" => Ok(Self::OldPandas),
            "empty" => Ok(Self::Empty),
            _ => Err("expected `pandas`, `old-pandas` or `empty`".to_owned()),
        }
    }
}

/// Where a row starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In bytes from the start of the file.
    pub offset: u64,
    /// The line, counted from 1.
    pub line: u64,
}

/// The images of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageRef {
    /// Those of the row of this index.
    Row(String),
    /// One in the row's own cell.
    One {
        /// Of the cell.
        hash: u64,
        /// Of the cell.
        len: usize,
    },
    /// Several in the row's own cell.
    List {
        /// Of the cell.
        hash: u64,
        /// Of the cell.
        len: usize,
        /// How many they are.
        count: usize,
    },
    /// In a row of a parquet file.
    Parquet {
        /// Which file.
        file: usize,
        /// Which row of it.
        row: usize,
    },
}

/// A question as its table has it.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its name.
    pub index: String,
    /// Its other cells, images left out.
    pub row: Row,
    /// Its images, none if they are in files.
    pub image: Option<ImageRef>,
    /// Where it is.
    pub place: Place,
    /// Which row it is, counted from 1.
    pub number: usize,
}

/// A benchmark's questions.
#[derive(Debug)]
pub struct Dataset {
    /// The name: the file's, without its ending.
    pub name: String,
    /// How it is asked and scored.
    pub family: Family,
    /// The columns.
    pub columns: Vec<String>,
    /// The questions in the file's order.
    pub questions: Vec<Question>,
    /// What the user should know about the file.
    pub notes: Vec<String>,
    /// The file's MD5, or SHA-256 for parquet.
    pub checksum: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Table { path: PathBuf, holders: HashMap<String, usize> },
    Parquet(cv_bench::Files),
}

impl Dataset {
    /// Reads a table, or CV-Bench's folder or file.
    ///
    /// # Errors
    /// If it cannot be read, or is not as its benchmark's tables are.
    pub fn open(path: &Path, missing: MissingValues) -> Result<Self, Error> {
        if path.is_dir() || path.extension().is_some_and(|ending| ending == "parquet") {
            return Self::open_cv_bench(path);
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let family = |columns: &[String]| {
            let known = Family::of_name(&name).or_else(|| Family::of_columns(columns));
            known.ok_or_else(|| Error::UnknownForm {
                path: path.to_owned(),
                found: columns.join(", "),
            })
        };
        let scan = table::scan(path, missing, &|columns| {
            table::check_columns(path, columns, family(columns)?)
        })?;
        let family = family(&scan.columns)?;
        if scan.questions.is_empty() {
            return Err(Error::Empty { path: path.to_owned(), what: "rows with an image" });
        }
        if family == Family::MmBench {
            check_numbers(path, &scan)?;
        }
        let mut notes = Vec::new();
        if let Some(published) = Published::find(&name)
            && published.md5 != scan.md5
        {
            notes.push(format!(
                "the file is not the published one: its MD5 is {}, expected {}; scores may not \
                 compare",
                scan.md5, published.md5
            ));
        }
        if scan.without_image > 0 {
            notes.push(format!("{} rows without an image are left out", scan.without_image));
        }
        let source = Source::Table { path: path.to_owned(), holders: scan.holders };
        let (columns, questions, checksum) = (scan.columns, scan.questions, scan.md5);
        Ok(Self { name, family, columns, questions, notes, checksum, source })
    }

    fn open_cv_bench(path: &Path) -> Result<Self, Error> {
        let (files, questions, notes) = cv_bench::open(path)?;
        Ok(Self {
            name: CV_BENCH.to_owned(),
            family: Family::CvBench,
            columns: cv_bench::COLUMNS.map(str::to_owned).into(),
            questions,
            notes,
            checksum: files.checksum.clone(),
            source: Source::Parquet(files),
        })
    }

    /// Returns the file, or the folder of the files.
    pub fn path(&self) -> &Path {
        match &self.source {
            Source::Table { path, .. } => path,
            Source::Parquet(files) => files.path(),
        }
    }

    /// Returns a name that questions about the same images share.
    pub fn image_key(&self, question: &Question) -> String {
        match &question.image {
            Some(ImageRef::Row(target)) => match self.holder(target) {
                Some(holder) if !matches!(holder.image, Some(ImageRef::Row(_))) => {
                    self.image_key(holder)
                }
                _ => format!("row {target}"),
            },
            Some(ImageRef::One { hash, len } | ImageRef::List { hash, len, .. }) => {
                format!("{hash:016x} {len}")
            }
            Some(ImageRef::Parquet { file, row }) => format!("{file} {row}"),
            None => question.row.get("image_path").unwrap_or_default().to_owned(),
        }
    }

    /// Returns how many images a question has.
    pub fn num_images(&self, question: &Question) -> usize {
        let holder = match &question.image {
            Some(ImageRef::Row(target)) => self.holder(target).unwrap_or(question),
            _ => question,
        };
        match &holder.image {
            Some(ImageRef::List { count, .. }) => *count,
            Some(_) => 1,
            None => image_names(question).len(),
        }
    }

    /// Returns whether the paper's code kept an image of a question as a JPEG file, whatever it was
    /// before: an only image always, one of several if its name said so.
    pub fn is_recompressed(&self, question: &Question, number: usize) -> bool {
        let is_list = match &question.image {
            Some(ImageRef::Row(target)) => self
                .holder(target)
                .is_some_and(|holder| matches!(holder.image, Some(ImageRef::List { .. }))),
            Some(ImageRef::List { .. }) => true,
            // These were read as they are.
            Some(ImageRef::Parquet { .. }) | None => return false,
            Some(ImageRef::One { .. }) => false,
        };
        if !is_list {
            return true;
        }
        let names = image_names(question);
        let ending = names.get(number).and_then(|name| Path::new(name).extension());
        ending.is_some_and(|ending| {
            ending.eq_ignore_ascii_case("jpg") || ending.eq_ignore_ascii_case("jpeg")
        })
    }

    /// Reads the image files of a question.
    ///
    /// # Errors
    /// If a file cannot be read, or a cell is no base64.
    pub fn images(&self, question: &Question) -> Result<Vec<Vec<u8>>, Error> {
        match (&self.source, &question.image) {
            (Source::Parquet(files), Some(ImageRef::Parquet { file, row })) => {
                files.image(*file, *row).map(|image| vec![image])
            }
            (Source::Table { path, .. }, Some(image)) => {
                let holder = match image {
                    ImageRef::Row(target) => self.holder(target).unwrap_or(question),
                    _ => question,
                };
                let column = self.columns.iter().position(|name| name == "image");
                let cell = table::image_cell(path, holder.place, column.unwrap_or_default())?;
                base64::decode(&cell).map_err(|problem| Error::Cell {
                    path: path.clone(),
                    row: holder.number,
                    line: holder.place.line,
                    column: "image".to_owned(),
                    problem,
                })
            }
            (Source::Table { path, .. }, None) => self.image_files(path, question),
            (Source::Parquet(_), _) => Ok(Vec::new()),
        }
    }

    /// Reads images that lie beside a table without a column of them.
    fn image_files(&self, table: &Path, question: &Question) -> Result<Vec<Vec<u8>>, Error> {
        let names = image_names(question);
        let folder = table.parent().unwrap_or(Path::new("."));
        let stem = self.name.trim_end_matches("_local");
        let group = if stem.starts_with("MMBench") { "MMBench" } else { stem };
        let read = |name: &String| {
            let candidates = [
                folder.join("images").join(group).join(name),
                folder.join(name),
                PathBuf::from(name),
            ];
            let path = candidates.iter().find(|path| path.exists()).unwrap_or(&candidates[0]);
            std::fs::read(path).map_err(|source| Error::File {
                action: "read",
                path: path.clone(),
                source,
            })
        };
        names.iter().map(read).collect()
    }

    fn holder(&self, index: &str) -> Option<&Question> {
        let Source::Table { holders, .. } = &self.source else { return None };
        holders.get(index).and_then(|at| self.questions.get(*at))
    }
}

/// Returns the names of image files in a row.
fn image_names(question: &Question) -> Vec<String> {
    match question.row.get("image_path") {
        Some(cell) if cell.starts_with('[') => crate::rules::python::list(cell).unwrap_or_default(),
        Some(cell) => vec![cell.to_owned()],
        None => Vec::new(),
    }
}

/// Reads the columns `index` and `prediction` (or `answer`, where there is none) of a table.
///
/// # Errors
/// If it cannot be read, or has no such columns.
pub(crate) fn answers_of_table(path: &Path) -> Result<HashMap<String, String>, Error> {
    let column = "prediction";
    let check = |columns: &[String]| {
        let missing = ["index", column].into_iter().find(|name| !columns.iter().any(|c| c == name));
        missing.map_or(Ok(()), |column| {
            Err(Error::MissingColumn {
                path: path.to_owned(),
                column,
                benchmark: "a table of answers".to_owned(),
                found: columns.join(", "),
            })
        })
    };
    // What is missing was an empty answer.
    let scan = table::scan(path, MissingValues::Empty, &check)?;
    let answer = |question: Question| {
        let mut row = question.row;
        (question.index, row.remove(column).unwrap_or_default())
    };
    Ok(scan.questions.into_iter().map(answer).collect())
}

/// Checks that indices are numbers, which tell copies of a question apart.
fn check_numbers(path: &Path, scan: &table::Scan) -> Result<(), Error> {
    let wrong = scan.questions.iter().find(|question| question.index.parse::<u64>().is_err());
    wrong.map_or(Ok(()), |question| {
        Err(Error::Cell {
            path: path.to_owned(),
            row: question.number,
            line: question.place.line,
            column: "index".to_owned(),
            problem: format!(
                "`{}` is no number, expected the question's number plus a million for each rotation \
                 of its options",
                question.index
            ),
        })
    })
}

/// Returns bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
