//! Tables and what is wrong with them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use eval::{Dataset, Family, ImageRef, MissingValues, catalog, find};

/// Bytes that stand for an image file; tables do not look into them.
pub(crate) fn bytes(seed: u8) -> Vec<u8> {
    (0..90).map(|at| seed.wrapping_mul(31).wrapping_add(at)).collect()
}

pub(crate) fn base64(seed: u8) -> String {
    STANDARD.encode(bytes(seed))
}

/// Writes a table and opens it.
fn open(name: &str, text: &str, missing: MissingValues) -> Result<Dataset, String> {
    let dir = tempfile::tempdir().expect("a folder can be made");
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("a file can be written");
    let folder = format!("{}/", dir.path().display());
    Dataset::open(&path, missing).map_err(|error| error.to_string().replace(&folder, ""))
}

fn pope(rows: &[[&str; 5]]) -> String {
    let mut text = "index\timage\tquestion\tanswer\tcategory\n".to_owned();
    for row in rows {
        writeln!(text, "{}", row.join("\t")).expect("a string takes everything");
    }
    text
}

#[test]
fn what_is_wrong_with_a_table_is_said_with_its_row_and_column() {
    let (good, other) = (base64(1), base64(2));
    let truncated = &good[..good.len() - 3];
    let odd = good.replacen(&good[70..71], "!", 1);
    let first = ["0", &good, "Is it?", "Yes", "random"];
    let with = |second: [&str; 5]| pope(&[first, second]);
    for (text, expected) in [
        (
            with(["1", truncated, "Is it?", "No", "random"]),
            "`POPE.tsv`, row 2 (line 3), column `image`: the base64 is truncated: 117 characters, \
             expected a multiple of 4",
        ),
        (
            with(["0", &other, "Is it?", "No", "random"]),
            "`POPE.tsv`, row 2 (line 3), column `index`: index `0` is that of row 1 already",
        ),
        (
            with(["1", "7", "Is it?", "No", "random"]),
            "`POPE.tsv`, row 2 (line 3), column `image`: `7` is no base64 of an image and no index of \
             a row with an image of its own",
        ),
        (
            with(["", &other, "Is it?", "No", "random"]),
            "`POPE.tsv`, row 2 (line 3), column `index`: the cell is empty, expected an index",
        ),
        (
            with(["1", &other, "\"Is it?", "No", "random"]),
            "`POPE.tsv`, row 2 (line 3): 3 cells, expected 5, one for each column",
        ),
        (
            pope(&[]).replace("\tanswer", ""),
            "`POPE.tsv` has no column `answer`, which POPE needs; its columns are index, image, \
             question, category",
        ),
        (pope(&[]), "`POPE.tsv` has no rows with an image"),
        (String::new(), "`POPE.tsv` has no header"),
    ] {
        assert_eq!(open("POPE.tsv", &text, MissingValues::Pandas).unwrap_err(), expected);
    }
    let error =
        open("POPE.tsv", &with(["1", &odd, "Is it?", "No", "random"]), MissingValues::Pandas);
    let error = error.unwrap_err();
    assert!(
        error.contains("row 2 (line 3), column `image`: character ") && error.contains("is `!`")
    );
    let rotations = "index\timage\tquestion\tA\tanswer\nx\tIMAGE\tWhich?\tone\tA\n";
    let error = open("MMBench_mini.tsv", &rotations.replace("IMAGE", &good), MissingValues::Pandas);
    assert!(error.unwrap_err().contains("row 1 (line 2), column `index`: `x` is no number"));
}

#[test]
fn a_cell_of_a_hundred_megabytes_is_refused_where_it_is() {
    let huge = "A".repeat(100 << 20);
    let good = base64(1);
    let text =
        pope(&[["0", &good, "Is it?", "Yes", "random"], ["1", &huge, "Is it?", "No", "random"]]);
    assert_eq!(
        open("POPE.tsv", &text, MissingValues::Pandas).unwrap_err(),
        "`POPE.tsv`, row 2 (line 3), column `image`: the cell has more than 96 MiB, expected an image \
         in base64"
    );
}

#[test]
fn cells_in_quotes_keep_tabs_quotes_and_line_breaks() {
    let good = base64(1);
    let text = pope(&[
        ["0", &good, "\"Is\tit a \"\"cat\"\"?\r\nLook\n\"", "Yes", "random"],
        ["1", &good, "Next?", "No", "random"],
    ]);
    let dataset = open("POPE.tsv", &text, MissingValues::Pandas).unwrap();
    assert_eq!(dataset.questions[0].row.get("question"), Some("Is\tit a \"cat\"?\r\nLook\n"));
    assert_eq!(dataset.questions[1].place.line, 5);
    assert_eq!(dataset.family, Family::Pope);
}

#[test]
fn images_are_found_by_index_and_in_lists() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("MMMU_mini.tsv");
    let list = format!("\"['{}', '{}']\"", base64(2), base64(3));
    let text = format!(
        "index\timage\timage_path\tquestion\tA\tB\tanswer\n1\t{}\tx.png\tQ\ta\tb\tA\n2\t{list}\t\"['y.jpg', \
         'z.png']\"\tQ\ta\tb\tA\n3\t1\tv.png\tQ\ta\tb\tA\n4\t2\tw\tQ\ta\tb\tB\n5\t\t\tQ\ta\tb\tB\n",
        base64(1)
    );
    std::fs::write(&path, text).unwrap();
    let dataset = Dataset::open(&path, MissingValues::Pandas).unwrap();
    let images = |at: usize| dataset.images(&dataset.questions[at]).unwrap();
    assert_eq!(images(0), [bytes(1)]);
    assert_eq!(images(1), [bytes(2), bytes(3)]);
    assert_eq!(images(2), images(0));
    assert_eq!(images(3), images(1));
    let keys: Vec<String> = dataset.questions.iter().map(|q| dataset.image_key(q)).collect();
    assert!(keys[0] == keys[2] && keys[1] == keys[3] && keys[0] != keys[1]);
    let counts: Vec<usize> =
        dataset.questions.iter().map(|question| dataset.num_images(question)).collect();
    assert_eq!(counts, [1, 2, 1, 2]);
    assert_eq!(dataset.notes, ["1 rows without an image are left out"]);
    // The paper's code kept single images as JPEG files, and others by their names.
    let jpeg = |at: usize, number| dataset.is_recompressed(&dataset.questions[at], number);
    assert!(jpeg(0, 0) && jpeg(1, 0) && !jpeg(1, 1));
}

#[test]
fn a_list_of_one_image_is_an_image() {
    let text =
        format!("index\timage\tquestion\tA\tB\tanswer\n1\t\"['{}']\"\tQ\ta\tb\tA\n", base64(1));
    let dataset = open("MMMU_mini.tsv", &text, MissingValues::Pandas).unwrap();
    let question = &dataset.questions[0];
    assert!(matches!(question.image, Some(ImageRef::One { .. })));
    assert_eq!(dataset.num_images(question), 1);
    // It was kept under a name of its own, as a JPEG file.
    assert!(dataset.is_recompressed(question, 0));
}

#[test]
fn base64_in_lines_is_base64() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("POPE.tsv");
    let good = base64(1);
    let lines = format!("\"{}\n{}\n\"", &good[..76], &good[76..]);
    std::fs::write(&path, pope(&[["0", &lines, "Is it?", "Yes", "random"]])).unwrap();
    let dataset = Dataset::open(&path, MissingValues::Pandas).unwrap();
    assert_eq!(dataset.images(&dataset.questions[0]).unwrap(), [bytes(1)]);
}

#[test]
fn a_broken_list_of_images_is_found_before_anything_is_asked() {
    let good = base64(1);
    let (cut, row) = (&good[..117], "\tQ\ta\tb\tA\n");
    let table = |cell: &str| {
        let header = "index\timage\tquestion\tA\tB\tanswer\n";
        let text = format!("{header}1\t{good}{row}2\t\"{cell}\"{row}");
        open("MMMU_mini.tsv", &text, MissingValues::Pandas).unwrap_err()
    };
    for (cell, expected) in [
        (
            format!("['{good}', '{cut}']"),
            "image 2 of the list is truncated: 117 characters, expected a multiple of 4",
        ),
        (
            format!("['{good}', '{cut}"),
            "the list has no end after 243 characters, expected `]`: is the cell truncated?",
        ),
        (
            format!("['{good}', 7]"),
            "character 125 is `7`, expected a list of base64, as in ['...', '...']",
        ),
    ] {
        let expected = format!("`MMMU_mini.tsv`, row 2 (line 3), column `image`: {expected}");
        assert_eq!(table(&cell), expected);
    }
}

#[test]
fn what_is_wrong_with_the_columns_is_said_before_the_rows_are_read() {
    let good = base64(1);
    let rows = format!("0\t{good}\tIs it?\tYes\trandom\n0\t{good}\tIs it?\tYes\trandom\n");
    let header = "index\timage\tquestion\tanswer\tcategory\n";
    let with = |header: &str| {
        open("POPE.tsv", &format!("{header}{rows}"), MissingValues::Pandas).unwrap_err()
    };
    assert_eq!(
        with(&header.replace("index", "id")),
        "`POPE.tsv` has no column `index`, which POPE needs; its columns are id, image, question, \
         answer, category"
    );
    assert_eq!(
        with(&header.replace('\t', ",")),
        "`POPE.tsv`, row 0 (line 1): the cells have `,` between them, expected tabs; the columns would \
         be index,image,question,answer,category"
    );
}

#[test]
fn tables_in_rotations_are_known_by_their_names() {
    for (name, family) in [
        ("MMBench_DEV_CN", Family::MmBench),
        ("AI2D_circular", Family::MmBench),
        ("MMCR", Family::MmBench),
        ("MMMU_DEV_VAL", Family::Mmmu),
        ("MME_mini", Family::Mme),
    ] {
        assert_eq!(Family::of_name(name), Some(family), "{name}");
    }
}

#[test]
fn words_for_nothing_are_missing_as_the_switch_says() {
    let text =
        format!("index\timage\tquestion\tA\tB\tC\tanswer\n1\t{}\tQ\tNone\tNA\tx\tC\n", base64(1));
    for (missing, options) in [
        (MissingValues::Pandas, "C"),
        (MissingValues::OldPandas, "AC"),
        (MissingValues::Empty, "ABC"),
    ] {
        let dataset = open("choices.tsv", &text, missing).unwrap();
        assert_eq!(dataset.family, Family::Choice);
        let row = &dataset.questions[0].row;
        let there: String = ["A", "B", "C"].into_iter().filter(|name| row.contains(name)).collect();
        assert_eq!(there, options);
    }
}

#[test]
fn another_file_under_a_published_name_is_noted() {
    let text = pope(&[["0", &base64(1), "Is it?", "Yes", "random"]]);
    let dataset = open("POPE.tsv", &text, MissingValues::Pandas).unwrap();
    let expected = "expected c12f5acb142f2ef1f85a26ba2fbe41d5; scores may not compare";
    assert!(dataset.notes[0].ends_with(expected), "{:?}", dataset.notes);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cv_bench").join(name)
}

#[test]
fn both_layouts_of_cv_bench_have_the_same_questions() {
    let whole = Dataset::open(&fixture("whole"), MissingValues::Pandas).unwrap();
    let halves = Dataset::open(&fixture("halves"), MissingValues::Pandas).unwrap();
    assert_eq!((whole.questions.len(), halves.questions.len()), (5, 5));
    for (a, b) in whole.questions.iter().zip(&halves.questions) {
        assert_eq!((&a.index, &a.row), (&b.index, &b.row));
        let image = whole.images(a).unwrap();
        assert!(image[0].starts_with(b"\x89PNG"));
        assert_eq!(image, halves.images(b).unwrap());
    }
    // In whatever order they are wanted.
    for at in [4, 0, 3, 3, 1, 2, 0] {
        let image = |dataset: &Dataset| dataset.images(&dataset.questions[at]).unwrap();
        assert_eq!(image(&whole), image(&halves), "{at}");
        let others = whole.questions.iter().enumerate().filter(|(other, _)| *other != at);
        for (_, other) in others {
            assert_ne!(image(&whole), whole.images(other).unwrap());
        }
    }
    assert_eq!(whole.questions[2].row.get("choices"), Some(r#"["1","2","3"]"#));
    assert!(whole.notes.is_empty());
    assert!(halves.notes[0].starts_with("test_2d.parquet is not the published file"));
}

#[test]
fn a_folder_lists_what_is_there_and_where_the_rest_is() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["POPE.tsv", "my_questions.tsv"] {
        std::fs::write(dir.path().join(name), "").unwrap();
    }
    let listed = catalog(dir.path());
    let found = |name: &str| listed.iter().find(|found| found.name == name).unwrap();
    assert!(found("POPE").path.is_some() && found("MME").path.is_none());
    assert!(found("MME").address.as_ref().unwrap().ends_with("/MME.tsv"));
    assert!(found("my_questions").path.is_some() && found("my_questions").address.is_none());
    assert_eq!(listed.len(), 11);
    assert_eq!(find("pope", dir.path()).unwrap(), dir.path().join("POPE.tsv"));
    assert!(
        find("nothing", dir.path())
            .unwrap_err()
            .to_string()
            .starts_with("unknown benchmark `nothing`")
    );
}
