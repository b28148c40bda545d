//! The names a pickle may ask for.

use crate::Dtype;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Global<'a> {
    /// A dict class.
    Dict,
    /// A tensor from (storage, offset, shape, strides, ...).
    RebuildTensor,
    /// The same, with the dtype as the seventh argument.
    RebuildTensorV3,
    /// A parameter from (tensor, ...).
    RebuildParameter,
    /// A tensor subclass from (function, class, arguments, state).
    RebuildFromType,
    /// `torch.Size` from (tuple,).
    Size,
    /// The class of a storage of such elements.
    Storage(Dtype),
    /// A value of `torch.dtype`.
    Dtype(Dtype),
    /// Anything else: never called.
    Other { module: &'a str, name: &'a str },
}

/// Modules, or parents of modules, through which a pickle reaches a shell, an interpreter or the
/// network. Nothing is ever called here; the list only decides which unknown names are passed
/// over and which make the file an attack to be reported.
const DENIED: &[&str] = &[
    "__builtin__",
    "_operator",
    "_osx_support",
    "_pickle",
    "_posixsubprocess",
    "asyncio",
    "bdb",
    "builtins",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "distutils",
    "ensurepip",
    "ftplib",
    "http",
    "httplib",
    "imp",
    "importlib",
    "marshal",
    "multiprocessing",
    "nt",
    "operator",
    "os",
    "pdb",
    "pickle",
    "pip",
    "pkgutil",
    "popen2",
    "posix",
    "pty",
    "pydoc",
    "requests",
    "runpy",
    "setuptools",
    "shelve",
    "shutil",
    "smtplib",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "timeit",
    "urllib",
    "urllib2",
    "venv",
    "webbrowser",
    "xmlrpc",
    "zipapp",
];
const DENIED_OF_TORCH: &[&str] =
    &["torch.hub", "torch.jit", "torch.load", "torch.serialization", "torch.utils.cpp_extension"];
/// The builtins that only make plain values.
const HARMLESS_BUILTINS: &[&str] = &[
    "bool",
    "bytearray",
    "bytes",
    "complex",
    "dict",
    "float",
    "frozenset",
    "int",
    "list",
    "long",
    "object",
    "range",
    "set",
    "slice",
    "str",
    "tuple",
    "unicode",
    "xrange",
];

impl<'a> Global<'a> {
    /// Looks a name up, or returns it whole if only an attack would ask for it.
    pub(super) fn find(module: &'a str, name: &'a str) -> Result<Self, String> {
        let global = match (module, name) {
            ("collections", "OrderedDict" | "defaultdict")
            | ("builtins" | "__builtin__", "dict") => Self::Dict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("torch", "Size") => Self::Size,
            ("torch.storage" | "torch", "UntypedStorage") => Self::Storage(Dtype::U8),
            ("torch", _) => torch_type(name).unwrap_or(Self::Other { module, name }),
            _ => Self::Other { module, name },
        };
        match global {
            Self::Other { .. } if is_denied(module, name) => Err(format!("{module}.{name}")),
            allowed => Ok(allowed),
        }
    }
}

fn torch_type<'a>(name: &str) -> Option<Global<'a>> {
    let storage = |dtype| Some(Global::Storage(dtype));
    let dtype = |dtype| Some(Global::Dtype(dtype));
    match name {
        "DoubleStorage" => storage(Dtype::F64),
        "FloatStorage" => storage(Dtype::F32),
        "HalfStorage" => storage(Dtype::F16),
        "BFloat16Storage" => storage(Dtype::Bf16),
        "LongStorage" => storage(Dtype::I64),
        "IntStorage" => storage(Dtype::I32),
        "ShortStorage" => storage(Dtype::I16),
        "CharStorage" => storage(Dtype::I8),
        "ByteStorage" => storage(Dtype::U8),
        "BoolStorage" => storage(Dtype::Bool),
        "float64" => dtype(Dtype::F64),
        "float32" => dtype(Dtype::F32),
        "float16" => dtype(Dtype::F16),
        "bfloat16" => dtype(Dtype::Bf16),
        "int64" => dtype(Dtype::I64),
        "int32" => dtype(Dtype::I32),
        "int16" => dtype(Dtype::I16),
        "int8" => dtype(Dtype::I8),
        "uint8" => dtype(Dtype::U8),
        "bool" => dtype(Dtype::Bool),
        _ => None,
    }
}

fn is_denied(module: &str, name: &str) -> bool {
    if matches!(module, "builtins" | "__builtin__") {
        return !HARMLESS_BUILTINS.contains(&name);
    }
    let path = format!("{module}.{name}");
    let of_torch = |denied: &&str| {
        path.strip_prefix(*denied).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    // A dotted name walks through attributes: `serialization.os.system` of `torch` is `os.system`.
    let mut steps = module.split('.').take(1).chain(name.split('.').rev().skip(1));
    steps.any(|step| DENIED.contains(&step)) || DENIED_OF_TORCH.iter().any(of_torch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_denied_however_it_is_reached() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("subprocess", "Popen"),
            ("builtins", "eval"),
            ("__builtin__", "exec"),
            ("builtins", "getattr"),
            ("torch", "serialization.os.system"),
            ("torch.hub", "load"),
            ("torch", "load"),
            ("os.path", "join"),
            ("harmless", "os.system"),
        ] {
            assert_eq!(Global::find(module, name).unwrap_err(), format!("{module}.{name}"));
        }
    }

    #[test]
    fn plain_and_unknown_names_are_inert() {
        for (module, name) in [
            ("builtins", "set"),
            ("argparse", "Namespace"),
            ("omegaconf.dictconfig", "DictConfig"),
            ("types", "SimpleNamespace"),
            ("_codecs", "encode"),
            ("torch", "device"),
            ("ossify", "Thing"),
            ("torch.optim.lr_scheduler", "LambdaLR"),
        ] {
            assert!(matches!(Global::find(module, name), Ok(Global::Other { .. })), "{module}");
        }
    }
}
