//! CV-Bench: parquet files, one or one for each half.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Record};
use parquet::schema::types::Type;
use sha2::{Digest, Sha256};

use super::{ImageRef, Place, Question, Row, hex};
use crate::Error;
use crate::benchmark::CV_BENCH_2D_SHA256;

/// The columns that are read beside the image.
pub(super) const COLUMNS: [&str; 9] =
    ["question", "choices", "answer", "prompt", "filename", "source", "type", "task", "idx"];
/// Without these no question can be asked or scored.
const REQUIRED: [&str; 5] = ["image", "question", "choices", "answer", "source"];

/// How many images are kept that were read last: whoever reads ahead may want them in a slightly
/// different order than the file's.
const KEPT: usize = 64;
/// How many rows are decoded at once.
const DECODED: usize = 4;

/// The files, and where in one of them images are read.
#[derive(Debug)]
pub(super) struct Files {
    paths: Vec<PathBuf>,
    pub(super) checksum: String,
    cursor: Mutex<Option<Cursor>>,
}

/// Images of a file, read one after the other: there is no way to a row but through those before
/// it, and a group of rows may be the whole file.
struct Cursor {
    file: usize,
    rows: RowIter<'static>,
    /// The row that comes next.
    next: usize,
    /// The images before it.
    kept: VecDeque<Vec<u8>>,
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, next, .. } = self;
        f.debug_struct("Cursor").field("file", file).field("next", next).finish_non_exhaustive()
    }
}

/// Opens a file, or the files of a folder: `test.parquet`, or `test_2d.parquet` and
/// `test_3d.parquet`.
pub(super) fn open(path: &Path) -> Result<(Files, Vec<Question>, Vec<String>), Error> {
    let paths = files_of(path);
    if paths.is_empty() {
        return Err(Error::Empty {
            path: path.to_owned(),
            what: "test.parquet, test_2d.parquet or test_3d.parquet in it",
        });
    }
    let (mut questions, mut notes, mut checksums) = (Vec::new(), Vec::new(), Vec::new());
    for (file, path) in paths.iter().enumerate() {
        read_questions(file, path, &mut questions)?;
        let checksum = sha256(path)?;
        let is_flat = path.file_name().is_some_and(|name| name == "test_2d.parquet");
        if is_flat && checksum != CV_BENCH_2D_SHA256 {
            notes.push(format!(
                "test_2d.parquet is not the published file: its SHA-256 is {checksum}, expected \
                 {CV_BENCH_2D_SHA256}; scores may not compare"
            ));
        }
        checksums.push(checksum);
    }
    if questions.is_empty() {
        return Err(Error::Empty { path: path.to_owned(), what: "rows" });
    }
    let checksum = checksums.join(" ");
    Ok((Files { paths, checksum, cursor: Mutex::new(None) }, questions, notes))
}

/// Returns the parquet files of CV-Bench.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let existing = |names: &[&str]| -> Vec<PathBuf> {
        let folders = [path.to_owned(), path.join("data")];
        let all = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        all.filter(|path| path.is_file()).collect()
    };
    let halves = existing(&["test_2d.parquet", "test_3d.parquet"]);
    if halves.is_empty() {
        existing(&["test.parquet", "test-00000-of-00001.parquet"])
    } else {
        halves
    }
}

fn read_questions(file: usize, path: &Path, questions: &mut Vec<Question>) -> Result<(), Error> {
    let failed = |source: ParquetError| Error::Parquet { path: path.to_owned(), source };
    let reader = reader(path)?;
    let schema = reader.metadata().file_metadata().schema().clone();
    let names: Vec<String> =
        schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    for column in REQUIRED {
        if !names.iter().any(|name| name == column) {
            return Err(Error::MissingColumn {
                path: path.to_owned(),
                column,
                benchmark: "CV-Bench".to_owned(),
                found: names.join(", "),
            });
        }
    }
    let projection = project(&schema, &COLUMNS).map_err(failed)?;
    for (row, record) in reader.get_row_iter(Some(projection)).map_err(failed)?.enumerate() {
        let cells = cells(&record.map_err(failed)?);
        let number = questions.len() + 1;
        // Both halves count from 0.
        let index = (number - 1).to_string();
        let image = Some(ImageRef::Parquet { file, row });
        let place = Place { offset: 0, line: 0 };
        questions.push(Question { index, row: cells, image, place, number });
    }
    Ok(())
}

fn cells(record: &Record) -> Row {
    let text = |field: &Field| match field {
        Field::Null => None,
        Field::Str(text) => Some(text.clone()),
        Field::ListInternal(list) => {
            let items: Vec<serde_json::Value> = list
                .elements()
                .iter()
                .map(|item| match item {
                    Field::Str(text) => text.clone().into(),
                    other => other.to_string().into(),
                })
                .collect();
            Some(serde_json::Value::from(items).to_string())
        }
        other => Some(other.to_string()),
    };
    record
        .get_column_iter()
        .filter_map(|(name, field)| Some((name.clone(), text(field)?)))
        .collect()
}

fn reader(path: &Path) -> Result<SerializedFileReader<File>, Error> {
    let file = File::open(path).map_err(|source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    SerializedFileReader::new(file)
        .map_err(|source| Error::Parquet { path: path.to_owned(), source })
}

/// Returns a schema with some of the columns.
fn project(schema: &Type, columns: &[&str]) -> Result<Type, ParquetError> {
    let fields = schema.get_fields().iter().filter(|field| columns.contains(&field.name()));
    Type::group_type_builder(schema.name()).with_fields(fields.cloned().collect()).build()
}

fn sha256(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::File { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let len = file.read(&mut block).map_err(failed)?;
        if len == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&block[..len]);
    }
}

impl Files {
    /// Returns the first file.
    pub(super) fn path(&self) -> &Path {
        self.paths.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Reads an image, fastest in the order of the rows.
    pub(super) fn image(&self, file: usize, row: usize) -> Result<Vec<u8>, Error> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let path = &self.paths[file];
        let failed = |source: ParquetError| Error::Parquet { path: path.clone(), source };
        let is_behind =
            |cursor: &Cursor| cursor.file != file || row + cursor.kept.len() < cursor.next;
        if cursor.as_ref().is_none_or(is_behind) {
            *cursor = Some(Cursor::open(file, path)?);
        }
        let Some(cursor) = cursor.as_mut() else { return Ok(Vec::new()) };
        while cursor.next <= row {
            let Some(record) = cursor.rows.next() else { return Ok(Vec::new()) };
            if cursor.kept.len() == KEPT {
                cursor.kept.pop_front();
            }
            cursor.kept.push_back(image_bytes(&record.map_err(failed)?));
            cursor.next += 1;
        }
        let at = cursor.kept.len() - (cursor.next - row);
        Ok(cursor.kept.get(at).cloned().unwrap_or_default())
    }
}

impl Cursor {
    fn open(file: usize, path: &Path) -> Result<Self, Error> {
        let failed = |source: ParquetError| Error::Parquet { path: path.to_owned(), source };
        let reader = reader(path)?;
        let schema = reader.metadata().file_metadata().schema().clone();
        let projection = project(&schema, &["image"]).map_err(failed)?;
        let rows = RowIter::from_file_into(Box::new(reader)).project(Some(projection));
        let rows = rows.map_err(failed)?.with_batch_size(DECODED);
        Ok(Self { file, rows, next: 0, kept: VecDeque::new() })
    }
}

/// Returns the bytes of an image: those of the struct that the hub's images are, or the column's.
fn image_bytes(record: &Record) -> Vec<u8> {
    let bytes = |field: &Field| match field {
        Field::Bytes(bytes) => Some(bytes.data().to_vec()),
        _ => None,
    };
    let mut columns = record.get_column_iter();
    match columns.next() {
        Some((_, Field::Group(image))) => {
            image.get_column_iter().filter(|(name, _)| *name == "bytes").find_map(|(_, f)| bytes(f))
        }
        Some((_, field)) => bytes(field),
        None => None,
    }
    .unwrap_or_default()
}
