//! The eleven instruction sets: what each example says, and where its picture is.

use std::path::Path;

use tempfile::tempdir;
use train::data::instruct::{self, Content, Example};
use train::data::{Augment, SampleRng};
use train::recipe::DataRecipe;

use super::originals::{self, OriginalSet, Originals};

pub(super) fn recipe(set: &OriginalSet) -> DataRecipe {
    DataRecipe {
        name: set.name.to_owned(),
        weight: set.weight,
        shards: Vec::new(),
        files: set.files.clone(),
        images: Some(set.images.clone()),
        turns: 1,
    }
}

/// Returns every example of a set.
fn examples(originals: &Originals, name: &str) -> Vec<Example> {
    let set = instruct::open(&recipe(originals.set(name))).unwrap();
    (0..set.num_examples()).map(|index| set.example(index).unwrap()).collect()
}

/// Returns the key, the picture's path below the root, the input and the target of every example.
fn said(root: &Path, originals: &Originals, name: &str) -> Vec<[String; 4]> {
    let line = |example: Example| {
        let image = example.image.map_or_else(String::new, |path| {
            assert!(path.is_file(), "{}", path.display());
            path.strip_prefix(root).unwrap().display().to_string()
        });
        let (input, target) =
            example.content.render(true, None, &mut SampleRng::new(0, 0)).unwrap();
        [example.key, image, input, target]
    };
    examples(originals, name).into_iter().map(line).collect()
}

fn check(name: &str, expected: &[[&str; 4]]) {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    assert_eq!(said(dir.path(), &originals, name), expected, "{name}");
}

#[test]
fn vqa_asks_for_a_word_and_takes_the_answer_of_most() {
    let image = "coco/train2014/COCO_train2014_000000458752.jpg";
    check(
        "vqa",
        &[
            [
                "458752000",
                image,
                "Answer the question using a single word or phrase. What is this photo taken looking through?",
                "net",
            ],
            [
                "458752001",
                image,
                "Answer the question using a single word or phrase. What position is this man playing?",
                "pitcher",
            ],
            [
                "581857000",
                "coco/train2014/COCO_train2014_000000581857.jpg",
                "Answer the question using a single word or phrase. Is this a café?",
                "yes",
            ],
        ],
    );
}

#[test]
fn gqa_takes_the_short_answer() {
    check(
        "gqa",
        &[
            [
                "07333408",
                "gqa/images/2370799.jpg",
                "Answer the question using a single word or phrase. What is on the white wall?",
                "pipe",
            ],
            [
                "18945471",
                "gqa/images/n161313.jpg",
                "Answer the question using a single word or phrase. Is the fence in front of the dog?",
                "no",
            ],
        ],
    );
}

#[test]
fn vsr_turns_statements_into_questions_as_the_authors_did() {
    check(
        "vsr",
        &[
            [
                "1",
                "coco/train2017/000000299207.jpg",
                "Answer the question using a single word or phrase. Is the cat on the bed? Please answer yes or no.",
                "yes",
            ],
            [
                "2",
                "coco/val2017/000000296471.jpg",
                "Answer the question using a single word or phrase. Is the d h left of the cup? Please answer yes or no.",
                "no",
            ],
        ],
    );
}

#[test]
fn ocrvqa_takes_every_question_of_the_books_for_training() {
    let input = |question| format!("Answer the question using a single word or phrase. {question}");
    check(
        "ocrvqa",
        &[
            [
                "0684842688/0",
                "ocrvqa/images/0684842688.jpg",
                &input("Who wrote this book?"),
                "A. Writer",
            ],
            [
                "0684842688/1",
                "ocrvqa/images/0684842688.jpg",
                &input("What is the title?"),
                "A Title",
            ],
            [
                "0743466896/0",
                "ocrvqa/images/0743466896.png",
                &input("Is this a comics book?"),
                "No",
            ],
        ],
    );
}

/// Renders an example with many seeds; returns all that is said, sorted.
fn renderings(example: &Example) -> Vec<(String, String)> {
    let render =
        |seed| example.content.clone().render(true, None, &mut SampleRng::new(seed, 0)).unwrap();
    let mut all: Vec<_> = (0..300).map(render).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn options_come_in_every_order_and_the_letter_is_that_of_the_right_one() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    let found = examples(&originals, "aokvqa");
    assert_eq!(found[0].key, "22MexNkBPpdZGX6sxbxVBH");
    assert_eq!(found[0].image, Some(dir.path().join("coco/train2017/000000299207.jpg")));
    let all = renderings(&found[0]);
    assert_eq!(all.len(), 24);
    assert!(
        all.contains(&(
            "Answer with the option's letter from the given choices directly. \
         What is the man by the bags awaiting?\n\
         Options:\nA. delivery\nB. cab\nC. train\nD. skateboarder\n"
                .to_owned(),
            "B".to_owned()
        ))
    );
    for (input, target) in all {
        assert!(input.contains(&format!("\n{target}. cab\n")), "{input} {target}");
    }
}

#[test]
fn scienceqa_has_a_context_and_only_some_pictures() {
    let dir = tempdir().unwrap();
    let originals = originals::write(dir.path());
    let mut found = examples(&originals, "scienceqa");
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let images: Vec<_> = found.iter().map(|example| example.image.clone()).collect();
    assert_eq!(images, [Some(dir.path().join("scienceqa/images/7/image.png")), None]);
    let opening = "Answer with the option's letter from the given choices directly.";
    for (example, question) in found
        .iter()
        .zip(["Which is hotter?\nContext: Compare them.", "Which is a gas?\nContext: N/A"])
    {
        let expected = [
            (format!("{opening} {question}\nOptions:\nA. ice\nB. steam\n"), "B".to_owned()),
            (format!("{opening} {question}\nOptions:\nA. steam\nB. ice\n"), "A".to_owned()),
        ];
        assert_eq!(renderings(example), expected);
    }
}

#[test]
fn refcoco_asks_for_what_is_in_a_box() {
    let image = "coco/train2014/COCO_train2014_000000581857.jpg";
    let ask = "Provide a short description for this region. <bbox>";
    for (name, captions) in [
        ("refcoco", ["the lady with the blue shirt", "left man"]),
        ("refcoco+", ["lady in blue", "man in hat"]),
        ("refcocog", ["a woman who wears a blue shirt", "the man beside her"]),
    ] {
        let file = "COCO_train2014_000000581857.jpg";
        check(
            name,
            &[
                [
                    &format!("{file}/0"),
                    image,
                    &format!("{ask}[0.250, 0.250][0.750, 0.750]</bbox>"),
                    captions[0],
                ],
                [
                    &format!("{file}/1"),
                    image,
                    &format!("{ask}[0.033, 0.067][0.172, 0.167]</bbox>"),
                    captions[1],
                ],
            ],
        );
    }
}

#[test]
fn visual_genome_finds_the_sizes_of_its_pictures() {
    let ask = "Provide a short description for this region. <bbox>";
    check(
        "vg",
        &[
            [
                "1.jpg/0",
                "vg/images/1.jpg",
                &format!("{ask}[0.100, 0.100][0.600, 0.600]</bbox>"),
                "the clock is green in colour",
            ],
            [
                "1.jpg/1",
                "vg/images/1.jpg",
                &format!("{ask}[0.000, 0.000][1.000, 1.000]</bbox>"),
                "a street",
            ],
            [
                "2.jpg/2",
                "vg/images/2.jpg",
                &format!("{ask}[0.500, 0.200][0.750, 0.500]</bbox>"),
                "a shade of a car",
            ],
        ],
    );
}

#[test]
fn llava_makes_an_example_of_every_answer_and_leaves_the_mark_of_the_picture_out() {
    check(
        "llava150k",
        &[
            [
                "000000033471/0",
                "coco/train2017/000000033471.jpg",
                "What are the colors of the bus in the image?",
                "The bus in the image is white and red.",
            ],
            [
                "000000033471/2",
                "coco/train2017/000000033471.jpg",
                "What feature can be seen on the back?",
                "The back of the bus features an advertisement.",
            ],
            [
                "000000299207/0",
                "coco/train2017/000000299207.jpg",
                "Write a detailed description of the given image.",
                "A man stands beside two bags.",
            ],
        ],
    );
}

#[test]
fn a_box_is_said_for_the_view_of_its_picture() {
    let picture = prompt::RgbImage::new(40, 30, vec![0; 40 * 30 * 3]).unwrap();
    let corners = [0.1, 0.2, 0.4, 0.6];
    let augment = Augment { flip: 1.0, ..Augment::default() };
    let view = augment.choose(&picture, &[corners], &mut SampleRng::new(0, 0));
    let content = Content::Region { corners, phrase: "a hat".to_owned() };
    let (input, target) = content.render(true, Some(&view), &mut SampleRng::new(0, 0)).unwrap();
    assert!(input.ends_with("region. <bbox>[0.600, 0.200][0.900, 0.600]</bbox>"), "{input}");
    assert_eq!(target, "a hat");
}
