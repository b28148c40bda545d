//! `aki miniature`: what it writes is what training reads.

use std::path::Path;

use prompt::{ChatTemplate, Preprocessor, Tokenizer};
use sequence::AttentionPolicy;
use train::data::{BoxHandling, SampleRng, SegmentOrder, SourceContext, open_source};
use train::recipe::{DataRecipe, Stage, StageKind};

use crate::program::aki;

/// Every instruction set: its files and the folder of its pictures.
const SETS: [(&str, &[&str], &str); 11] = [
    (
        "vqa",
        &[
            "vqa/v2_OpenEnded_mscoco_train2014_questions.json",
            "vqa/v2_mscoco_train2014_annotations.json",
        ],
        "coco/train2014",
    ),
    ("gqa", &["gqa/train_balanced_questions.json"], "gqa/images"),
    ("vsr", &["vsr/train-random.jsonl"], "coco"),
    ("ocrvqa", &["ocrvqa/dataset.json"], "ocrvqa/images"),
    ("aokvqa", &["aokvqa/aokvqa_v1p0_train.json"], "coco/train2017"),
    ("scienceqa", &["scienceqa/problems.json"], "scienceqa/images"),
    ("refcoco", &["refcoco/finetune_refcoco_train.json"], "coco/train2014"),
    ("refcoco+", &["refcoco/finetune_refcoco+_train.json"], "coco/train2014"),
    ("refcocog", &["refcoco/finetune_refcocog_train.json"], "coco/train2014"),
    ("vg", &["vg/region_descriptions.json", "vg/image_data.json"], "vg/images"),
    ("llava150k", &["llava/llava_instruct_150k.json"], "coco/train2017"),
];

fn stage(kind: StageKind) -> Stage {
    Stage {
        kind,
        attention: AttentionPolicy::Causal,
        order: SegmentOrder::ImageText,
        max_text_tokens: None,
        augment: false,
        augment_boxes: BoxHandling::Moved,
    }
}

/// Reads some samples of a set; all of them must be whole.
fn read(data: DataRecipe, kind: StageKind) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/base/model");
    let tokenizer = Tokenizer::open(model).expect("the goldens have a tokenizer");
    let preprocessor = Preprocessor { image_size: 6, mean: [0.5; 3], std: [0.5; 3] };
    let context = SourceContext::new(tokenizer, ChatTemplate::default(), preprocessor, 4, 1);
    let context = SourceContext { num_patches: 9, ..context };
    let name = data.name.clone();
    let mut source = open_source(&[data], &stage(kind), &context).expect("the set is there");
    for number in 0..24 {
        let task = source.next().expect("there are samples");
        let sample =
            task(&mut SampleRng::new(1, number)).unwrap_or_else(|bad| panic!("{name}: {bad:?}"));
        assert!(sample.num_labels() > 0, "{name}: {}", sample.key);
    }
}

#[test]
fn every_set_of_a_world_is_read_as_the_published_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let output = root.to_str().expect("a name");
    let args = ["--output", output, "--size", "tiny", "--image-size", "48", "--seed", "7"];
    let summary = aki([&["miniature", "--json"], &args[..]].concat()).json();
    assert_eq!(summary["pictures"], 648);
    assert!(summary["examples"].as_u64() > Some(500) && summary["tests"].as_u64() > Some(50));

    let at = |path: &str| root.join(path);
    for (name, files, images) in SETS {
        let (files, images) = (files.iter().map(|file| at(file)).collect(), Some(at(images)));
        let data = DataRecipe {
            name: name.to_owned(),
            weight: 1.0,
            shards: Vec::new(),
            files,
            images,
            turns: 1,
        };
        read(data, StageKind::Instructions);
    }
    for (name, folder) in [
        ("kale", "kale"),
        ("ocr", "ocr"),
        ("grounding", "grounding"),
        ("captions", "facts"),
        ("captions", "lessons"),
    ] {
        let shards = vec![format!("{output}/{folder}/{{00000..00001}}.tar")];
        let (files, images) = (Vec::new(), None);
        let data =
            DataRecipe { name: name.to_owned(), weight: 1.0, shards, files, images, turns: 1 };
        read(data, StageKind::Captions);
    }
    for folder in ["grounding", "regions"] {
        let shards = vec![format!("{output}/{folder}/{{00000..00001}}.tar")];
        let (name, files, images) = ("grounding".to_owned(), Vec::new(), None);
        read(DataRecipe { name, weight: 1.0, shards, files, images, turns: 1 }, StageKind::Regions);
    }
}

#[test]
fn a_folder_of_another_world_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("world.json"), "{}\n").expect("a file");
    let output = folder.path().to_str().expect("a name");
    let error = aki(["miniature", "--output", output, "--size", "tiny"]).failure(1);
    assert!(error.contains("holds another world") && error.contains("another folder"), "{error}");
}
