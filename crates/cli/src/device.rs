//! Which device computes.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};
use model::Device;

use crate::report::Failure;

/// A device by its name, as `PyTorch` spells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DeviceArg {
    /// The processor.
    #[default]
    Cpu,
    /// A graphics card of NVIDIA's, by number.
    Cuda(usize),
    /// A graphics processor of Apple's, by number.
    Metal(usize),
}

impl FromStr for DeviceArg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let wrong = || "expected cpu, cuda, cuda:N, metal or metal:N".to_owned();
        let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
        let number = number.parse().map_err(|_| wrong())?;
        match kind {
            "cpu" if kind == name => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(number)),
            "metal" => Ok(Self::Metal(number)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for DeviceArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

impl DeviceArg {
    /// Opens the device.
    ///
    /// # Errors
    /// If there is no such device, or this program was built without support for it.
    pub(crate) fn open(self) -> Result<Device> {
        let (is_built, feature) = match self {
            Self::Cpu => (true, "cpu"),
            Self::Cuda(_) => (cfg!(feature = "cuda"), "cuda"),
            Self::Metal(_) => (cfg!(feature = "metal"), "metal"),
        };
        if !is_built {
            let failure = Failure::usage(format!("this program was built without `{feature}`"));
            let hint = format!("cargo install --path crates/cli --features {feature}");
            return Err(failure.hint(format!("{hint} builds one with it")).into());
        }
        let device = match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => Device::new_cuda(number),
            Self::Metal(number) => Device::new_metal(number),
        };
        let device = device.with_context(|| format!("cannot use the device `{self}`"))?;
        #[cfg(feature = "cuda")]
        if let Self::Cuda(number) = self {
            kernels::keep_freed_memory_of(number)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("cannot use the memory of `{self}`"))?;
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_the_names_that_pytorch_gives_them() {
        assert_eq!("cpu".parse(), Ok(DeviceArg::Cpu));
        assert_eq!("cuda".parse(), Ok(DeviceArg::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(DeviceArg::Cuda(3)));
        assert_eq!("metal".parse(), Ok(DeviceArg::Metal(0)));
        for wrong in ["gpu", "cuda:", "cuda:x", "cpu:1", ""] {
            assert!(wrong.parse::<DeviceArg>().is_err(), "{wrong}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_program_without_cuda_says_how_to_build_one() {
        let error = DeviceArg::Cuda(0).open().unwrap_err();
        assert_eq!(error.to_string(), "this program was built without `cuda`");
    }
}
