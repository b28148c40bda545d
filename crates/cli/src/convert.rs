//! `aki convert`: a checkpoint in another number type or division into files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use checkpoint::{Dtype, ShardPlan, TensorSpec};

use crate::args::{ConvertArgs, FormatArg};
use crate::environment::Environment;
use crate::load::{Model, SIDE_FILES};
use crate::report::Failure;
use crate::{files, output, progress};

/// Rewrites the weights, one tensor in memory at a time, and copies what lies beside them.
pub(crate) fn run(args: &ConvertArgs, environment: &Environment) -> Result<()> {
    let FormatArg::Safetensors = args.format;
    let model = Model::locate(&args.input, environment)?;
    refuse_same(&model, &args.output)?;
    let checkpoint = model.checkpoint()?;
    files::prepare_output(&args.output, args.force)?;
    let mut inputs = BTreeMap::new();
    let mut specs = Vec::new();
    for name in checkpoint.names() {
        let Some(tensor) = checkpoint.tensor(name) else { continue };
        let dtype = args.dtype.dtype().filter(|_| is_float(tensor.dtype)).unwrap_or(tensor.dtype);
        specs.push(TensorSpec { name: name.to_owned(), dtype, shape: tensor.shape.clone() });
        inputs.insert(name, tensor);
    }
    let num_tensors = specs.len();
    let plan = ShardPlan::new(specs, usize::try_from(args.max_shard_size)?)?;
    let bar = progress::bytes("converting", plan.num_bytes() as u64);
    let written = plan.write(&args.output, |spec, sink| -> Result<()> {
        let tensor = inputs[spec.name.as_str()];
        let converted;
        let bytes = if tensor.dtype == spec.dtype {
            &tensor.bytes
        } else {
            converted = tensor.to_dtype(spec.dtype)?;
            &converted.bytes
        };
        sink.put(bytes)?;
        bar.inc(bytes.len() as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    output::line(&format!(
        "wrote {}, {}, in {} to {}",
        files::count(num_tensors, "tensor"),
        files::size(plan.num_bytes() as u64),
        files::count(written.len(), "file"),
        args.output.display()
    ))?;
    match model.dir() {
        None => write_embedded(&model, &args.output),
        Some(dir) if SIDE_FILES.iter().any(|name| dir.join(name).is_file()) => {
            let copied = files::copy(dir, &args.output, &SIDE_FILES)?;
            output::line(&format!("copied {}", copied.join(", ")))
        }
        Some(dir) => output::line(&format!(
            "no config.json or tokenizer beside the input in {}; put them into {}",
            dir.display(),
            args.output.display()
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
