//! Tab-separated tables with images in their cells, read in one pass.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use md5::{Digest, Md5};

use super::base64::{Base64Check, Kind};
use super::cells::{Cells, Event};
use super::row::{MISSING, Row, Span};
use super::{ImageRef, MissingValues, Place, Question};
use crate::{Error, Family};

/// A longer cell of base64 is refused: no image is that large.
const MAX_IMAGE: usize = 96 << 20;
/// A longer cell of text is refused.
const MAX_TEXT: usize = 4 << 20;
/// A shorter cell names the row that holds the image.
pub(super) const MAX_REFERENCE: usize = 64;

/// What a pass over a table brings.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) columns: Vec<String>,
    pub(super) questions: Vec<Question>,
    /// Where each row with an image of its own is, by index.
    pub(super) holders: HashMap<String, usize>,
    pub(super) md5: String,
    /// Rows that have no image and were left out.
    pub(super) without_image: usize,
}

/// What is kept of the row that is being read.
#[derive(Default)]
struct Record {
    /// The texts, one after the other.
    text: Vec<u8>,
    /// Where each cell is in the text.
    spans: Vec<Span>,
    /// Where the cell starts that is being read.
    start: usize,
    /// The start of the image's cell, which is the whole of a reference.
    image: Vec<u8>,
    /// The image's length, and whether it is base64.
    check: Base64Check,
}

impl Record {
    /// Returns the cell that is being read.
    fn column(&self) -> usize {
        self.spans.len()
    }

    /// Ends the cell that is being read.
    fn end_cell(&mut self) {
        // A cell of text is short, and a row has few of them.
        self.spans.push((self.start as u32, self.text.len() as u32));
        self.start = self.text.len();
    }

    /// Forgets the row, and keeps the memory.
    fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
        self.start = 0;
        self.image.clear();
        self.check = Base64Check::default();
    }

    fn bytes(&self, column: usize) -> &[u8] {
        let (start, end) = self.spans[column];
        &self.text[start as usize..end as usize]
    }
}

struct Scanner<'p> {
    path: &'p Path,
    missing: MissingValues,
    columns: Arc<[String]>,
    /// Which column holds images.
    image: Option<usize>,
    /// Which column holds indices.
    index: Option<usize>,
    scan: Scan,
    seen: HashMap<String, usize>,
}

/// Reads the texts of a table, and where its images are; `check` looks at the columns before any
/// row is read.
///
/// # Errors
/// If `check` refuses the columns, the file cannot be read, a cell is too long or no base64, an index comes twice, or a row
/// refers to an image that is not there.
pub(super) fn scan(
    path: &Path,
    missing: MissingValues,
    check: &(dyn Fn(&[String]) -> Result<(), Error> + Sync),
) -> Result<Scan, Error> {
    let file = |source| Error::File { action: "read", path: path.to_owned(), source };
    let mut reader = File::open(path).map_err(file)?;
    let mut scanner = Scanner {
        path,
        missing,
        columns: Arc::new([]),
        image: None,
        index: None,
        scan: Scan {
            columns: Vec::new(),
            questions: Vec::new(),
            holders: HashMap::new(),
            md5: String::new(),
            without_image: 0,
        },
        seen: HashMap::new(),
    };
    let mut digest = Md5::new();
    let mut cells = Cells::new();
    let mut block = vec![0; 1 << 18];
    let mut record = Record::default();
    let mut row = 0;
    loop {
        let len = reader.read(&mut block).map_err(file)?;
        let bytes = &block[..len];
        let on_event = |event: Event<'_>| {
            match event {
                Event::Bytes(bytes, place) => scanner.push(&mut record, bytes, (row, place))?,
                Event::Cell { last, place } => {
                    record.end_cell();
                    if last && scanner.columns.is_empty() {
                        scanner.header(&record)?;
                        check(&scanner.columns)?;
                        record.clear();
                    } else if last {
                        row += 1;
                        scanner.row(&record, (row, place))?;
                        record.clear();
                    }
                }
            }
            Ok(())
        };
        // The checksum takes as long as all the rest.
        let (fed, ()) = rayon::join(|| cells.feed(bytes, on_event), || digest.update(bytes));
        fed?;
        if len == 0 {
            break;
        }
    }
    scanner.finish(digest)
}

impl Scanner<'_> {
    fn cell(&self, (row, place, column): (usize, Place, usize), problem: String) -> Error {
        let column = self.columns.get(column).cloned();
        Error::Cell {
            path: self.path.to_owned(),
            row,
            line: place.line,
            column: column.unwrap_or_else(|| "(header)".to_owned()),
            problem,
        }
    }

    fn push(
        &self,
        record: &mut Record,
        bytes: &[u8],
        (row, place): (usize, Place),
    ) -> Result<(), Error> {
        // The row of a cell that is being read is not counted yet.
        let at = (row + usize::from(!self.columns.is_empty()), place, record.column());
        if self.image == Some(record.column()) {
            let room = (MAX_REFERENCE + 1).saturating_sub(record.image.len()).min(bytes.len());
            record.image.extend_from_slice(&bytes[..room]);
            record.check.push(bytes);
            if record.check.len() > MAX_IMAGE {
                let problem = format!(
                    "the cell has more than {} MiB, expected an image in base64",
                    MAX_IMAGE >> 20
                );
                return Err(self.cell(at, problem));
            }
            return Ok(());
        }
        if record.text.len() - record.start + bytes.len() > MAX_TEXT {
            let problem = format!(
                "the cell has more than {} MiB, expected text; is a quote missing or a column of \
                 images not called `image`?",
                MAX_TEXT >> 20
            );
            return Err(self.cell(at, problem));
        }
        // Bytes come in blocks, which may cut a character: characters are made at the end.
        record.text.extend_from_slice(bytes);
        Ok(())
    }

    fn header(&mut self, record: &Record) -> Result<(), Error> {
        let place = Place { offset: 0, line: 1 };
        let mut columns: Vec<String> = Vec::new();
        for at in 0..record.spans.len() {
            let problem = "the cell is not UTF-8 text".to_owned();
            let name = std::str::from_utf8(record.bytes(at))
                .map_err(|_| self.cell((0, place, at), problem))?;
            let name = if at == 0 { name.trim_start_matches('\u{feff}') } else { name };
            if columns.iter().any(|known| known == name) {
                return Err(self.cell((0, place, at), format!("column `{name}` comes twice")));
            }
            columns.push(name.to_owned());
        }
        let position = |column: &str| columns.iter().position(|name| name == column);
        (self.image, self.index) = (position("image"), position("index"));
        self.columns = columns.into();
        Ok(())
    }

    /// Returns the texts of a row.
    fn text<'r>(&self, record: &'r Record, (row, place): (usize, Place)) -> Result<&'r str, Error> {
        let is_text = |at: usize| std::str::from_utf8(record.bytes(at)).is_ok();
        let all = || (0..record.spans.len()).all(is_text);
        // Two cells may be text together and not each by itself: a character cut in two.
        match std::str::from_utf8(&record.text) {
            Ok(text) if text.is_ascii() || all() => Ok(text),
            _ => {
                let at = (0..record.spans.len()).find(|at| !is_text(*at)).unwrap_or_default();
                Err(self.cell((row, place, at), "the cell is not UTF-8 text".to_owned()))
            }
        }
    }

    fn row(&mut self, record: &Record, (row, place): (usize, Place)) -> Result<(), Error> {
        let (expected, found) = (self.columns.len(), record.spans.len());
        if found != expected {
            let problem = format!("{found} cells, expected {expected}, one for each column");
            return Err(Error::Row { path: self.path.to_owned(), row, line: place.line, problem });
        }
        let text = self.text(record, (row, place))?;
        let mut spans = record.spans.clone();
        for span in &mut spans {
            if self.missing.is_missing(&text[span.0 as usize..span.1 as usize]) {
                *span = MISSING;
            }
        }
        let index = self.index.filter(|at| spans[*at] != MISSING).map(|at| {
            let (start, end) = std::mem::replace(&mut spans[at], MISSING);
            text[start as usize..end as usize].to_owned()
        });
        let Some(index) = index else {
            let at = self.index.unwrap_or_default();
            return Err(self.cell((row, place, at), "the cell is empty, expected an index".into()));
        };
        if let Some(first) = self.seen.insert(index.clone(), row) {
            let at = self.index.unwrap_or_default();
            let problem = format!("index `{index}` is that of row {first} already");
            return Err(self.cell((row, place, at), problem));
        }
        let own = match self.image {
            None => None,
            Some(_) if record.check.len() <= MAX_REFERENCE => {
                let text = String::from_utf8_lossy(&record.image).into_owned();
                if self.missing.is_missing(&text) {
                    self.scan.without_image += 1;
                    return Ok(());
                }
                Some(ImageRef::Row(text))
            }
            Some(at) => {
                let check = &record.check;
                let kind =
                    check.finish().map_err(|problem| self.cell((row, place, at), problem))?;
                let (hash, len) = (check.hash(), check.len());
                self.scan.holders.insert(index.clone(), self.scan.questions.len());
                Some(match kind {
                    // A list of one is no list.
                    Kind::One | Kind::List(1) => ImageRef::One { hash, len },
                    Kind::List(count) => ImageRef::List { hash, len, count },
                })
            }
        };
        let cells = Row::of_parts(Arc::clone(&self.columns), text, &spans);
        self.scan.questions.push(Question { index, row: cells, image: own, place, number: row });
        Ok(())
    }

    fn finish(mut self, digest: Md5) -> Result<Scan, Error> {
        if self.columns.is_empty() {
            return Err(Error::Empty { path: self.path.to_owned(), what: "header" });
        }
        let image = self.image.unwrap_or_default();
        for question in &self.scan.questions {
            if let Some(ImageRef::Row(target)) = &question.image
                && !self.scan.holders.contains_key(target)
            {
                let problem = format!(
                    "`{target}` is no base64 of an image and no index of a row with an image of its own"
                );
                return Err(self.cell((question.number, question.place, image), problem));
            }
        }
        self.scan.columns = self.columns.to_vec();
        self.scan.md5 = super::hex(&digest.finalize());
        Ok(self.scan)
    }
}

/// Reads the image cell of the row at a place.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn image_cell(path: &Path, place: Place, column: usize) -> Result<Vec<u8>, Error> {
    let file = |source| Error::File { action: "read", path: path.to_owned(), source };
    let mut reader = File::open(path).map_err(file)?;
    reader.seek(SeekFrom::Start(place.offset)).map_err(file)?;
    let mut cells = Cells::new();
    let mut block = vec![0; 1 << 16];
    let mut at = 0;
    let mut cell = Vec::new();
    let mut done = false;
    while !done {
        let len = reader.read(&mut block).map_err(file)?;
        cells.feed(&block[..len], |event| {
            match event {
                Event::Bytes(bytes, _) if at == column && !done => cell.extend_from_slice(bytes),
                Event::Bytes(..) => {}
                Event::Cell { last, .. } => {
                    done |= at == column || last;
                    at += 1;
                }
            }
            Ok(())
        })?;
        done |= len == 0;
    }
    Ok(cell)
}

/// Checks that a table has the columns that its family needs.
///
/// # Errors
/// If one is missing, or there is only one and that is a line of another kind of file.
pub(super) fn check_columns(path: &Path, columns: &[String], family: Family) -> Result<(), Error> {
    if let [line] = columns
        && let Some(mark) = [",", ";", "|"].into_iter().find(|mark| line.contains(*mark))
    {
        let problem = format!(
            "the cells have `{mark}` between them, expected tabs; the columns would be {line}"
        );
        return Err(Error::Row { path: path.to_owned(), row: 0, line: 1, problem });
    }
    let needed = ["index", "question", "image"].iter().chain(family.required());
    for column in needed {
        let has = columns.iter().any(|name| name == column);
        // Large tables have their images in files beside them.
        let stands_in = *column == "image" && columns.iter().any(|name| name == "image_path");
        if !has && !stands_in {
            return Err(Error::MissingColumn {
                path: PathBuf::from(path),
                column,
                benchmark: family.to_string(),
                found: columns.join(", "),
            });
        }
    }
    Ok(())
}
