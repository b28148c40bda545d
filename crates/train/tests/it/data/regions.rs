//! What patches show.

use std::collections::BTreeSet;
use std::io::Cursor;

use train::data::captions::{Region, regions};
use train::data::{RawSample, RegionMaker, Sample, SampleRng, Target};

use super::support::{preprocessor, tokenizer};

/// Two things side by side, the second partly in front of the first, in the form of the data set.
const TEXT: &str = "[['red and blue', True, None], ['red <bbox>[0.000, 0.000][0.600, 1.000]</bbox>, \
     large blue <bbox>[0.500, 0.000][1.000, 1.000]</bbox>', False, 1.0]]";

fn picture() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::new(8, 8).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn make(text: &str, seed: u64) -> Result<Sample, String> {
    let maker = RegionMaker::new(tokenizer("base"), preprocessor(), 16).unwrap();
    let raw = RawSample {
        key: "k".to_owned(),
        image: Some(picture()),
        text: Some(text.as_bytes().to_vec()),
    };
    maker.make(raw, &mut SampleRng::new(seed, 0)).map_err(|bad| bad.why)
}

#[test]
fn regions_are_read_with_what_stands_before_each_box() {
    let region = |phrase: &str, corners| Region { phrase: phrase.to_owned(), corners };
    let expected =
        [region("red", [0.0, 0.0, 0.6, 1.0]), region("large blue", [0.5, 0.0, 1.0, 1.0])];
    assert_eq!(regions(TEXT.as_bytes()).unwrap(), expected);
    assert_eq!(regions(b"[['a cat', True, None]]").unwrap(), []);
    for (text, expected) in [
        (
            "[['a <bbox>[0.1, 0.2][0.3]</bbox>']]",
            "the text has no caption, expected four numbers in a box",
        ),
        (
            "[['a <bbox>[0.1, 0.2][0.3, x]</bbox>']]",
            "the text has no caption, expected four numbers in a box",
        ),
        ("'a'", "the text has no caption, expected a list of lists that start with a text"),
        ("[[1]]", "the text has no caption, expected a list of lists that start with a text"),
    ] {
        assert_eq!(regions(text.as_bytes()).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn every_patch_is_labelled_with_a_token_of_what_is_in_front_there() {
    let tokenizer = tokenizer("base");
    let spelled = |text: &str| tokenizer.encode_literal(text, true).unwrap();
    let space = spelled(" ");
    let ids = |word: &str| -> BTreeSet<u32> {
        spelled(word).iter().filter(|id| !space.contains(id)).map(|id| id.0).collect()
    };
    let (red, blue) = (ids("red"), ids("large blue"));
    let nothing = tokenizer.id_of("<|endofchunk|>").unwrap().0;
    // What each of the 16 patches was ever labelled with.
    let mut seen = vec![BTreeSet::new(); 16];
    for seed in 0..200 {
        let sample = make(TEXT, seed).unwrap();
        assert_eq!(sample.target, Target::Regions);
        assert_eq!((sample.labels.len(), sample.layout.len(), sample.num_labels()), (17, 17, 16));
        assert_eq!(sample, make(TEXT, seed).unwrap(), "the seed decides");
        for (seen, label) in seen.iter_mut().zip(&sample.labels[1..]) {
            seen.insert(label.unwrap());
        }
    }
    // The middle of the left edge is in the first thing alone, its right neighbours are in both.
    assert!(seen[4].is_subset(&red.union(&[nothing].into()).copied().collect()), "{:?}", seen[4]);
    assert!(seen[6].is_superset(&blue), "{:?} {blue:?}", seen[6]);
    assert!(seen[7].is_disjoint(&red.difference(&blue).copied().collect()), "{:?}", seen[7]);
    // The ellipses leave the corners free.
    assert!(seen[0].contains(&nothing) && seen[15].contains(&nothing));
    assert!(!seen[5].contains(&nothing), "the middle of the first thing");
}

#[test]
fn a_sample_without_a_picture_or_with_a_broken_text_is_bad() {
    assert!(make("a cat", 0).unwrap_err().starts_with("the text is not a Python literal"));
    let maker = RegionMaker::new(tokenizer("base"), preprocessor(), 16).unwrap();
    let raw = RawSample { key: "k".to_owned(), image: None, text: None };
    assert_eq!(maker.make(raw, &mut SampleRng::new(0, 0)).unwrap_err().why, "it has no image");
    let error = RegionMaker::new(tokenizer("base"), preprocessor(), 15).unwrap_err().to_string();
    assert_eq!(error, "`num_patches` is 15, expected a square above 0");
    let error = RegionMaker::of_vision_tokens(tokenizer("base"), preprocessor(), 0).unwrap_err();
    assert_eq!(error.to_string(), "`num_vision_tokens` is 0, expected at least 1");
}

#[test]
fn every_vision_token_is_labelled_with_what_its_part_of_the_picture_shows() {
    let tokenizer = tokenizer("base");
    let nothing = tokenizer.id_of("<|endofchunk|>").unwrap().0;
    let text = "[['x', True, None], ['red <bbox>[0.000, 0.000][0.500, 1.000]</bbox>', False, 1.0]]";
    // 2 parts are side by side, 12 are 4 in each of 3 rows, 7 are all in one row.
    for (num, columns) in [(2, 2), (12, 4), (7, 7), (16, 4)] {
        let maker = RegionMaker::of_vision_tokens(tokenizer.clone(), preprocessor(), num).unwrap();
        let mut seen = vec![BTreeSet::new(); num];
        for seed in 0..60 {
            let raw = RawSample {
                key: "k".to_owned(),
                image: Some(picture()),
                text: Some(text.as_bytes().to_vec()),
            };
            let sample = maker.make(raw, &mut SampleRng::new(seed, 0)).unwrap();
            assert_eq!(sample.target, Target::TokenRegions);
            assert_eq!((sample.labels.len(), sample.num_labels()), (num + 1, num));
            for (seen, label) in seen.iter_mut().zip(&sample.labels[1..]) {
                seen.insert(label.unwrap());
            }
        }
        for (at, seen) in seen.iter().enumerate() {
            // The thing takes the left half of the picture, but for the corners of its ellipse.
            let left = at % columns;
            if 2 * left >= columns {
                assert_eq!(*seen, [nothing].into(), "{at} of {num}");
            } else {
                assert!(seen.iter().any(|label| *label != nothing), "{at} of {num}");
            }
        }
    }
}
