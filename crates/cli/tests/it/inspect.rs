//! Checkpoints and prompts are shown as they are.

use crate::program::{aki, goldens};

#[test]
fn a_checkpoint_is_summed_up_by_part() {
    let text = aki(["inspect"]).success();
    for part in ["vision_encoder", "vision_tokenizer", "lang_model", "all"] {
        assert!(text.contains(&format!("\n{part} ")), "{part} in {text}");
    }
    assert!(!text.contains("missing") && !text.contains("misshaped"), "{text}");
    let json = aki(["inspect", "--json"]).json();
    let parts = json["parts"].as_array().expect("parts");
    let sum: u64 = parts.iter().filter_map(|part| part["parameters"].as_u64()).sum();
    assert_eq!(json["parameters"].as_u64(), Some(sum));
}

#[test]
fn a_prompt_s_layout_is_a_table() {
    let image = goldens("images/cat.jpg");
    let text = aki(["inspect", "--image", &image, "Why?", "--reply", "Because."]).success();
    for block in ["system", "image", "question", "<|assistant|>", "reply"] {
        assert!(text.contains(&format!("\n{block} ")), "{block} in {text}");
    }
    let is_drawn = |line: &&str| !line.is_empty() && line.chars().all(|c| c == '#' || c == '.');
    let mask: Vec<&str> = text.lines().filter(is_drawn).collect();
    assert_eq!(mask.len(), mask[0].len(), "the mask is drawn, and square");
}

#[test]
fn the_json_s_ranges_are_those_of_the_mask() {
    let image = goldens("images/cat.jpg");
    let args = ["inspect", "--image", &image, "Why?", "--compare", "--json"];
    let json = aki(args).json();
    let len = json["positions"].as_u64().expect("positions");
    let policies = json["policies"].as_array().expect("policies");
    assert_eq!(policies.len(), 5);
    for policy in policies {
        let rows = policy["visible"].as_array().expect("rows");
        assert_eq!(rows.len() as u64, len);
        let read: u64 = rows
            .iter()
            .flat_map(|row| row.as_array().expect("ranges"))
            .map(|range| range[1].as_u64().expect("end") - range[0].as_u64().expect("start"))
            .sum();
        assert_eq!(policy["read"].as_u64(), Some(read));
        let opened = policy["opened"].as_u64().expect("opened");
        assert_eq!(opened == 0, policy["name"] == "causal", "{}", policy["name"]);
    }
}

#[test]
fn the_figure_is_a_png_that_grows_with_the_policies() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = goldens("images/cat.jpg");
    let size = |extra: &[&str]| {
        let path = dir.path().join("mask.png").display().to_string();
        let args = ["inspect", "--image", &image, "Why?", "--mask", &path];
        aki(args.iter().chain(extra)).success();
        let file = std::io::BufReader::new(std::fs::File::open(path).expect("written"));
        let info = png::Decoder::new(file).read_info().expect("a PNG").info().clone();
        (info.width, info.height)
    };
    let (one, two) = (size(&[]), size(&["--attention", "causal,mutual"]));
    assert!(one.0 > 1000 && one.1 > 1000, "{one:?}");
    assert!(two.0 > one.0, "{two:?}");
    assert!(size(&["--compare"]).1 > two.1);
}

#[test]
fn a_mask_without_a_prompt_is_refused() {
    insta::assert_snapshot!(aki(["inspect", "--compare"]).failure(2), @r"
    error: there is no prompt whose mask could be shown
    hint: add a question, or --image FILE
    ");
}
