//! `aki trace`: every intermediate of one prompt.

use std::collections::BTreeMap;

use anyhow::Result;
use checkpoint::{Bytes, Dtype};
use model::{Sequence, Tap, Tensor};
use prompt::{Encoded, Message};
use sequence::AttentionPlan;

use crate::args::TraceArgs;
use crate::environment::Environment;
use crate::input;
use crate::runtime::{self, Runtime};

/// Collects what the model shows on its way.
#[derive(Default)]
struct Recorder {
    tensors: BTreeMap<String, checkpoint::Tensor>,
    failure: Option<anyhow::Error>,
}

/// Runs one prompt and writes what the model computed on the way.
pub(crate) fn run(args: &TraceArgs, environment: &Environment) -> Result<()> {
    let images = args.image.iter().map(|path| input::image(path)).collect::<Result<Vec<_>>>()?;
    let question = Message::user(prompt::parse_question(&args.question, images.len())?);
    let runtime = Runtime::load(&args.model.model, &args.compute, environment)?;
    let template = runtime::template(args.system.as_deref());
    let num_vision_tokens = runtime.config.num_vision_tokens;
    let encoded = template.encode(&runtime.tokenizer, &[question], num_vision_tokens)?;
    runtime.check_length(encoded.layout.len())?;
    let plan = args.policy.attention.plan(&encoded.layout);

    let mut recorder = Recorder::default();
    recorder.inputs(&encoded, &plan);
    let mut features = Vec::new();
    if !images.is_empty() {
        let pixels =
            images.iter().map(|image| runtime.pixels(image)).collect::<Result<Vec<_>>>()?;
        let pixels = Tensor::stack(&pixels, 0)?; // [images, 3, size, size]
        recorder.tensor("pixel_values", &pixels);
        let seen = runtime.aki.see(&pixels, &mut recorder)?; // [images, num_vision_tokens, hidden]
        for image in 0..images.len() {
            features.push(seen.get(image)?);
        }
    }
    let embeddings = runtime.aki.embed(&encoded.ids, &encoded.layout, &features)?;
    recorder.packed("text.embeddings", &embeddings);
    let mut batch = [Sequence { plan: &plan, cache: None }];
    let mut packed = Packed(&mut recorder);
    let hidden = runtime.aki.forward(&embeddings, &mut batch, &mut packed)?;
    recorder.packed("logits", &runtime.aki.logits(&hidden)?);
    recorder.write(args)
}

impl Recorder {
    /// Records what the model is given.
    fn inputs(&mut self, encoded: &Encoded, plan: &AttentionPlan) {
        let ids = encoded.ids.iter().flat_map(|id| i64::from(id.0).to_le_bytes());
        self.bytes("input_ids", Dtype::I64, vec![1, encoded.ids.len()], ids.collect());
        let positions = plan.positions().iter().flat_map(|p| i64::from(*p).to_le_bytes());
        self.bytes("positions", Dtype::I64, vec![1, plan.num_rows()], positions.collect());
        let mask = plan.to_dense().into_iter().map(u8::from).collect();
        self.bytes("mask", Dtype::U8, vec![1, 1, plan.num_rows(), plan.num_columns()], mask);
    }

    fn bytes(&mut self, name: &str, dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) {
        let tensor = checkpoint::Tensor { dtype, shape, bytes: Bytes::from(bytes) };
        self.tensors.insert(name.to_owned(), tensor);
    }

    /// Records a tensor of `[tokens, ..]`, as a batch of one.
    fn packed(&mut self, name: &str, value: &Tensor) {
        match value.unsqueeze(0) {
            Ok(value) => self.tensor(name, &value),
            Err(error) => self.failure = Some(error.into()),
        }
    }

    /// Writes everything that was recorded.
    fn write(self, args: &TraceArgs) -> Result<()> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let tensors = self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        checkpoint::save_file(&args.output, tensors)?;
        Ok(())
    }
}

impl Tap for Recorder {
    fn tensor(&mut self, name: &str, value: &Tensor) {
        match floats(value) {
            Ok(bytes) => self.bytes(name, Dtype::F32, value.dims().to_vec(), bytes),
            Err(error) => self.failure = Some(error),
        }
    }
}

/// The decoder shows the tokens of a whole batch of sequences without a batch dimension.
struct Packed<'r>(&'r mut Recorder);

impl Tap for Packed<'_> {
    fn tensor(&mut self, name: &str, value: &Tensor) {
        self.0.packed(name, value);
    }
}

/// Returns a tensor's values as bytes of f32.
fn floats(value: &Tensor) -> Result<Vec<u8>> {
    let values: Vec<f32> = value.flatten_all()?.to_dtype(model::DType::F32)?.to_vec1()?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}
