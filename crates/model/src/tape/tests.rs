//! Every gradient equals that of the plain composition.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role};

use super::{Gradients, LinearWeights, Part, Parts, Tape};
use crate::Error;
use crate::ops::{Heads, plain};
use crate::parameter::Parameter;
use crate::training::StepOptions;
use crate::weights::{Storage, Weight};

const TOLERANCE: f32 = 5e-6;
/// Widths around those of vector registers, and one.
const WIDTHS: [usize; 7] = [1, 3, 8, 17, 31, 64, 130];

/// Numbers between -1 and 1, the same in every run.
struct Noise(u64);

impl Noise {
    fn vec(&mut self, len: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        Tensor::from_vec(self.vec(shape.iter().product()), shape, &Device::Cpu)
            .expect("the shape fits")
    }

    fn parameter(&mut self, name: &str, shape: &[usize]) -> Arc<Parameter> {
        let values = self.vec(shape.iter().product());
        Arc::new(Parameter::new(name.to_owned(), shape.to_vec(), values, &Device::Cpu))
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> Weight {
        Weight::Trained(self.parameter(name, shape))
    }
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().and_then(|x| x.to_vec1()).expect("the elements are f32")
}

/// The result, the gradients of the inputs, and those of the parameters by name.
type Outcome = (Tensor, Vec<Vec<f32>>, Vec<(String, Vec<f32>)>);

/// Computes with a tape, and its gradients from that of the result.
fn outcome(
    inputs: &[&Tensor],
    dout: &mut Noise,
    compute: impl FnOnce(&Tape) -> Result<Tensor, Error>,
) -> Outcome {
    let tape = Tape::on(StepOptions::default());
    for x in inputs {
        tape.watch(x);
    }
    let out = compute(&tape).expect("the shapes fit");
    let dout = dout.tensor(out.dims());
    let mut of_parameters = Vec::new();
    let mut sink = |name: &str, gradient: Vec<f32>| {
        of_parameters.push((name.to_owned(), gradient));
        Ok(())
    };
    let mut gradients = Gradients::new(&mut sink);
    gradients.expect(tape.parameters());
    let of_inputs = tape.unwind(&mut gradients, (&out, dout), inputs).expect("the shapes fit");
    let of_inputs =
        of_inputs.into_iter().map(|it| values(&it.expect("it has a gradient"))).collect();
    of_parameters.sort_by(|a, b| a.0.cmp(&b.0));
    (out, of_inputs, of_parameters)
}

#[track_caller]
fn assert_close(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0.1_f32, |largest, value| largest.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs() / largest;
        assert!(error < TOLERANCE, "{name}: {found}, expected {expected}");
    }
}

/// Asserts that an operation and its composition agree in everything.
#[track_caller]
fn assert_gradients(
    name: &str,
    inputs: &[&Tensor],
    weights: &[&Weight],
    fused: impl FnOnce(&Tape) -> Result<Tensor, Error>,
    composition: impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor> + 'static,
) {
    let fused = outcome(inputs, &mut Noise(9), fused);
    let plain = outcome(inputs, &mut Noise(9), |tape| tape.composed(inputs, weights, composition));
    assert_close(name, &values(&fused.0), &values(&plain.0));
    assert_eq!(fused.1.len(), plain.1.len(), "{name}");
    for (found, expected) in fused.1.iter().zip(&plain.1) {
        assert_close(name, found, expected);
    }
    assert_eq!(fused.2.len(), weights.len(), "{name}");
    for (found, expected) in fused.2.iter().zip(&plain.2) {
        assert_eq!(found.0, expected.0);
        assert_close(&format!("{name}, {}", found.0), &found.1, &expected.1);
    }
}

#[test]
fn linear_layers() {
    let mut noise = Noise(1);
    for rows in [1, 2, 7, 33] {
        for width in WIDTHS {
            let x = noise.tensor(&[rows, width]);
            let weight = noise.parameter("a", &[width + 5, width]);
            let bias = noise.weight("b", &[width + 5]);
            for bias in [None, Some(&bias)] {
                let storage = Storage::Trained(Arc::clone(&weight));
                let layer = LinearWeights { weight: &storage, bias, width, out_width: width + 5 };
                let trained = Weight::Trained(Arc::clone(&weight));
                let weights: Vec<_> = [&trained].into_iter().chain(bias).collect();
                assert_gradients(
                    "linear",
                    &[&x],
                    &weights,
                    |tape| tape.linear(&x, layer),
                    |x, w| plain::linear(&x[0], &w[0], w.get(1)),
                );
                assert_gradients(
                    "linear on a device",
                    &[&x],
                    &weights,
                    |tape| tape.dense_linear(&x, layer, &[rows, width + 5]),
                    |x, w| plain::linear(&x[0], &w[0], w.get(1)),
                );
            }
        }
    }
}

#[test]
fn norms() {
    let mut noise = Noise(2);
    for width in WIDTHS.into_iter().filter(|width| *width > 1) {
        let x = noise.tensor(&[3, 2, width]);
        let (weight, bias) = (noise.weight("a", &[width]), noise.weight("b", &[width]));
        assert_gradients(
            "layer norm",
            &[&x],
            &[&weight, &bias],
            |tape| tape.layer_norm(&x, [&weight, &bias], 1e-2),
            |x, w| plain::layer_norm(&x[0], &w[0], &w[1], 1e-2),
        );
        assert_gradients(
            "rms norm",
            &[&x],
            &[&weight],
            |tape| tape.rms_norm(&x, &weight, 1e-2),
            |x, w| plain::rms_norm(&x[0], &w[0], 1e-2),
        );
        assert_gradients(
            "layer norm on a device",
            &[&x],
            &[&weight, &bias],
            |tape| tape.dense_norm(&x, (&weight, Some(&bias)), 1e-2),
            |x, w| plain::layer_norm(&x[0], &w[0], &w[1], 1e-2),
        );
        assert_gradients(
            "rms norm on a device",
            &[&x],
            &[&weight],
            |tape| tape.dense_norm(&x, (&weight, None), 1e-2),
            |x, w| plain::rms_norm(&x[0], &w[0], 1e-2),
        );
    }
}

#[test]
fn activations() {
    let mut noise = Noise(3);
    for width in WIDTHS {
        let x = (noise.tensor(&[3, 2 * width]) * 4.0).expect("numbers can be multiplied");
        assert_gradients(
            "tanh",
            &[&x],
            &[],
            |tape| tape.gelu_tanh(&x),
            |x, _| plain::gelu_tanh(&x[0]),
        );
        assert_gradients(
            "gate",
            &[&x],
            &[],
            |tape| tape.silu_gate(&x),
            |x, _| plain::silu_gate(&x[0]),
        );
        assert_gradients(
            "tanh on a device",
            &[&x],
            &[],
            |tape| tape.dense_gelu_tanh(&x),
            |x, _| plain::gelu_tanh(&x[0]),
        );
        assert_gradients(
            "gate on a device",
            &[&x],
            &[],
            |tape| tape.dense_silu_gate(&x),
            |x, _| plain::silu_gate(&x[0]),
        );
        let [fused, dense] = [Tape::gelu_erf, Tape::dense_gelu_erf]
            .map(|gelu| outcome(&[&x], &mut Noise(9), |tape| gelu(tape, &x)));
        assert_close("erf on a device", &values(&dense.0), &values(&fused.0));
        assert_close("erf on a device", &dense.1[0], &fused.1[0]);
        // The framework's slope of the error function has few digits; the tanh form is another
        // function.
        let [found, rounded] = [0.0, 1e-3].map(|shift| {
            let x = (&x + shift).expect("numbers can be added");
            outcome(&[&x], &mut Noise(9), |tape| tape.gelu_erf(&x))
        });
        let slope = ((rounded.0 - found.0).expect("same shape") / 1e-3).expect("not zero");
        let dout = Noise(9).tensor(x.dims());
        let expected = values(&(slope * dout).expect("same shape"));
        for (found, expected) in found.1[0].iter().zip(expected) {
            assert!((found - expected).abs() < 5e-3, "erf: {found}, expected {expected}");
        }
    }
}

#[test]
fn rotations() {
    let mut noise = Noise(4);
    for (rows, heads, half) in [(1, 1, 1), (3, 2, 5), (4, 3, 8), (7, 5, 3)] {
        let x = noise.tensor(&[rows, heads * 2 * half]);
        let angles = (noise.tensor(&[rows, half]), noise.tensor(&[rows, half]));
        let (cos, sin) = angles.clone();
        assert_gradients(
            "rope",
            &[&x],
            &[],
            |tape| tape.rope(&x, &angles),
            move |x, _| plain::rope(&x[0], &cos, &sin),
        );
    }
}

/// The composition of attention, sequence by sequence.
fn one_by_one(
    plans: Vec<AttentionPlan>,
    heads: Heads,
) -> impl Fn(&[Tensor], &[Tensor]) -> candle_core::Result<Tensor> + Clone + 'static {
    move |x, _| {
        let (mut row, mut key) = (0, 0);
        let mut outs = Vec::new();
        for plan in &plans {
            let (rows, keys) = (plan.num_rows(), plan.num_columns());
            let q = x[0].narrow(0, row, rows)?;
            let (k, v) = (x[1].narrow(0, key, keys)?, x[2].narrow(0, key, keys)?);
            outs.push(plain::attention(&q, &k, &v, plan, heads)?);
            row += rows;
            key += keys;
        }
        Tensor::cat(&outs, 0)
    }
}

#[test]
fn sequences_of_one_plan_are_padded_to_nothing() {
    let mut noise = Noise(11);
    let heads = Heads { query: 4, key_value: 2, dim: 6 };
    let layout = Layout::new().image(4).text(Role::User, 3).reply_mark();
    for plan in [AttentionPlan::full(3, 7), AttentionPolicy::ModalityMutual.plan(&layout)] {
        let (rows, keys) = (plan.num_rows(), plan.num_columns());
        let parts = Parts::repeated(&Arc::new(plan.clone()), 5);
        let q = noise.tensor(&[5, rows, 24]);
        let (k, v) = (noise.tensor(&[5, keys, 12]), noise.tensor(&[5, keys, 12]));
        let expected = one_by_one(vec![plan; 5], heads);
        assert_gradients(
            "padded attention",
            &[&q, &k, &v],
            &[],
            |tape| tape.padded_attention([&q, &k, &v], &parts, heads),
            move |x, w| {
                let of = |x: &Tensor, width: usize| x.reshape(((), width));
                expected(&[of(&x[0], 24)?, of(&x[1], 12)?, of(&x[2], 12)?], w)?
                    .reshape((5, rows, 24))
            },
        );
    }
}

#[test]
fn attention_of_several_sequences_under_every_policy() {
    let layout = |image, question| {
        Layout::new()
            .padding(1)
            .text(Role::System, 3)
            .image(image)
            .text(Role::User, question)
            .reply_mark()
            .text(Role::Assistant, 2)
    };
    let mut noise = Noise(5);
    for (query, key_value, dim) in [(1, 1, 2), (4, 2, 16), (3, 3, 10), (6, 2, 7), (2, 1, 96)] {
        let heads = Heads { query, key_value, dim };
        for policy in AttentionPolicy::ALL {
            let mut plans = vec![policy.plan(&layout(9, 4)), policy.plan(&layout(4, 90))];
            plans.push(AttentionPlan::full(5, 8));
            let part = |plan: &AttentionPlan| Part {
                num_keys: plan.num_columns(),
                plan: Arc::new(plan.clone()),
            };
            let parts: Parts = plans.iter().map(part).collect();
            let rows: usize = plans.iter().map(AttentionPlan::num_rows).sum();
            let keys: usize = plans.iter().map(AttentionPlan::num_columns).sum();
            let q = noise.tensor(&[rows, query * dim]);
            let (k, v) =
                (noise.tensor(&[keys, key_value * dim]), noise.tensor(&[keys, key_value * dim]));
            let name = format!("{heads:?} {policy:?}");
            let expected = one_by_one(plans, heads);
            let compute = |tape: &Tape| tape.attention([&q, &k, &v], &parts, heads);
            assert_gradients(&name, &[&q, &k, &v], &[], compute, expected.clone());
            let compute = |tape: &Tape| tape.padded_attention([&q, &k, &v], &parts, heads);
            assert_gradients(&format!("{name}, padded"), &[&q, &k, &v], &[], compute, expected);
        }
    }
}

#[test]
fn what_moves_and_adds() {
    let mut noise = Noise(6);
    let (a, b) = (noise.tensor(&[2, 3, 5]), noise.tensor(&[2, 3, 5]));
    assert_gradients("add", &[&a, &b], &[], |tape| tape.add(&a, &b), |x, _| &x[0] + &x[1]);
    assert_gradients("add to itself", &[&a], &[], |tape| tape.add(&a, &a), |x, _| &x[0] + &x[0]);
    assert_gradients(
        "add scaled",
        &[&a, &b],
        &[],
        |tape| tape.add_scaled(&a, &b, 0.25),
        |x, _| &x[0] + (&x[1] * 0.25)?,
    );
    assert_gradients(
        "cat",
        &[&a, &b],
        &[],
        |tape| tape.cat(&[&a, &b], 1),
        |x, _| Tensor::cat(x, 1),
    );
    // The part in the middle is not used.
    assert_gradients(
        "split",
        &[&a],
        &[],
        |tape| {
            let [first, _, last] = tape.split(&a, [1, 3, 1])?;
            tape.add(&first, &last)
        },
        |x, _| x[0].narrow(2, 0, 1)? + x[0].narrow(2, 4, 1)?,
    );
    let weight = noise.weight("a", &[3, 5]);
    assert_gradients(
        "add to each",
        &[&a],
        &[&weight],
        |tape| tape.add_to_each(&a, &weight),
        |x, w| x[0].broadcast_add(&w[0]),
    );
    assert_gradients(
        "for each",
        &[],
        &[&weight],
        |tape| tape.for_each(&weight, 4),
        |_, w| w[0].unsqueeze(0)?.expand((4, 3, 5))?.contiguous(),
    );
    let rows = noise.tensor(&[6, 5]);
    assert_gradients(
        "select rows",
        &[&rows],
        &[],
        |tape| tape.select_rows(&rows, vec![4, 0, 3]),
        |x, _| x[0].index_select(&Tensor::new(&[4_u32, 0, 3], &Device::Cpu)?, 0),
    );
    assert_gradients(
        "select rows on a device",
        &[&rows],
        &[],
        |tape| tape.gather_rows(&rows, vec![4, 0, 3]),
        |x, _| x[0].index_select(&Tensor::new(&[4_u32, 0, 3], &Device::Cpu)?, 0),
    );
    assert_gradients(
        "reshape",
        &[&rows],
        &[],
        |tape| tape.reshape(&rows, &[5, 6]),
        |x, _| x[0].reshape((5, 6)),
    );
}

#[test]
fn a_tape_that_is_off_remembers_nothing() {
    let mut noise = Noise(7);
    let x = noise.tensor(&[2, 4]);
    let weight = noise.weight("a", &[4]);
    for tape in [Tape::off(), Tape::forward_only(StepOptions::default())] {
        tape.watch(&x);
        tape.rms_norm(&x, &weight, 1e-6).expect("the shapes fit");
        assert!(tape.parameters().is_empty());
    }
    let tape = Tape::on(StepOptions::default());
    let fixed = Weight::Fixed(Tensor::ones(4, DType::F32, &Device::Cpu).expect("memory"));
    let out = tape.rms_norm(&x, &fixed, 1e-6).expect("the shapes fit");
    assert!(!tape.tracks(&out), "nothing that it depends on is trained");
}
