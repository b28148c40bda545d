//! Speeds of the kernels on the shapes of AKI-4B, at every level of this processor.
//!
//! `cargo run --release -p kernels --example bench [LEVEL]` prints medians.
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::hint::black_box;
use std::time::Instant;

use half::bf16;
use kernels::{AttentionShape, KeyValues, Level, Matrix, Visible, set_level};
use rayon::prelude::*;

fn median(mut work: impl FnMut()) -> f64 {
    work();
    let mut seconds: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[3]
}

fn main() {
    println!("{} threads", rayon::current_num_threads());
    let big: Vec<u64> = vec![1; 1 << 27];
    let seconds = median(|| {
        black_box(big.par_chunks(1 << 16).map(|c| c.iter().fold(0, |a, b| a ^ b)).max());
    });
    println!("read bandwidth {:.1} GB/s", (big.len() * 8) as f64 / seconds / 1e9);
    drop(big);
    let wanted = std::env::args().nth(1);
    for level in Level::available() {
        if wanted.as_ref().is_some_and(|wanted| wanted != level.name()) {
            continue;
        }
        if set_level(level).is_err() {
            continue;
        }
        println!("{}", level.name());
        linears();
        attentions();
        let x = vec![0.5_f32; 729 * 4304];
        let mut out = vec![0.0; x.len()];
        let seconds = median(|| kernels::gelu_tanh(&x, &mut out));
        println!("  gelu_tanh 729x4304 {:.2} ms", seconds * 1e3);
        let (x, out) = (&x[..729 * 1152], &mut out[..729 * 1152]);
        let seconds = median(|| kernels::layer_norm(x, &x[..1152], &x[..1152], 1e-6, out));
        println!("  layer_norm 729x1152 {:.2} ms", seconds * 1e3);
    }
}

fn linears() {
    for (width, columns) in
        [(3072, 9216), (3072, 16384), (8192, 3072), (1152, 4304), (4304, 1152), (3072, 32064)]
    {
        let weight = vec![0.01_f32; width * columns];
        let short = vec![bf16::from_f32(0.01); width * columns];
        for rows in [1, 4, 203, 729] {
            let x = vec![0.5_f32; rows * width];
            let mut out = vec![0.0; rows * columns];
            let flops = 2.0 * (rows * width * columns) as f64;
            print!("  linear {rows:3} x {width:4} -> {columns:5}");
            for (name, matrix) in [("bf16", Matrix::Bf16(&short)), ("f32", Matrix::F32(&weight))] {
                let seconds = median(|| kernels::linear(&x, matrix, None, width, &mut out));
                let size = if name == "f32" { 4 } else { 2 };
                let bytes = (width * columns * size) as f64;
                let (gflops, gb) = (flops / seconds / 1e9, bytes / seconds / 1e9);
                print!("  {name} {:8.2} ms {gflops:6.0} GFLOP/s {gb:5.1} GB/s", seconds * 1e3);
            }
            println!();
        }
    }
}

fn attentions() {
    for (name, rows, columns, heads, head_dim) in [
        ("SigLIP", 729, 729, 16, 72),
        ("resampler", 144, 873, 8, 64),
        ("prefill", 203, 203, 32, 96),
        ("prefill", 2048, 2048, 32, 96),
        ("decode", 1, 2048, 32, 96),
    ] {
        let q = vec![0.1_f32; rows * heads * head_dim];
        let kv = vec![bf16::from_f32(0.1); columns * heads * head_dim];
        let ranges = vec![0..columns as u32; rows];
        let row_starts: Vec<u32> = (0..=rows as u32).collect();
        let mut out = vec![0.0; q.len()];
        let seconds = median(|| {
            let (keys, values) = (Matrix::Bf16(&kv), Matrix::Bf16(&kv));
            let (head_stride, key_stride) = (head_dim, heads * head_dim);
            let kv = KeyValues { keys, values, head_stride, key_stride };
            let visible = Visible { ranges: &ranges, row_starts: &row_starts };
            let shape = AttentionShape { heads, kv_heads: heads, head_dim, scale: 0.1 };
            kernels::attention(&q, kv, visible, shape, &mut out);
        });
        println!(
            "  attention {name} {rows} x {columns}, {heads} x {head_dim}: {:.2} ms",
            seconds * 1e3
        );
    }
}
