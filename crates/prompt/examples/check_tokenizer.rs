//! Compares a folder's tokenizer with the ids in its `expected.json`:
//! `cargo run -p prompt --example check_tokenizer -- DIR`.
#![allow(clippy::print_stdout, reason = "printing is what this program is for")]

use std::path::PathBuf;

use prompt::Tokenizer;
use serde::Deserialize;

#[derive(Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
    ids_with_bos: Vec<u32>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: check_tokenizer DIR")?);
    let tokenizer = Tokenizer::open(&dir)?;
    let samples: Vec<Sample> = serde_json::from_slice(&std::fs::read(dir.join("expected.json"))?)?;
    let mut num_wrong = 0;
    for sample in &samples {
        for (add_bos, expected) in [(false, &sample.ids), (true, &sample.ids_with_bos)] {
            let ids: Vec<u32> =
                tokenizer.encode(&sample.text, add_bos)?.into_iter().map(|id| id.0).collect();
            if ids != *expected {
                num_wrong += 1;
                println!("{:?}\n  expected {expected:?}\n  found    {ids:?}", sample.text);
            }
        }
    }
    println!("{} texts, {num_wrong} differences", samples.len());
    if num_wrong > 0 { Err("the tokenizers differ".into()) } else { Ok(()) }
}
