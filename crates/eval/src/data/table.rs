//! Tab-separated tables with images in their cells, read in one pass.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

use super::base64::{Base64Check, Kind};
use super::cells::{Cells, Event};
use super::{ImageRef, MissingValues, Place, Question, Row};
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

/// What is kept of a cell.
enum Sink {
    Text(Vec<u8>),
    /// An image: its start, its length, and whether it is base64.
    Image(Vec<u8>, Base64Check),
}

struct Scanner<'p> {
    path: &'p Path,
    missing: MissingValues,
    columns: Vec<String>,
    /// Which column holds images.
    image: Option<usize>,
    scan: Scan,
    seen: HashMap<String, usize>,
}

/// Reads the texts of a table, and where its images are.
///
/// # Errors
/// If the file cannot be read, a cell is too long or no base64, an index comes twice, or a row
/// refers to an image that is not there.
pub(super) fn scan(path: &Path, missing: MissingValues) -> Result<Scan, Error> {
    let file = |source| Error::File { action: "read", path: path.to_owned(), source };
    let mut reader = File::open(path).map_err(file)?;
    let mut scanner = Scanner {
        path,
        missing,
        columns: Vec::new(),
        image: None,
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
    let mut record = Vec::new();
    let mut sink = scanner.sink(0);
    let mut row = 0;
    loop {
        let len = reader.read(&mut block).map_err(file)?;
        digest.update(&block[..len]);
        cells.feed(&block[..len], |event| {
            match event {
                Event::Bytes(bytes, place) => {
                    scanner.push(&mut sink, bytes, (row, place, record.len()))?;
                }
                Event::Cell { last, place } => {
                    let next = scanner.sink(if last { 0 } else { record.len() + 1 });
                    record.push(std::mem::replace(&mut sink, next));
                    if last {
                        let done = std::mem::take(&mut record);
                        if scanner.columns.is_empty() {
                            scanner.header(done)?;
                            sink = scanner.sink(0);
                        } else {
                            row += 1;
                            scanner.row(done, (row, place))?;
                        }
                    }
                }
            }
            Ok(())
        })?;
        if len == 0 {
            break;
        }
    }
    scanner.finish(digest)
}

impl Scanner<'_> {
    fn sink(&self, column: usize) -> Sink {
        if !self.columns.is_empty() && self.image == Some(column) {
            Sink::Image(Vec::new(), Base64Check::new())
        } else {
            Sink::Text(Vec::new())
        }
    }

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

    fn push(&self, sink: &mut Sink, bytes: &[u8], at: (usize, Place, usize)) -> Result<(), Error> {
        // The row of a cell that is being read is not counted yet.
        let at = (at.0 + usize::from(!self.columns.is_empty()), at.1, at.2);
        match sink {
            Sink::Text(text) => {
                if text.len() + bytes.len() > MAX_TEXT {
                    let problem = format!(
                        "the cell has more than {} MiB, expected text; is a quote missing or a \
                         column of images not called `image`?",
                        MAX_TEXT >> 20
                    );
                    return Err(self.cell(at, problem));
                }
                // Bytes come in blocks, which may cut a character: characters are made at the end.
                text.extend_from_slice(bytes);
            }
            Sink::Image(start, check) => {
                let room = (MAX_REFERENCE + 1).saturating_sub(start.len()).min(bytes.len());
                start.extend_from_slice(&bytes[..room]);
                check.push(bytes);
                if check.len() > MAX_IMAGE {
                    let problem = format!(
                        "the cell has more than {} MiB, expected an image in base64",
                        MAX_IMAGE >> 20
                    );
                    return Err(self.cell(at, problem));
                }
            }
        }
        Ok(())
    }

    fn header(&mut self, record: Vec<Sink>) -> Result<(), Error> {
        let place = Place { offset: 0, line: 1 };
        for (at, sink) in record.into_iter().enumerate() {
            let Sink::Text(text) = sink else { continue };
            let name = self.decode(text, (0, place, at))?;
            let name = if at == 0 { name.trim_start_matches('\u{feff}').to_owned() } else { name };
            if self.columns.contains(&name) {
                return Err(self.cell((0, place, at), format!("column `{name}` comes twice")));
            }
            self.columns.push(name);
        }
        self.image = self.columns.iter().position(|name| name == "image");
        Ok(())
    }

    fn decode(&self, bytes: Vec<u8>, at: (usize, Place, usize)) -> Result<String, Error> {
        String::from_utf8(bytes).map_err(|_| self.cell(at, "the cell is not UTF-8 text".to_owned()))
    }

    fn row(&mut self, record: Vec<Sink>, (row, place): (usize, Place)) -> Result<(), Error> {
        let (expected, found) = (self.columns.len(), record.len());
        if found != expected {
            let problem = format!("{found} cells, expected {expected}, one for each column");
            return Err(Error::Row { path: self.path.to_owned(), row, line: place.line, problem });
        }
        let mut cells = Row::new();
        let mut image = None;
        for (at, sink) in record.into_iter().enumerate() {
            match sink {
                Sink::Text(text) => {
                    let text = self.decode(text, (row, place, at))?;
                    if !self.missing.is_missing(&text) {
                        cells.insert(self.columns[at].clone(), text);
                    }
                }
                Sink::Image(start, check) => image = Some((at, start, check)),
            }
        }
        let Some(index) = cells.remove("index") else {
            let at = self.columns.iter().position(|name| name == "index").unwrap_or_default();
            return Err(self.cell((row, place, at), "the cell is empty, expected an index".into()));
        };
        if let Some(first) = self.seen.insert(index.clone(), row) {
            let at = self.columns.iter().position(|name| name == "index").unwrap_or_default();
            let problem = format!("index `{index}` is that of row {first} already");
            return Err(self.cell((row, place, at), problem));
        }
        let own = match image {
            None => None,
            Some((_, start, check)) if check.len() <= MAX_REFERENCE => {
                let text = String::from_utf8_lossy(&start).into_owned();
                if self.missing.is_missing(&text) {
                    self.scan.without_image += 1;
                    return Ok(());
                }
                Some(ImageRef::Row(text))
            }
            Some((at, _, check)) => {
                let kind =
                    check.finish().map_err(|problem| self.cell((row, place, at), problem))?;
                let (hash, len) = (check.hash(), check.len());
                self.scan.holders.insert(index.clone(), self.scan.questions.len());
                Some(match kind {
                    Kind::One => ImageRef::One { hash, len },
                    Kind::List => ImageRef::List { hash, len },
                })
            }
        };
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
        self.scan.columns = self.columns;
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
/// If one is missing.
pub(super) fn check_columns(path: &Path, columns: &[String], family: Family) -> Result<(), Error> {
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
