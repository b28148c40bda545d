//! `aki convert`: a checkpoint in another number type, format or division into files.

mod quantize;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use checkpoint::{Dtype, GgufPlan, ShardPlan, TensorSink, TensorSpec};
use indicatif::ProgressBar;
use model::quantization::{converted, padded_shape, resized, unpadded_shape};

use self::quantize::Mix;
use crate::args::{ConvertArgs, FormatArg, QuantizeArg};
use crate::environment::Environment;
use crate::load::{Model, SIDE_FILES};
use crate::report::Failure;
use crate::{compute, files, output, progress};

/// Rewrites the weights, one tensor in memory at a time, and copies what lies beside them.
pub(crate) fn run(args: &ConvertArgs, environment: &Environment) -> Result<()> {
    compute::start(&args.hardware, environment)?;
    let format = format(args)?;
    let model = Model::locate(&args.input, environment)?;
    refuse_same(&model, &args.output)?;
    let checkpoint = model.checkpoint()?;
    files::prepare_output(&args.output, args.force)?;
    let mut inputs = BTreeMap::new();
    let mut specs = Vec::new();
    let quantization = args.quantize.map(QuantizeArg::quantization);
    let mut mix = quantization.map(Mix::new);
    // What was padded for blocks is cut again where there are none.
    let is_whole = mix.is_none()
        && (format == FormatArg::Safetensors || args.dtype.dtype().is_some_and(is_float));
    let inner = model.config().ok().map(|config| config.vision.intermediate_size);
    let inner = inner.filter(|_| is_whole);
    for name in checkpoint.names() {
        let Some(tensor) = checkpoint.tensor(name) else { continue };
        let is_number = is_float(tensor.dtype) || tensor.dtype.block_len() > 1;
        let mut dtype = args.dtype.dtype().filter(|_| is_number).unwrap_or(tensor.dtype);
        if dtype.block_len() > 1 && (mix.is_some() || format == FormatArg::Safetensors) {
            dtype = Dtype::F32;
        }
        let mut shape = tensor.shape.clone();
        if let Some(mix) = &mut mix {
            shape = padded_shape(name, &shape);
            dtype = mix.choose(name, &shape).unwrap_or(dtype);
        } else if let Some(inner) = inner {
            shape = unpadded_shape(name, &shape, inner);
        }
        specs.push(TensorSpec { name: name.to_owned(), dtype, shape });
        inputs.insert(name, tensor);
    }
    let num_tensors = specs.len();
    let fill = |spec: &TensorSpec, sink: &mut TensorSink<'_>, bar: &ProgressBar| -> Result<()> {
        let tensor = inputs[spec.name.as_str()];
        let converted = converted(&resized(tensor, &spec.shape), spec.dtype)?;
        sink.put(&converted.bytes)?;
        bar.inc(converted.bytes.len() as u64);
        Ok(())
    };
    let (num_bytes, num_files) = match format {
        FormatArg::Safetensors => {
            let plan = ShardPlan::new(specs, usize::try_from(args.max_shard_size)?)?;
            let bar = progress::bytes("converting", plan.num_bytes() as u64);
            let written = plan.write(&args.output, |spec, sink| fill(spec, sink, &bar))?;
            bar.finish_and_clear();
            (plan.num_bytes(), written.len())
        }
        FormatArg::Gguf => {
            let plan = GgufPlan::new(specs, quantize::metadata(quantization))?;
            let bar = progress::bytes("converting", plan.num_bytes() as u64);
            plan.write(&args.output.join("model.gguf"), |spec, sink| fill(spec, sink, &bar))?;
            bar.finish_and_clear();
            (plan.num_bytes(), 1)
        }
    };
    output::line(&format!(
        "wrote {}, {}, in {} to {}",
        files::count(num_tensors, "tensor"),
        files::size(num_bytes as u64),
        files::count(num_files, "file"),
        args.output.display()
    ))?;
    if let Some(mix) = &mix {
        for line in mix.report() {
            output::line(&line)?;
        }
    }
    copy_side_files(&model, &args.output)
}

/// Returns the format to write.
fn format(args: &ConvertArgs) -> Result<FormatArg> {
    match (args.format, args.quantize) {
        (Some(FormatArg::Safetensors), Some(_)) => {
            let message = "safetensors files cannot hold blocks of few bits";
            Err(Failure::usage(message.to_owned())
                .hint("leave --format out: it is gguf then")
                .into())
        }
        (Some(format), _) => Ok(format),
        (None, Some(_)) => Ok(FormatArg::Gguf),
        (None, None) => Ok(FormatArg::Safetensors),
    }
}

/// Copies what belongs beside the weights.
fn copy_side_files(model: &Model, to: &Path) -> Result<()> {
    match model.dir() {
        None => write_embedded(model, to),
        Some(dir) if SIDE_FILES.iter().any(|name| dir.join(name).is_file()) => {
            let copied = files::copy(dir, to, &SIDE_FILES)?;
            output::line(&format!("copied {}", copied.join(", ")))
        }
        Some(dir) => output::line(&format!(
            "no config.json or tokenizer beside the input in {}; put them into {}",
            dir.display(),
            to.display()
        )),
    }
}

/// Refuses to write into the directory that is read: its files are mapped.
fn refuse_same(model: &Model, to: &Path) -> Result<()> {
    let same = model.dir().is_some_and(|dir| {
        let paths = (fs::canonicalize(dir), fs::canonicalize(to));
        matches!(paths, (Ok(from), Ok(to)) if from == to)
    });
    if same {
        let message = format!("input and output are the same directory `{}`", to.display());
        return Err(Failure::usage(message).into());
    }
    Ok(())
}

/// Writes the configuration and the tokenizer of the embedded model.
fn write_embedded(model: &Model, to: &Path) -> Result<()> {
    for (name, bytes) in model.embedded_files() {
        let path = to.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::Bf16 | Dtype::F16)
}
