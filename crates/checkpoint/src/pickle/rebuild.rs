//! The calls that a pickle of tensors makes.

use super::global::Global;
use super::{Heap, MAX_NAME, MAX_NODES, Node, Opaque, Storage, Value, View};
use crate::Dtype;

/// The most dimensions of a tensor, as in `PyTorch`.
const MAX_RANK: usize = 64;
/// How deep a tensor subclass may wrap another.
const MAX_WRAPS: usize = 8;

impl<'a> Heap<'a> {
    /// Returns what the call makes; nothing is executed.
    pub(super) fn call(
        &mut self,
        function: Value<'a>,
        arguments: Value<'a>,
    ) -> Result<Value<'a>, String> {
        let (mut function, mut arguments) = (function, arguments);
        for _ in 0..MAX_WRAPS {
            let (global, given) = match (self.node(function), self.tuple(arguments)) {
                (Some(&Node::Global(global)), Some(given)) => (global, given),
                (Some(&Node::Opaque(opaque)), _) => return self.add(Node::Opaque(opaque)),
                _ => {
                    let (f, a) = (self.describe(function), self.describe(arguments));
                    return Err(format!("it calls {f} with {a}"));
                }
            };
            match (global, given) {
                (Global::RebuildFromType, [inner, _, inner_arguments, ..]) => {
                    (function, arguments) = (*inner, *inner_arguments);
                }
                (Global::RebuildParameter | Global::Size, [first, ..]) => return Ok(*first),
                (Global::Dict, _) => {
                    let items = given.first().and_then(|&first| self.tuple(first));
                    let items = items.unwrap_or_default();
                    let (pairs, len) = (self.pairs(items), items.len());
                    // A few bytes may ask for the same items again and again.
                    self.copied += len;
                    if self.copied > MAX_NODES {
                        return Err(format!("it copies more than {MAX_NODES} items"));
                    }
                    return self.add(Node::Dict(pairs));
                }
                (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                    let window = [*storage, *offset, *shape, *strides];
                    return self.rebuild(window, None);
                }
                (Global::RebuildTensorV3, [storage, offset, shape, strides, _, _, dtype, ..]) => {
                    let window = [*storage, *offset, *shape, *strides];
                    let Some(&Node::Global(Global::Dtype(dtype))) = self.node(*dtype) else {
                        let (module, name) = ("torch._utils", "_rebuild_tensor_v3");
                        return self.add(Node::Opaque(Opaque { module, name }));
                    };
                    return self.rebuild(window, Some(dtype));
                }
                (Global::Other { module, name }, _) => {
                    return self.add(Node::Opaque(Opaque { module, name }));
                }
                (Global::Storage(_) | Global::Dtype(_), _) => {
                    let (module, name) = ("torch", "Storage");
                    return self.add(Node::Opaque(Opaque { module, name }));
                }
                (known, given) => {
                    return Err(format!("it calls {known:?} with {} arguments", given.len()));
                }
            }
        }
        Err(format!("it wraps a tensor more than {MAX_WRAPS} times"))
    }

    /// Returns the pairs among the items that a dict class was called with.
    fn pairs(&self, items: &[Value<'a>]) -> Vec<(Value<'a>, Value<'a>)> {
        let pair = |&item: &Value<'a>| match self.tuple(item) {
            Some(&[key, value]) => Some((key, value)),
            _ => None,
        };
        items.iter().filter_map(pair).collect()
    }

    fn rebuild(
        &mut self,
        [storage, offset, shape, strides]: [Value<'a>; 4],
        dtype: Option<Dtype>,
    ) -> Result<Value<'a>, String> {
        let (index, stored) = match (storage, self.node(storage)) {
            (Value::Node(index), Some(Node::Storage(stored))) => (index, *stored),
            (_, Some(&Node::Opaque(opaque))) => return self.add(Node::Opaque(opaque)),
            _ => {
                return Err(format!("it makes a tensor from {}", self.describe(storage)));
            }
        };
        let dtype = dtype.unwrap_or(stored.dtype);
        let rank = |value| self.tuple(value).map_or(0, <[_]>::len);
        if rank(shape) != rank(strides) || rank(shape) > MAX_RANK {
            return Err(format!(
                "a tensor has {} dimensions and {} strides, expected as many, {MAX_RANK} at most",
                rank(shape),
                rank(strides)
            ));
        }
        let offset = count(offset).ok_or("a tensor's offset is not a count")?;
        let shape = self.counts(shape).ok_or("a tensor's shape is not a tuple of counts")?;
        let strides = self.counts(strides).ok_or("a tensor's strides are not a tuple of counts")?;
        self.add(Node::Tensor(View { storage: index, dtype, offset, shape, strides }))
    }

    fn counts(&self, value: Value<'a>) -> Option<Vec<usize>> {
        self.tuple(value)?.iter().map(|&item| count(item)).collect()
    }

    /// Returns what a persistent id stands for: always a storage.
    pub(super) fn persistent(&mut self, id: Value<'a>) -> Result<Value<'a>, String> {
        let node = match self.tuple(id) {
            Some(&[Value::Text("storage"), class, Value::Text(key), _, len, ref rest @ ..]) => {
                if !matches!(rest, [] | [Value::None]) {
                    return Err(format!("storage `{key}` is a view of another, which is not read"));
                }
                if key.len() > MAX_NAME {
                    return Err(format!("the key of a storage has {} bytes", key.len()));
                }
                let len = count(len).ok_or("a storage's length is not a count")?;
                match self.node(class) {
                    Some(&Node::Global(Global::Storage(dtype))) => {
                        Node::Storage(Storage { dtype, key, len })
                    }
                    Some(&Node::Global(Global::Other { module, name })) => {
                        Node::Opaque(Opaque { module, name })
                    }
                    _ => return Err(format!("storage `{key}` is of {}", self.describe(class))),
                }
            }
            _ => return Err("a persistent id is not that of a storage".to_owned()),
        };
        self.add(node)
    }
}

fn count(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Int(n) => usize::try_from(n).ok(),
        _ => None,
    }
}
