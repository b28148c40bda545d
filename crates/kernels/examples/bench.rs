//! Speeds of the kernels on the shapes of AKI-4B, at every level of this processor.
//!
//! `cargo run --release -p kernels --example bench [LEVEL [inference | blocks | decode | training]]` prints medians.
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::hint::black_box;
use std::time::Instant;

use half::bf16;
use kernels::{
    AdamW, AttentionForward, AttentionGrad, AttentionInput, AttentionOut, AttentionShape,
    BlockFormat, Blocks, KeyValues, Level, Matrix, Moments, NormGrad, Visible, set_level,
};

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
    println!("{} threads", kernels::parallel::num_threads());
    let big: Vec<u64> = vec![1; 1 << 27];
    let seconds = median(|| {
        let pieces = kernels::parallel::chunks(&big, 1 << 16);
        kernels::parallel::for_each(pieces, 1, |_, piece| {
            black_box(piece.iter().fold(0, |a, b| a ^ b));
        });
    });
    println!("read bandwidth {:.1} GB/s", (big.len() * 8) as f64 / seconds / 1e9);
    drop(big);
    let wanted = std::env::args().nth(1);
    let section = std::env::args().nth(2);
    let is_wanted = |name: &str| section.as_ref().is_none_or(|section| section == name);
    for level in Level::available() {
        if wanted.as_ref().is_some_and(|wanted| wanted != level.name()) {
            continue;
        }
        if set_level(level).is_err() {
            continue;
        }
        println!("{}", level.name());
        if is_wanted("training") {
            linear_grads();
            attention_grads();
            others_of_training();
        }
        if is_wanted("blocks") {
            blocks();
        }
        if is_wanted("decode") {
            decode_attention();
            decode_linears();
        }
        if !is_wanted("inference") {
            continue;
        }
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
        for rows in [1, 4, 8, 12, 16, 203, 729] {
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

/// The layers of the decoder in blocks of few bits.
fn blocks() {
    for (width, columns) in [(3072, 9216), (8192, 3072), (3072, 32064)] {
        for format in BlockFormat::ALL {
            let mut bytes = vec![0; format.num_bytes(width * columns)];
            kernels::quantize(format, &numbers(width * columns), &mut bytes);
            let weight = Matrix::Blocks(Blocks { format, bytes: &bytes });
            print!("  {format:?} {width:4} -> {columns:5}");
            for rows in [1, 4, 6, 8, 12, 16, 203] {
                let x = numbers(rows * width);
                let mut out = vec![0.0; rows * columns];
                let seconds = median(|| kernels::linear(&x, weight, None, width, &mut out));
                let (ops, read) = (2 * rows * width * columns, bytes.len());
                let (ops, read) = (ops as f64 / seconds / 1e9, read as f64 / seconds / 1e9);
                print!("  {rows:3}: {:7.2} ms {ops:5.0} GOP/s {read:5.1} GB/s", seconds * 1e3);
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

/// One token of a reply in each of many conversations, so that keys and values come from memory.
fn decode_attention() {
    let (caches, columns, heads, head_dim) = (256, 256, 32, 96);
    let len = columns * heads * head_dim;
    let all = vec![bf16::from_f32(0.1); caches * 2 * len];
    let q = vec![0.1_f32; heads * head_dim];
    let mut out = vec![0.0; q.len()];
    let all_columns = 0..columns as u32;
    let seconds = median(|| {
        for cache in all.chunks_exact(2 * len) {
            let (keys, values) = cache.split_at(len);
            let (keys, values) = (Matrix::Bf16(keys), Matrix::Bf16(values));
            let kv =
                KeyValues { keys, values, head_stride: head_dim, key_stride: heads * head_dim };
            let visible =
                Visible { ranges: std::slice::from_ref(&all_columns), row_starts: &[0, 1] };
            let shape = AttentionShape { heads, kv_heads: heads, head_dim, scale: 0.1 };
            kernels::attention(&q, kv, visible, shape, &mut out);
        }
    });
    let read = (2 * all.len()) as f64 / seconds / 1e9;
    println!("  attention of one token over {columns} in memory: {read:.1} GB/s");
}

/// The layers of some replies at once, so many that all of the weights come from memory.
fn decode_linears() {
    for (width, columns) in [(3072, 8192), (8192, 3072)] {
        let all: Vec<bf16> = (0..20 * width * columns)
            .map(|i| bf16::from_f32(((i * 37) % 101) as f32 / 101.0 - 0.5))
            .collect();
        print!("  bf16, 20 times {width} -> {columns}:");
        for rows in [1, 4, 5, 6, 7, 8, 10, 12, 16, 24] {
            let x = numbers(rows * width);
            let mut out = vec![0.0; rows * columns];
            let seconds = median(|| {
                for weight in all.chunks_exact(width * columns) {
                    kernels::linear(&x, Matrix::Bf16(weight), None, width, &mut out);
                }
            });
            print!("  {rows:2}: {:4.1} GB/s", (2 * all.len()) as f64 / seconds / 1e9);
        }
        println!();
    }
}

/// Numbers that are not all the same, so that nothing is denormal or constant.
fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37) % 101) as f32 / 101.0 - 0.5).collect()
}

/// The three products of a training step.
fn linear_grads() {
    for (rows, width, columns) in
        [(3072, 256, 768), (3072, 512, 2048), (3072, 512, 4096), (729, 3072, 3072)]
    {
        let (x, weight) = (numbers(rows * width), numbers(width * columns));
        let mut y = numbers(rows * columns);
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; weight.len()]);
        let report = |name, seconds: f64| {
            let flops = 2.0 * (rows * width * columns) as f64;
            print!("  {name} {:6.2} ms {:4.0} GFLOP/s", seconds * 1e3, flops / seconds / 1e9);
        };
        print!("  linear {rows} x {width:4} -> {columns:4}");
        let matrix = Matrix::F32(&weight);
        report("y", median(|| kernels::linear(&x, matrix, None, width, &mut y)));
        report("packed", median(|| kernels::linear_packed(&x, matrix, None, width, &mut y)));
        report(
            "dx",
            median(|| kernels::linear_grad_input(Matrix::F32(&y), matrix, width, &mut dx)),
        );
        report(
            "dw",
            median(|| {
                kernels::linear_grad_weight(
                    Matrix::F32(&y),
                    Matrix::F32(&x),
                    width,
                    &mut dw,
                    false,
                );
            }),
        );
        let short = |of: &[f32]| of.iter().map(|v| bf16::from_f32(*v)).collect::<Vec<_>>();
        let (x16, weight, dy) = (short(&x), short(&weight), short(&y));
        let (weight, dy) = (Matrix::Bf16(&weight), Matrix::Bf16(&dy));
        print!("  bf16:");
        report("packed", median(|| kernels::linear_packed(&x, weight, None, width, &mut y)));
        report("dx", median(|| kernels::linear_grad_input(dy, weight, width, &mut dx)));
        let x16 = Matrix::Bf16(&x16);
        report("dw", median(|| kernels::linear_grad_weight(dy, x16, width, &mut dw, false)));
        println!();
    }
}

fn attention_grads() {
    for (name, rows, heads, head_dim) in [("tiny", 400, 8, 64), ("prefill", 1024, 16, 96)] {
        let len = rows * heads * head_dim;
        let (q, k, v, dout) = (numbers(len), numbers(len), numbers(len), numbers(len));
        let ranges: Vec<_> = (1..=rows as u32).map(|end| 0..end).collect();
        let row_starts: Vec<u32> = (0..=rows as u32).collect();
        let (mut out, mut lse) = (vec![0.0; len], vec![0.0; rows * heads]);
        let mut grads = [vec![0.0; len], vec![0.0; len], vec![0.0; len]];
        let kv = KeyValues {
            keys: Matrix::F32(&k),
            values: Matrix::F32(&v),
            head_stride: head_dim,
            key_stride: heads * head_dim,
        };
        let visible = Visible { ranges: &ranges, row_starts: &row_starts };
        let shape = AttentionShape { heads, kv_heads: heads, head_dim, scale: 0.1 };
        let forward = median(|| {
            let result = AttentionOut { out: &mut out, lse: &mut lse };
            kernels::attention_with_lse(&q, kv, visible, shape, result);
        });
        let backward = median(|| {
            let [dq, dkeys, dvalues] = &mut grads;
            let input = AttentionInput { q: &q, kv, visible, shape };
            let forward = AttentionForward { out: &out, lse: &lse };
            kernels::attention_grad(input, forward, &dout, AttentionGrad { dq, dkeys, dvalues });
        });
        println!(
            "  causal attention {name} {rows}, {heads} x {head_dim}: {:.2} ms, backward {:.2} ms",
            forward * 1e3,
            backward * 1e3
        );
    }
}

fn others_of_training() {
    let (rows, width) = (3072, 512);
    let (x, dy, mut dx) = (numbers(rows * width), numbers(rows * width), numbers(rows * width));
    let (weight, mut dweight) = (numbers(width), numbers(width));
    let seconds = median(|| {
        let grad =
            NormGrad { dx: &mut dx, dweight: Some(&mut dweight), dbias: None, accumulate: false };
        kernels::rms_norm_grad(&x, &weight, 1e-6, &dy, grad);
    });
    println!("  rms_norm_grad {rows}x{width} {:.2} ms", seconds * 1e3);
    let (x, dy) = (numbers(rows * 4 * width), numbers(rows * 2 * width));
    let mut dx = vec![0.0; x.len()];
    let seconds = median(|| kernels::silu_gate_grad(&x, 2 * width, &dy, &mut dx));
    println!("  silu_gate_grad {rows}x{} {:.2} ms", 4 * width, seconds * 1e3);
    let seconds = median(|| kernels::gelu_tanh_grad(&dy, &dy, &mut dx[..dy.len()]));
    println!("  gelu_tanh_grad {rows}x{} {:.2} ms", 2 * width, seconds * 1e3);
    let seconds = median(|| kernels::gelu_erf_grad(&dy, &dy, &mut dx[..dy.len()]));
    println!("  gelu_erf_grad {rows}x{} {:.2} ms", 2 * width, seconds * 1e3);
    let mut logits = numbers(1024 * 8192);
    let targets: Vec<u32> = (0..1024).collect();
    let seconds = median(|| {
        black_box(kernels::cross_entropy_grad(&mut logits, &targets, 1.0));
    });
    println!("  cross_entropy_grad 1024x8192 {:.2} ms", seconds * 1e3);
    let mut state = [numbers(1 << 23), numbers(1 << 23), vec![0.5; 1 << 23], vec![0.5; 1 << 23]];
    let options = AdamW {
        lr: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        grad_scale: 1.0,
    };
    let seconds = median(|| {
        let [weight, grad, first, second] = &mut state;
        kernels::adamw(options, 10, weight, grad, Moments { first, second });
    });
    println!("  adamw 8388608 {:.2} ms", seconds * 1e3);
    let seconds = median(|| {
        black_box(kernels::sum_of_squares(&state[0]));
    });
    println!("  sum_of_squares 8388608 {:.2} ms", seconds * 1e3);
}
