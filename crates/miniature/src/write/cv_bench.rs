//! Held-out tests as CV-Bench is published: one parquet file for each half.

use std::path::PathBuf;
use std::sync::Arc;

use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rayon::prelude::*;

use super::WorldConfig;
use super::files::{Counts, Job, encode};
use super::instruct::choices;
use crate::Error;
use crate::question::{Topic, ask};
use crate::random::{Key, Stream};
use crate::scene::{Scene, Split, View};

/// The columns; [`Half::cells`] knows them by their numbers.
const SCHEMA: &str = "message schema {
    required int64 idx;
    required binary type (UTF8);
    required binary task (UTF8);
    required group image { required binary bytes; required binary path (UTF8); }
    required binary question (UTF8);
    required group choices (LIST) { repeated group list { required binary element (UTF8); } }
    required binary answer (UTF8);
    required binary prompt (UTF8);
    required binary filename (UTF8);
    required binary source (UTF8);
}";
/// The number of the column with the choices.
const CHOICES: usize = 6;
/// The pool of scenes.
const POOL: u64 = 260;

/// A half of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Flat,
    Deep,
}

/// A line of a file.
struct Row {
    task: &'static str,
    source: &'static str,
    picture: Vec<u8>,
    question: String,
    choices: Vec<String>,
    right: usize,
}

impl Half {
    fn path(self) -> &'static str {
        match self {
            Self::Flat => "test/CV-Bench/test_2d.parquet",
            Self::Deep => "test/CV-Bench/test_3d.parquet",
        }
    }

    fn tasks(self) -> [(Topic, &'static str); 2] {
        match self {
            Self::Flat => [(Topic::Count, "Count"), (Topic::Side, "Relation")],
            Self::Deep => [(Topic::Depth, "Depth"), (Topic::Distance, "Distance")],
        }
    }

    /// Makes a question; half of the flat ones stand in for each of the two sources.
    fn row(self, config: &WorldConfig, index: usize) -> std::result::Result<Option<Row>, Error> {
        let (view, source) = match (self, index % 2) {
            (Self::Flat, 0) => (View::Flat, "ADE20K"),
            (Self::Flat, _) => (View::Flat, "COCO"),
            (Self::Deep, _) => (View::Room, "Omni3D"),
        };
        let pool = POOL + self as u64;
        let scene = Scene::of_pool(view, Split::Test, config.seed, (pool, index as u64));
        let key = Key { seed: config.seed, place: !pool, index: index as u64, attempt: 0 };
        let mut stream = Stream::new(key);
        let mut tasks = self.tasks();
        if !(index / 2).is_multiple_of(2) {
            tasks.reverse();
        }
        // A scene without two things to compare has no answer to the one, and often to the other.
        let asked = tasks.into_iter().find_map(|(topic, task)| {
            let ask = || ask(&scene, topic, true, &mut stream);
            Some((std::iter::repeat_with(ask).take(20).flatten().next()?, task))
        });
        let Some((question, task)) = asked else { return Ok(None) };
        let (choices, right) = choices(&question, &mut stream);
        let picture = encode("picture.jpg", &scene.draw(config.image_size))?;
        Ok(Some(Row { task, source, picture, question: question.text, choices, right }))
    }

    fn file(self, config: &WorldConfig) -> std::result::Result<Vec<u8>, Error> {
        let rows: Vec<Option<Row>> = (0..config.size.num_tests())
            .into_par_iter()
            .map(|index| self.row(config, index))
            .collect::<std::result::Result<_, Error>>()?;
        let rows: Vec<Row> = rows.into_iter().flatten().collect();
        self.table(&rows).map_err(|source| Error::Parquet { name: self.path(), source })
    }

    /// Encodes the columns, one after the other.
    fn table(self, rows: &[Row]) -> Result<Vec<u8>> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let properties = WriterProperties::builder().set_created_by("aki".to_owned()).build();
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        let mut number = 0;
        while let Some(mut column) = group.next_column()? {
            match column.untyped() {
                ColumnWriter::Int64ColumnWriter(writer) => {
                    let indices: Vec<i64> = (0..).take(rows.len()).collect();
                    writer.write_batch(&indices, None, None)?;
                }
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    let cells = rows.iter().enumerate().map(|row| self.cells(row, number));
                    let (mut values, mut levels) = (Vec::new(), Vec::new());
                    for cell in cells {
                        levels.extend((0..cell.len()).map(|at| i16::from(at > 0)));
                        values.extend(cell);
                    }
                    let is_list = number == CHOICES;
                    let defined = vec![1; values.len()];
                    let levels = is_list.then_some((defined.as_slice(), levels.as_slice()));
                    writer.write_batch(&values, levels.map(|it| it.0), levels.map(|it| it.1))?;
                }
                _ => {}
            }
            column.close()?;
            number += 1;
        }
        group.close()?;
        writer.into_inner()
    }

    /// Returns what a row has in a column.
    fn cells(self, (index, row): (usize, &Row), column: usize) -> Vec<ByteArray> {
        let letter = |number: usize| char::from(b'A' + u8::try_from(number).unwrap_or_default());
        let text = match column {
            1 => if self == Self::Flat { "2D" } else { "3D" }.to_owned(),
            2 => row.task.to_owned(),
            3 => return vec![ByteArray::from(row.picture.clone())],
            5 => row.question.clone(),
            CHOICES => {
                return row.choices.iter().map(|choice| ByteArray::from(choice.as_str())).collect();
            }
            7 => format!("({})", letter(row.right)),
            8 => {
                let choice =
                    |(number, choice): (usize, &String)| format!("\n({}) {choice}", letter(number));
                let choices: String = row.choices.iter().enumerate().map(choice).collect();
                format!("{} Select from the following choices.{choices}", row.question)
            }
            10 => row.source.to_owned(),
            _ => format!("img/{}/{}/{index}.jpg", self as usize + 2, row.task.to_lowercase()),
        };
        vec![ByteArray::from(text.into_bytes())]
    }
}

/// Returns the files.
pub(super) fn jobs(config: &WorldConfig) -> Vec<Job<'_>> {
    let job = |half: Half| Job {
        path: PathBuf::from(half.path()),
        make: Box::new(move || half.file(config)),
        counts: Counts { tests: config.size.num_tests(), is_named: true, ..Counts::default() },
    };
    [Half::Flat, Half::Deep].map(job).into()
}
