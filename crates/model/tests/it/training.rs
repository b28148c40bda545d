//! Gradients: against the goldens, and against each other.

use std::collections::BTreeMap;

use model::training::{
    Images, Loss, Precision, RegionLabels, RegionsOf, StepOptions, Trained, TrainingSequence,
};
use model::{Aki, AkiConfig, DType, Device, Error, LoadOptions, Lora, Parameters, Tensor};
use sequence::{AttentionPlan, AttentionPolicy, Layout, Role, TokenId};

use crate::loss::{Row, instruction_rows, pretraining_rows};
use crate::support::{self, SETS};
use crate::synthetic::{Noise, assert_close, checkpoint_of, random_tensors};

const TOLERANCE: f32 = 2e-5;

type Gradients = BTreeMap<String, Vec<f32>>;

fn without_encoder(name: &str) -> bool {
    !name.starts_with("vision_encoder.")
}

/// Loads a golden model of which some tensors are trained.
fn trainable(set: &str, is_trained: &dyn Fn(&str) -> bool) -> (Aki, Parameters) {
    let checkpoint = support::open(set, "model");
    let trained = Trained::of(is_trained);
    Aki::load_trainable(support::config(set), &checkpoint, LoadOptions::default(), &trained)
        .expect("the model is sound")
}

fn plans(rows: &[Row], policy: AttentionPolicy) -> Vec<AttentionPlan> {
    rows.iter().map(|row| policy.plan(&row.layout)).collect()
}

fn sequences<'a>(rows: &'a [Row], plans: &'a [AttentionPlan]) -> Vec<TrainingSequence<'a>> {
    let sequence = |(row, plan): (&'a Row, &'a AttentionPlan)| TrainingSequence {
        ids: &row.ids,
        layout: &row.layout,
        plan,
        labels: &row.labels,
    };
    rows.iter().zip(plans).map(sequence).collect()
}

fn gradients(aki: &Aki, rows: &[Row], pixels: &Tensor, options: StepOptions) -> (Loss, Gradients) {
    let plans = plans(rows, AttentionPolicy::ModalityMutual);
    let mut gradients = Gradients::new();
    let mut sink = |name: &str, gradient: Vec<f32>| {
        let earlier = gradients.insert(name.to_owned(), gradient);
        assert!(earlier.is_none(), "`{name}` comes twice");
        Ok(())
    };
    let batch = sequences(rows, &plans);
    let loss = aki
        .gradients(&batch, Images::Pixels(pixels), options, &mut sink)
        .expect("the batch is sound");
    let alone = aki.loss(&batch, Images::Pixels(pixels), options).expect("the batch is sound");
    assert_eq!(loss, alone, "the loss without gradients");
    (loss, gradients)
}

/// Returns the error relative to the largest expected value; none if both are zero.
fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    if found == expected { 0.0 } else { support::relative_error(found, expected) }
}

fn norm(gradients: &Gradients) -> f32 {
    let squares = gradients.values().flatten().map(|value| f64::from(*value).powi(2));
    squares.sum::<f64>().sqrt() as f32
}

#[test]
fn every_gradient_of_an_instruction_batch_is_the_reference_one() {
    for set in SETS {
        let golden = support::open(set, "train_batch.safetensors");
        let (aki, parameters) = trainable(set, &without_encoder);
        let rows = instruction_rows(&golden);
        let (loss, found) =
            gradients(&aki, &rows, &support::pixels(&golden), StepOptions::default());
        let error = relative_error(&[loss.mean], &support::f32s(&golden, "loss"));
        assert!(error < TOLERANCE, "{set}: the loss is {error:e} off");
        assert_eq!(found.len(), parameters.len(), "{set}: every parameter has a gradient");
        let mut num_compared = 0;
        for name in golden.names().filter_map(|name| name.strip_prefix("grad.")) {
            let expected = support::f32s(&golden, &format!("grad.{name}"));
            let error = relative_error(&found[name], &expected);
            assert!(error < TOLERANCE, "{set}: the gradient of `{name}` is {error:e} off");
            num_compared += 1;
        }
        assert!(num_compared > 30, "{num_compared}");
        let error = relative_error(&[norm(&found)], &support::f32s(&golden, "grad_norm"));
        assert!(error < TOLERANCE, "{set}: the norm is {error:e} off");
    }
}

#[test]
fn the_pretraining_loss_is_the_reference_one() {
    for set in SETS {
        let golden = support::open(set, "train_batch.safetensors");
        let (aki, _) = trainable(set, &without_encoder);
        let (loss, _) = gradients(
            &aki,
            &pretraining_rows(&golden),
            &support::pixels(&golden),
            StepOptions::default(),
        );
        let error = relative_error(&[loss.mean], &support::f32s(&golden, "pretrain.loss"));
        assert!(error < TOLERANCE, "{set}: {error:e}");
    }
}

#[test]
fn computing_blocks_again_changes_no_bit() {
    let golden = support::open("gqa", "train_batch.safetensors");
    let (aki, _) = trainable("gqa", &|_| true);
    let rows = instruction_rows(&golden);
    for precision in [Precision::F32, Precision::Bf16] {
        let [kept, again] = [false, true].map(|recompute| {
            let options = StepOptions { recompute, precision };
            gradients(&aki, &rows, &support::pixels(&golden), options)
        });
        assert_eq!(kept, again);
    }
}

#[test]
fn what_is_frozen_gets_no_gradient_and_changes_none() {
    let golden = support::open("base", "train_batch.safetensors");
    let rows = instruction_rows(&golden);
    let all = gradients(
        &trainable("base", &|_| true).0,
        &rows,
        &support::pixels(&golden),
        StepOptions::default(),
    );
    let frozen: [&dyn Fn(&str) -> bool; 4] = [
        &without_encoder,
        &|name| name.starts_with("vision_tokenizer."),
        &|name| name.starts_with("vision_encoder."),
        &|name| name.ends_with("layers.1.mlp.down_proj.weight"),
    ];
    for (index, is_trained) in frozen.into_iter().enumerate() {
        let (aki, parameters) = trainable("base", is_trained);
        let (loss, found) =
            gradients(&aki, &rows, &support::pixels(&golden), StepOptions::default());
        assert_eq!(found.len(), parameters.len());
        assert!(found.keys().all(|name| is_trained(name)), "{index}");
        // Frozen weights take another kernel, which sums in another order.
        assert!((loss.mean - all.0.mean).abs() < 1e-5);
        for (name, gradient) in found {
            let error = relative_error(&gradient, &all.1[&name]);
            assert!(error < 2e-5, "{index}: `{name}` is {error:e} off");
        }
    }
}

#[test]
fn a_batch_of_mixed_layouts_has_the_gradients_of_its_samples() {
    let (aki, _) = trainable("base", &without_encoder);
    let mut noise = Noise::new(77);
    let layouts = [
        Layout::new().text(Role::System, 2).image(8).text(Role::User, 5).reply_mark(),
        Layout::new().text(Role::User, 9),
        Layout::new().text(Role::User, 3).image(8).text(Role::User, 1).image(8).reply_mark(),
        Layout::new().padding(3).image(8).text(Role::Assistant, 4),
    ];
    let mut images = Vec::new();
    let rows: Vec<Row> = layouts
        .into_iter()
        .map(|layout| {
            images.push(layout.num_images());
            let mut id = || noise.below(480) as u32;
            let ids = (0..layout.num_ids()).map(|_| TokenId(id())).collect();
            let labels = (0..layout.len()).map(|at| (at % 3 > 0).then(&mut id)).collect();
            Row { ids, layout, labels }
        })
        .collect();
    let total: usize = images.iter().sum();
    let pixels = noise.tensor(&[total, 3, 56, 56]);
    let (together, found) = gradients(&aki, &rows, &pixels, StepOptions::default());
    let mut sum = 0.0;
    let mut expected = Gradients::new();
    let mut start = 0;
    for (row, images) in rows.iter().zip(images) {
        let pixels = pixels.narrow(0, start, images).unwrap();
        start += images;
        let row = std::slice::from_ref(row);
        let (loss, gradients) = gradients(&aki, row, &pixels, StepOptions::default());
        let share = loss.num_labels as f32 / together.num_labels as f32;
        sum += loss.mean * share;
        for (name, gradient) in gradients {
            let sum = expected.entry(name).or_insert_with(|| vec![0.0; gradient.len()]);
            sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += share * value);
        }
    }
    assert!((together.mean - sum).abs() < 1e-5, "{} and {sum}", together.mean);
    assert_eq!(found.len(), expected.len());
    for (name, gradient) in found {
        let error = relative_error(&gradient, &expected[&name]);
        assert!(error < TOLERANCE, "`{name}` is {error:e} off");
    }
}

#[test]
fn rounded_operands_stay_close() {
    let golden = support::open("base", "train_batch.safetensors");
    let (aki, _) = trainable("base", &without_encoder);
    let rows = instruction_rows(&golden);
    let [full, rounded] = [Precision::F32, Precision::Bf16].map(|precision| {
        let options = StepOptions { precision, ..StepOptions::default() };
        gradients(&aki, &rows, &support::pixels(&golden), options)
    });
    assert_ne!(full.0.mean.to_bits(), rounded.0.mean.to_bits());
    // A product of two numbers of 8 bits each is off by a part in 2^8 at most.
    assert!((full.0.mean - rounded.0.mean).abs() < full.0.mean / 256.0);
    for (name, gradient) in rounded.1 {
        let error = relative_error(&gradient, &full.1[&name]);
        assert!(error < 0.05, "`{name}` is {error:e} off");
    }
}

#[test]
fn what_is_frozen_rounds_as_what_is_trained() {
    let golden = support::open("base", "train_batch.safetensors");
    let rows = instruction_rows(&golden);
    let options = StepOptions { precision: Precision::Bf16, ..StepOptions::default() };
    let [all, frozen] = [true, false].map(|encoder| {
        let (aki, _) = trainable("base", &|name| encoder || without_encoder(name));
        gradients(&aki, &rows, &support::pixels(&golden), options)
    });
    assert!((all.0.mean - frozen.0.mean).abs() < 1e-6, "{} and {}", all.0.mean, frozen.0.mean);
    for (name, gradient) in frozen.1 {
        let error = relative_error(&gradient, &all.1[&name]);
        assert!(error < 1e-5, "`{name}` is {error:e} off");
    }
}

#[test]
fn adapters_start_without_effect_and_alone_are_trained() {
    let golden = support::open("base", "train_batch.safetensors");
    let rows = instruction_rows(&golden);
    let pixels = support::pixels(&golden);
    let lora = Lora {
        rank: 3,
        alpha: 6.0,
        seed: 1,
        is_target: &|name| name.ends_with("qkv_proj") || name.ends_with("down_proj"),
    };
    let trained = Trained { is_trained: &|_| false, lora: Some(lora) };
    let (aki, parameters) = Aki::load_trainable(
        support::config("base"),
        &support::open("base", "model"),
        LoadOptions::default(),
        &trained,
    )
    .unwrap();
    let (loss, found) = gradients(&aki, &rows, &pixels, StepOptions::default());
    let error = relative_error(&[loss.mean], &support::f32s(&golden, "loss"));
    assert!(error < TOLERANCE, "{error:e}");
    let names: Vec<_> = parameters.iter().map(|it| it.name().to_owned()).collect();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), names);
    let layers = support::config("base").text.num_hidden_layers;
    assert_eq!(names.len(), 4 * layers);
    for (name, gradient) in &found {
        let is_zero = gradient.iter().all(|value| *value == 0.0);
        // What is behind b does not change while b is zero.
        assert_eq!(is_zero, name.ends_with("lora_A.weight"), "{name}");
    }
    for parameter in parameters.iter() {
        let is_zero = parameter.values().iter().all(|value| *value == 0.0);
        assert_eq!(is_zero, parameter.name().ends_with("lora_B.weight"));
    }
    // With b set, the model is the one whose weights have had the adapter added.
    let mut noise = Noise::new(5);
    for parameter in parameters.iter().filter(|it| it.name().ends_with("lora_B.weight")) {
        let values = noise.vec(parameter.num_elements());
        parameter.change(&mut |to| to.iter_mut().zip(&values).for_each(|(to, v)| *to = v * 0.1));
    }
    let adapted = gradients(&aki, &rows, &pixels, StepOptions::default()).0.mean;
    let merged = support::load_changed(|tensors| {
        for parameter in parameters.iter().filter(|it| it.name().ends_with("lora_A.weight")) {
            let layer = parameter.name().trim_end_matches(".lora_A.weight");
            let b = parameters.get(&format!("{layer}.lora_B.weight")).expect("they are pairs");
            let weight = tensors.get_mut(&format!("{layer}.weight")).expect("it has an adapter");
            let (out_width, width) = (weight.shape[0], weight.shape[1]);
            let mut values = weight.to_f32_vec().expect("the elements are floats");
            let (a, b) = (parameter.values(), b.values());
            for row in 0..out_width {
                for column in 0..width {
                    let product: f32 = (0..3).map(|i| b[row * 3 + i] * a[i * width + column]).sum();
                    values[row * width + column] += 2.0 * product;
                }
            }
            *weight = crate::synthetic::f32_tensor(&[out_width, width], values);
        }
    })
    .unwrap();
    let plans = plans(&rows, AttentionPolicy::ModalityMutual);
    let batch = sequences(&rows, &plans);
    let merged = merged.loss(&batch, Images::Pixels(&pixels), StepOptions::default()).unwrap();
    assert!((adapted - loss.mean).abs() > 1e-3, "the adapters do something");
    assert!((adapted - merged.mean).abs() < 1e-5, "{adapted} and {}", merged.mean);
}

/// The slope of the loss along each gradient is its length.
fn assert_slope(what: &str, parameters: &Parameters, found: &Gradients, loss: &dyn Fn() -> f32) {
    // What the sums of a loss near 6 lose in f32.
    const NOISE: f64 = 4e-6;
    for parameter in parameters.iter() {
        let gradient = &found[parameter.name()];
        let length = |values: &[f32]| {
            values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
        };
        let (expected, size) = (length(gradient), length(&parameter.values()));
        if expected == 0.0 {
            continue;
        }
        let step = (0.005 * size).min(5e-3 / expected);
        let loss_at = |times: f64| {
            let original = parameter.values().clone();
            parameter.change(&mut |values| {
                for (value, gradient) in values.iter_mut().zip(gradient) {
                    *value += (times * step / expected * f64::from(*gradient)) as f32;
                }
            });
            let loss = loss();
            parameter.change(&mut |values| values.copy_from_slice(&original));
            f64::from(loss)
        };
        let slope = (loss_at(1.0) - loss_at(-1.0)) / (2.0 * step);
        let (error, allowed) = ((slope - expected).abs(), 0.02 * expected + NOISE / step);
        assert!(error < allowed, "{what}: `{}`: {slope}, {expected}", parameter.name());
    }
}

#[test]
fn gradients_of_every_family_and_connector_are_slopes_of_the_loss() {
    let mut json: serde_json::Value =
        serde_json::from_str(&support::config_json("gqa")).expect("the golden is JSON");
    let golden = support::open("gqa", "train_batch.safetensors");
    let rows: Vec<Row> = instruction_rows(&golden).into_iter().take(1).collect();
    let pixels = support::pixels(&golden).narrow(0, 0, 1).unwrap();
    for (family, connector, tied) in
        [("phi3", "perceiver", false), ("llama", "mlp", true), ("qwen2", "perceiver", true)]
    {
        json["text_config"]["model_type"] = family.into();
        json["text_config"]["tie_word_embeddings"] = tied.into();
        json["text_config"]["rope_scaling"] = serde_json::Value::Null;
        let mut rows = rows.clone();
        if connector == "mlp" {
            json["connector"] = serde_json::json!({"type": "mlp"});
            json["num_vision_tokens"] = 16.into();
            rows[0].layout = Layout::new().text(Role::User, 2).image(16).text(Role::User, 3);
            rows[0].ids = [3, 4, 501, 5, 6, 7].map(TokenId).to_vec();
            rows[0].labels = (0..21).map(|at| (at > 16).then_some(at)).collect();
        } else {
            json.as_object_mut().expect("an object").remove("connector");
            json["num_vision_tokens"] = 8.into();
        }
        let config = AkiConfig::from_json(&json.to_string()).expect("the configuration is sound");
        let checkpoint = checkpoint_of(&random_tensors(&config, 3));
        let trained = Trained::of(&|_| true);
        let (aki, parameters) =
            Aki::load_trainable(config, &checkpoint, LoadOptions::default(), &trained).unwrap();
        let plans = plans(&rows, AttentionPolicy::ModalityMutual);
        let batch = sequences(&rows, &plans);
        let (images, options) = (Images::Pixels(&pixels), StepOptions::default());
        let (_, found) = gradients(&aki, &rows, &pixels, options);
        assert_eq!(found.len(), parameters.len(), "{family}");
        let loss = || aki.loss(&batch, images, options).unwrap().mean;
        assert_slope(family, &parameters, &found, &loss);
    }
}

#[test]
fn gradients_of_naming_regions_are_slopes_of_the_loss_and_reach_no_layer_of_the_decoder() {
    for (connector, of) in [
        ("perceiver", RegionsOf::Patches),
        ("mlp", RegionsOf::Patches),
        ("perceiver", RegionsOf::VisionTokens),
    ] {
        // Patches go past the layers of the connector.
        let is_passed = |name: &str| {
            let is_of_connector =
                name.contains("vision_tokenizer.layers") || name.ends_with("latents");
            let is_reached = of == RegionsOf::VisionTokens || !is_of_connector;
            is_reached && !name.contains("model.layers.") && !name.contains("embed_tokens")
        };
        let mut json: serde_json::Value =
            serde_json::from_str(&support::config_json("gqa")).expect("the golden is JSON");
        if connector == "mlp" {
            json["connector"] = serde_json::json!({"type": "mlp"});
            json["num_vision_tokens"] = 16.into();
        }
        let config = AkiConfig::from_json(&json.to_string()).expect("the configuration is sound");
        let num = if of == RegionsOf::Patches { 16 } else { config.num_vision_tokens };
        let checkpoint = checkpoint_of(&random_tensors(&config, 3));
        let trained = Trained::of(&is_passed);
        let (aki, parameters) =
            Aki::load_trainable(config, &checkpoint, LoadOptions::default(), &trained).unwrap();
        let golden = support::open("gqa", "train_batch.safetensors");
        let pixels = support::pixels(&golden).narrow(0, 0, 2).unwrap();
        let (images, options) = (Images::Pixels(&pixels), StepOptions::default());
        // Some have no label.
        let labels: Vec<Vec<_>> = (0..2)
            .map(|image| (0..num as u32).map(|at| (at % 3 > 0).then_some(at + image)).collect())
            .collect();
        let labels: Vec<&[Option<u32>]> = labels.iter().map(Vec::as_slice).collect();
        let all = RegionLabels { of, images: &labels };
        let mut found = Gradients::new();
        let mut sink = |name: &str, gradient: Vec<f32>| {
            found.insert(name.to_owned(), gradient);
            Ok(())
        };
        let loss = aki.region_gradients(all, images, options, &mut sink).unwrap();
        assert_eq!(loss, aki.region_loss(all, images, options).unwrap());
        assert_eq!(loss.num_labels, 2 * (0..num).filter(|at| at % 3 > 0).count());
        assert_eq!(found.len(), parameters.len(), "{connector} {of:?}");
        let loss = || aki.region_loss(all, images, options).unwrap().mean;
        assert_slope(connector, &parameters, &found, &loss);

        let refused = |labels: &[&[Option<u32>]]| {
            let labels = RegionLabels { of, images: labels };
            aki.region_loss(labels, images, options).unwrap_err().to_string()
        };
        let error = refused(&labels[1..]);
        assert!(error.contains("needs 1 images, found 2"), "{error}");
        let short = [labels[0], &labels[1][1..]];
        let what = if of == RegionsOf::Patches { "patches" } else { "vision tokens" };
        let expected = format!("needs {num} labels of an image's {what}, found {}", num - 1);
        assert!(refused(&short).contains(&expected), "{}", refused(&short));
        let none = vec![None; num];
        assert_eq!(refused(&[&none, &none]), "no position of the batch has a label");
    }
}

#[test]
fn features_of_a_frozen_encoder_take_the_place_of_pixels() {
    let golden = support::open("base", "train_batch.safetensors");
    let (aki, _) = trainable("base", &without_encoder);
    let rows = instruction_rows(&golden);
    let pixels = support::pixels(&golden);
    let plans = plans(&rows, AttentionPolicy::Causal);
    let batch = sequences(&rows, &plans);
    let features = aki.encode(&pixels).unwrap();
    let options = StepOptions::default();
    let from_features = aki.loss(&batch, Images::Features(&features), options).unwrap();
    let from_pixels = aki.loss(&batch, Images::Pixels(&pixels), options).unwrap();
    assert_close(
        "loss",
        &Tensor::new(&[from_features.mean], &Device::Cpu).unwrap(),
        &[from_pixels.mean],
        1e-6,
    );
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (aki, _) = trainable("base", &without_encoder);
    let layout = Layout::new().image(8).text(Role::User, 2);
    let plan = AttentionPolicy::Causal.plan(&layout);
    let ids = [501, 4, 5].map(TokenId);
    let labels: Vec<_> = (0..10).map(|at| (at > 8).then_some(at)).collect();
    let pixels = Tensor::zeros((1, 3, 56, 56), DType::F32, &Device::Cpu).unwrap();
    let good = TrainingSequence { ids: &ids, layout: &layout, plan: &plan, labels: &labels };
    let message = |sequence: TrainingSequence<'_>, images: Images<'_>| -> String {
        aki.loss(&[sequence], images, StepOptions::default()).unwrap_err().to_string()
    };
    assert!(aki.loss(&[good], Images::Pixels(&pixels), StepOptions::default()).is_ok());
    let none = [None; 10];
    for (sequence, expected) in [
        (TrainingSequence { ids: &ids[1..], ..good }, "the layout needs 3 ids, found 2"),
        (TrainingSequence { labels: &labels[1..], ..good }, "the layout needs 10 labels, found 9"),
        (TrainingSequence { labels: &none, ..good }, "no position of the batch has a label"),
        (
            TrainingSequence { plan: &AttentionPlan::causal(9), ..good },
            "the layout needs 10 rows of the plan, found 9",
        ),
    ] {
        assert_eq!(message(sequence, Images::Pixels(&pixels)), expected);
    }
    let two = Tensor::zeros((2, 3, 56, 56), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(message(good, Images::Pixels(&two)), "the layout needs 1 images, found 2");
    let outside = [501, 4, 600].map(TokenId);
    let wrong = TrainingSequence { ids: &outside, ..good };
    assert!(message(wrong, Images::Pixels(&pixels)).contains("token id 600"));
    let failing = |_: &str, _: Vec<f32>| Err(Error::NoLabels);
    let result =
        aki.gradients(&[good], Images::Pixels(&pixels), StepOptions::default(), &mut { failing });
    assert!(matches!(result, Err(Error::NoLabels)), "the sink's error comes through");
}
