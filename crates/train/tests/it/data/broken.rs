//! Instruction sets whose files or pictures are missing, broken, or do not fit together.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::tempdir;
use train::data::instruct::{self, Content, InstructionMaker};
use train::data::{Augment, Error, SampleRng};
use train::recipe::DataRecipe;

use super::instruct::recipe;
use super::originals::{self, Originals};
use super::support::{encoder, preprocessor};

/// Returns the error, its causes behind it, that a changed recipe gives.
fn error(originals: &Originals, name: &str, change: impl FnOnce(&mut DataRecipe)) -> String {
    let mut recipe = recipe(originals.set(name));
    change(&mut recipe);
    spelled(&instruct::open(&recipe).err().expect("it is broken"))
}

fn spelled(error: &Error) -> String {
    let error: &dyn std::error::Error = error;
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// Changes an annotation file.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

#[test]
fn an_unknown_set_is_answered_with_the_known_ones() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    assert_eq!(
        error(&originals, "vqa", |recipe| "vqav2".clone_into(&mut recipe.name)),
        "unknown data set `vqav2`, expected one of vqa, gqa, vsr, ocrvqa, aokvqa, scienceqa, refcoco, \
         refcoco+, refcocog, vg, llava150k, llava"
    );
}

#[test]
fn a_missing_file_or_folder_stops_at_once_and_says_what_to_do() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    for set in &originals.sets {
        for (at, file) in set.files.iter().enumerate() {
            let away = file.with_extension("away");
            fs::rename(file, &away).unwrap();
            let found = error(&originals, set.name, |_| ());
            let published = file.file_name().unwrap().display();
            assert_eq!(
                found,
                format!(
                    "data set `{}` has no file `{}`, expected `{published}` as it is published; put it \
                     there or correct `files` in the recipe",
                    set.name,
                    file.display()
                ),
                "{at}"
            );
            fs::rename(&away, file).unwrap();
        }
        let gone = dir.path().join("gone");
        let found = error(&originals, set.name, |recipe| recipe.images = Some(gone.clone()));
        let name = set.name;
        let expected = format!(
            "data set `{name}` has no pictures: `{}` is no folder; correct `images` in the recipe",
            gone.display()
        );
        assert_eq!(found, expected);
        let found = error(&originals, set.name, |recipe| recipe.images = None);
        assert!(found.contains("the recipe gives no folder"), "{found}");
    }
    assert_eq!(
        error(&originals, "vg", |recipe| recipe.files.truncate(1)),
        "data set `vg` has 1 `files`, expected 2: `region_descriptions.json` and `image_data.json`"
    );
}

#[test]
fn a_broken_file_is_an_error_with_the_record_and_the_place() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    let file = |name: &str, at: usize| originals.set(name).files[at].clone();
    let not = |path: &Path| format!("`{}` is not what was expected of it: ", path.display());
    let vqa = file("vqa", 0);
    fs::write(&vqa, "{\"questions\": [\n{\"question_id\": 1, \"image_id\": 1, \"question\": \"a\"},\n{\"image_id\": 2}]}").unwrap();
    let found = error(&originals, "vqa", |_| ());
    let place = "record 1: missing field `question_id` at line 3 column 15";
    assert_eq!(found, not(&vqa) + place);
    fs::write(&vqa, "{\"images\": [[1, {}], 2]}").unwrap();
    let found = error(&originals, "vqa", |_| ());
    assert_eq!(found, not(&vqa) + "missing field `questions` at line 1 column 24");
    let gqa = file("gqa", 0);
    fs::write(&gqa, "{\"7\": {\"imageId\": \"a\", \"question\": 3, \"answer\": \"b\"}}").unwrap();
    let found = error(&originals, "gqa", |_| ());
    assert!(found.starts_with(&(not(&gqa) + "record `7`: invalid type: integer `3`")), "{found}");
    let vsr = file("vsr", 0);
    let good = fs::read_to_string(&vsr).unwrap();
    fs::write(&vsr, format!("{good}\n{{\"caption\": \"a\", \"label\": 1}}\n")).unwrap();
    let found = error(&originals, "vsr", |_| ());
    let place = "missing field `image_link` at line 4 column 28";
    assert_eq!(found, format!("`{}` cannot be used: {place}", vsr.display()));
    let llava = file("llava150k", 0);
    let good = fs::read_to_string(&llava).unwrap();
    fs::write(&llava, &good[..good.len() / 2]).unwrap();
    let found = error(&originals, "llava150k", |_| ());
    assert!(found.starts_with(&not(&llava)) && found.contains("EOF while parsing"), "{found}");
    fs::write(&llava, good + "]").unwrap();
    let found = error(&originals, "llava150k", |_| ());
    assert!(found.contains("trailing characters at line 1 column"), "{found}");
    let refcoco = file("refcoco", 0);
    edit(&refcoco, |value| value["annotations"].as_array_mut().unwrap().truncate(1));
    assert_eq!(
        error(&originals, "refcoco", |_| ()),
        format!(
            "`{}` cannot be used: it has 2 `images` and 1 `annotations`, expected one for each",
            refcoco.display()
        )
    );
}

#[test]
fn what_other_files_do_not_know_is_left_out() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    let len = |name| instruct::open(&recipe(originals.set(name))).unwrap().num_examples();
    edit(&originals.set("vqa").files[1], |value| {
        value["annotations"].as_array_mut().unwrap().truncate(2);
    });
    assert_eq!(len("vqa"), 2);
    edit(&originals.set("vg").files[1], |value| value.as_array_mut().unwrap().truncate(1));
    assert_eq!(len("vg"), 2);
}

#[test]
fn an_example_that_does_not_fit_together_is_bad_and_the_others_are_not() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    edit(&originals.set("refcoco").files[0], |value| {
        value["annotations"][0]["bbox"] = json!([1, 2, 0, 3]);
    });
    let set = instruct::open(&recipe(originals.set("refcoco"))).unwrap();
    let bad = set.example(0).unwrap_err().to_string();
    assert!(bad.ends_with("/0`: its box is 0 x 3 in a picture of 40 x 30"), "{bad}");
    set.example(1).unwrap();
    edit(&originals.set("aokvqa").files[0], |value| value[0]["correct_choice_idx"] = json!(4));
    let set = instruct::open(&recipe(originals.set("aokvqa"))).unwrap();
    let render = |index: usize| {
        set.example(index).unwrap().content.render(true, None, &mut SampleRng::new(0, 0))
    };
    assert_eq!(render(0).unwrap_err(), "its answer is option 4 of 4, counted from 0");
    render(1).unwrap();
    let choices = vec![String::new(); 27];
    let content = Content::Choice { question: String::new(), choices, answer: 0 };
    assert!(content.render(true, None, &mut SampleRng::new(0, 0)).is_err());
}

#[test]
fn a_picture_that_is_gone_or_broken_makes_a_bad_sample() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    let set = instruct::open(&recipe(originals.set("gqa"))).unwrap();
    let maker = InstructionMaker {
        encoder: encoder(|_| ()),
        preprocessor: preprocessor(),
        augment: Augment::instructions(),
    };
    let make =
        |index| maker.make(set.example(index).unwrap(), Vec::new(), &mut SampleRng::new(0, 0));
    let sample = make(0).unwrap();
    assert_eq!((sample.key.as_str(), sample.pixels.len()), ("07333408", 1));
    let folder = &originals.set("gqa").images;
    fs::write(folder.join("2370799.jpg"), "no picture").unwrap();
    let bad = make(0).unwrap_err();
    assert_eq!(bad.key, "07333408");
    fs::remove_file(folder.join("2370799.jpg")).unwrap();
    let bad = make(0).unwrap_err().to_string();
    assert!(bad.starts_with("`07333408`: cannot read `") && bad.contains("2370799.jpg`"), "{bad}");
    make(1).unwrap();
}

#[test]
fn names_may_be_numbers_and_a_conversation_need_not_have_one() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    edit(&originals.set("gqa").files[0], |value| {
        *value = json!({"1": {"imageId": 2_370_799, "question": "a", "answer": "b"}});
    });
    edit(&originals.set("llava150k").files[0], |value| {
        value[0]["id"] = json!(33_471);
        value[1].as_object_mut().unwrap().remove("id");
    });
    edit(&originals.set("vg").files[1], |value| {
        value[0]["id"] = value[0]["image_id"].clone();
        value[1]["id"] = value[1].as_object_mut().unwrap().remove("image_id").unwrap();
    });
    let all = |name: &str| {
        let set = instruct::open(&recipe(originals.set(name))).unwrap();
        (0..set.num_examples()).map(|index| set.example(index).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(all("gqa")[0].image, Some(originals.set("gqa").images.join("2370799.jpg")));
    let keys: Vec<_> = all("llava150k").into_iter().map(|example| example.key).collect();
    assert_eq!(keys, ["33471/0", "33471/2", "1/0"]);
    assert_eq!(all("vg").len(), 3);
}
