//! The arguments that say how a model computes.

use clap::{Args, ValueEnum};
use kernels::{Level, UnknownLevel};
use model::{KvType, Quantization};

use super::DtypeArg;
use crate::device::DeviceArg;

/// How the model computes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Computation")]
pub(crate) struct ComputeArgs {
    /// The number type of the weights; auto keeps the checkpoint's
    #[arg(long, value_enum, default_value_t = DtypeArg::Auto)]
    pub(crate) dtype: DtypeArg,
    /// Turn matrices into blocks of few bits while loading, as `aki convert --quantize` does for good
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) quantize: Option<QuantizeArg>,
    /// The type that keys and values are kept in; auto is f32 under weights of f32, else bf16 or f16
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = KvCacheArg::Auto)]
    pub(crate) kv_cache: KvCacheArg,
    /// What computes: cpu, cuda, cuda:N, metal or metal:N
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub(crate) device: DeviceArg,
    #[command(flatten)]
    pub(crate) hardware: HardwareArgs,
}

/// What of the processor computes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Computation")]
pub(crate) struct HardwareArgs {
    /// How many threads compute; all processors if left out [env: `AKI_THREADS`]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// The instructions to compute with, such as portable or avx2; the fastest that the processor
    /// has if left out [env: `AKI_CPU_LEVEL`]
    #[arg(long, value_name = "LEVEL", value_parser = available)]
    pub(crate) cpu_features: Option<Level>,
}

/// Parses the name of a level that this processor has.
fn available(name: &str) -> Result<Level, UnknownLevel> {
    let level: Level = name.parse()?;
    level.is_available().then_some(level).ok_or_else(|| UnknownLevel { name: name.to_owned() })
}

/// Blocks of few bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuantizeArg {
    /// Eight bits, 8.5 with the scales
    #[value(name = "q8_0")]
    Q8_0,
    /// Six bits, 6.6 with the scales
    #[value(name = "q6_k")]
    Q6K,
    /// Five bits, 5.5 with finer scales
    #[value(name = "q5_k")]
    Q5K,
    /// Four bits, 4.5 with finer scales
    #[value(name = "q4_k")]
    Q4K,
    /// Four bits, 4.5 with the scales
    #[value(name = "q4_0")]
    Q4_0,
}

/// A type of keys and values, or what suits the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KvCacheArg {
    Auto,
    F32,
    F16,
    Bf16,
    /// Eight bits, 8.5 with the scales
    #[value(name = "q8_0")]
    Q8_0,
}

impl QuantizeArg {
    /// Returns the mix of types of a model's matrices.
    pub(crate) fn quantization(self) -> Quantization {
        match self {
            Self::Q8_0 => Quantization::Q8_0,
            Self::Q6K => Quantization::Q6K,
            Self::Q5K => Quantization::Q5K,
            Self::Q4K => Quantization::Q4K,
            Self::Q4_0 => Quantization::Q4_0,
        }
    }
}

impl KvCacheArg {
    /// Returns the type, none for what suits the weights.
    pub(crate) fn kv_type(self) -> Option<KvType> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(KvType::F32),
            Self::F16 => Some(KvType::F16),
            Self::Bf16 => Some(KvType::Bf16),
            Self::Q8_0 => Some(KvType::Q8_0),
        }
    }
}
