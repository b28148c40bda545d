//! Every kernel at every level of this processor against its formula in f64.

mod activation;
mod activation_grad;
mod attention;
mod attention_grad;
mod blocks;
mod cross_entropy;
mod linear;
mod linear_grad;
mod norm;
mod norm_grad;
mod optimizer;
mod quantized;
mod support;

use kernels::Level;

#[test]
fn the_fastest_level_is_available_and_none_is_plainer_for_nothing() {
    let (fastest, available) = (Level::fastest(), Level::available());
    assert!(available.contains(&fastest));
    // Only dot products of bf16 may be slower than what they replace.
    assert!(available.iter().all(|level| *level <= fastest || *level == Level::Avx512Bf16));
}

#[test]
fn no_test_file_is_forgotten() {
    let main = include_str!("main.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(module == "main" || main.contains(&format!("mod {module};")), "{name}");
    }
}
