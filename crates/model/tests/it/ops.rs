//! Every fused operation equals its plain composition.

use kernels::Level;
use model::ops::{self, Heads, plain};
use model::{DType, Device, Tensor};
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role};

use crate::synthetic::{Noise, assert_close, values};

const TOLERANCE: f32 = 2e-6;

/// Widths around those of vector registers, and one.
const WIDTHS: [usize; 8] = [1, 3, 7, 8, 17, 31, 64, 130];

#[track_caller]
fn assert_equal(name: &str, fused: &Tensor, plain: &Tensor) {
    assert_eq!((fused.dims(), fused.dtype()), (plain.dims(), plain.dtype()), "{name}");
    assert_close(name, fused, &values(plain), TOLERANCE);
}

#[test]
fn layer_norm_is_its_composition() {
    let mut noise = Noise::new(31);
    for width in WIDTHS.into_iter().filter(|width| *width > 1) {
        let x = noise.tensor(&[2, 3, width]);
        let (weight, bias) = (noise.tensor(&[width]), noise.tensor(&[width]));
        let fused = ops::layer_norm(&x, &weight, &bias, 1e-5).unwrap();
        assert_equal("layer norm", &fused, &plain::layer_norm(&x, &weight, &bias, 1e-5).unwrap());
    }
}

#[test]
fn rms_norm_is_its_composition() {
    let mut noise = Noise::new(32);
    for width in WIDTHS {
        let (x, weight) = (noise.tensor(&[5, width]), noise.tensor(&[width]));
        let fused = ops::rms_norm(&x, &weight, 1e-6).unwrap();
        assert_equal("rms norm", &fused, &plain::rms_norm(&x, &weight, 1e-6).unwrap());
    }
}

#[test]
fn activations_are_their_compositions() {
    let mut noise = Noise::new(33);
    for width in WIDTHS {
        let x = (noise.tensor(&[3, 2 * width]) * 6.0).unwrap();
        assert_equal("tanh", &ops::gelu_tanh(&x).unwrap(), &plain::gelu_tanh(&x).unwrap());
        assert_equal("erf", &ops::gelu_erf(&x).unwrap(), &plain::gelu_erf(&x).unwrap());
        assert_equal("gate", &ops::silu_gate(&x).unwrap(), &plain::silu_gate(&x).unwrap());
    }
}

#[test]
fn rope_is_its_composition() {
    let mut noise = Noise::new(34);
    for (rows, heads, half) in [(1, 1, 1), (3, 2, 5), (4, 3, 8), (2, 1, 48), (7, 5, 3)] {
        let x = noise.tensor(&[rows, heads * 2 * half]);
        let (cos, sin) = (noise.tensor(&[rows, half]), noise.tensor(&[rows, half]));
        let fused = ops::rope(&x, &cos, &sin).unwrap();
        assert_equal("rope", &fused, &plain::rope(&x, &cos, &sin).unwrap());
    }
}

fn plans() -> Vec<AttentionPlan> {
    let layout = Layout::new()
        .padding(2)
        .text(Role::System, 3)
        .image(9)
        .text(Role::User, 4)
        .reply_mark()
        .text(Role::Assistant, 2)
        .padding(3);
    let mut plans: Vec<_> =
        AttentionPolicy::ALL.iter().map(|policy| policy.plan(&layout)).collect();
    plans.extend([AttentionPlan::causal(1), AttentionPlan::full(3, 70), AttentionPlan::causal(37)]);
    plans.push(AttentionPolicy::ModalityMutual.plan_rows(&layout, 18..19));
    plans
}

#[test]
fn attention_is_its_composition_under_every_policy() {
    let mut noise = Noise::new(35);
    for (query, key_value, dim) in [(1, 1, 2), (4, 2, 16), (3, 3, 10), (6, 2, 7), (2, 1, 96)] {
        for plan in plans() {
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                let heads = Heads { query, key_value, dim };
                let q = noise.tensor(&[plan.num_rows(), query * dim]);
                // A cache has room for more keys than there are.
                let columns = plan.num_columns() + 3;
                let mut stored =
                    || noise.tensor(&[columns, key_value * dim]).to_dtype(dtype).unwrap();
                let (k, v) = (stored(), stored());
                let fused = ops::attention(&q, &k, &v, &plan, heads).unwrap();
                let plain = plain::attention(&q, &k, &v, &plan, heads).unwrap();
                let what = format!("{heads:?} {dtype:?}\n{plan}");
                // There queries and weights are rounded to bf16 as well.
                let is_rounded = dtype == DType::BF16 && Level::current().has_blocks_of_bf16();
                let tolerance = if is_rounded { 2e-2 } else { TOLERANCE };
                assert_close(&what, &fused, &values(&plain), tolerance);
            }
        }
    }
}

#[test]
fn a_row_that_sees_nothing_becomes_zero() {
    let layout = Layout::new().padding(2).text(Role::User, 1);
    let plan = AttentionPolicy::Causal.plan(&layout);
    assert!(plan.visible(0).is_empty() && plan.visible(1).is_empty());
    let mut noise = Noise::new(36);
    let heads = Heads { query: 2, key_value: 1, dim: 4 };
    let (q, k, v) = (noise.tensor(&[3, 8]), noise.tensor(&[3, 4]), noise.tensor(&[3, 4]));
    for attention in [ops::attention, plain::attention] {
        let rows = attention(&q, &k, &v, &plan, heads).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows[..2], [[0.0; 8], [0.0; 8]]);
        let v = v.to_vec2::<f32>().unwrap();
        assert_eq!(rows[2], [v[2].clone(), v[2].clone()].concat(), "the one visible key");
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let plan = AttentionPlan::causal(5);
    let mut noise = Noise::new(37);
    let heads = Heads { query: 1, key_value: 1, dim: 8 };
    let mut large = || (noise.tensor(&[5, 8]) * 1e4).unwrap();
    let (q, k, v) = (large(), large(), large());
    let fused = ops::attention(&q, &k, &v, &plan, heads).unwrap();
    assert!(values(&fused).iter().all(|value| value.is_finite()));
    assert_equal("large", &fused, &plain::attention(&q, &k, &v, &plan, heads).unwrap());
}

#[test]
fn what_is_not_contiguous_is_computed_as_what_is() {
    let mut noise = Noise::new(38);
    let (x, weight) = (noise.tensor(&[6, 4]).t().unwrap(), noise.tensor(&[6]));
    let fused = ops::rms_norm(&x, &weight, 1e-6).unwrap();
    let expected = ops::rms_norm(&x.contiguous().unwrap(), &weight, 1e-6).unwrap();
    crate::synthetic::assert_same(&fused, &expected);
    let offset = noise.tensor(&[5, 6]).narrow(0, 2, 3).unwrap();
    let copied = Tensor::from_vec(values(&offset), (3, 6), &Device::Cpu).unwrap();
    let fused = ops::rms_norm(&offset, &weight, 1e-6).unwrap();
    crate::synthetic::assert_same(&fused, &ops::rms_norm(&copied, &weight, 1e-6).unwrap());
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let mut noise = Noise::new(39);
    let x = noise.tensor(&[3, 8]);
    let odd = noise.tensor(&[7]);
    assert!(ops::rms_norm(&x, &odd, 1e-6).is_err());
    assert!(ops::layer_norm(&x, &odd, &odd, 1e-6).is_err());
    assert!(ops::silu_gate(&noise.tensor(&[2, 5])).is_err());
    let angles = noise.tensor(&[2, 4]);
    assert!(ops::rope(&x, &angles, &angles).is_err(), "angles of two rows for three");
    let heads = Heads { query: 1, key_value: 1, dim: 8 };
    let plan = AttentionPlan::causal(4);
    assert!(ops::attention(&x, &x, &x, &plan, heads).is_err(), "three rows under a plan of four");
    let q = noise.tensor(&[4, 8]);
    assert!(ops::attention(&q, &x, &x, &plan, heads).is_err(), "three keys under a plan of four");
}
