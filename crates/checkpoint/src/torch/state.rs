//! Finds the tensors in what a pickle describes.

use std::collections::BTreeMap;

use super::view::{Budget, window};
use crate::pickle::{Heap, MAX_NAME, Node, Problem, Storage, Value};
use crate::{Bytes, Tensor};

/// The keys that training programs keep the state dict under, in order of preference.
const STATE_DICTS: [&str; 2] = ["model_state_dict", "state_dict"];
/// What distributed training puts before each name.
const PREFIX: &str = "module.";
/// How many keys an error lists.
const MAX_LISTED: usize = 8;

type Items<'h, 'a> = &'h [(Value<'a>, Value<'a>)];

/// Returns the tensors of the state dict, whose storages `find` finds in a file of `file_len`.
pub(super) fn tensors<'a>(
    heap: &Heap<'a>,
    top: Value<'a>,
    file_len: usize,
    find: impl Fn(Storage<'a>) -> Result<Bytes, String>,
) -> Result<BTreeMap<String, Tensor>, Problem> {
    let mut budget = Budget::new(file_len);
    let mut tensors = BTreeMap::new();
    for (full_name, value) in entries(heap, state_dict(heap, top)?)? {
        let Some(Node::Tensor(view)) = heap.node(value) else { continue };
        let storage = heap.storage(view.storage);
        let storage = storage.ok_or_else(|| format!("tensor `{full_name}` has no storage"))?;
        let tensor = find(storage).and_then(|bytes| window(view, storage, &bytes, &mut budget));
        let tensor = tensor.map_err(|reason| format!("tensor `{full_name}`: {reason}"))?;
        let name = full_name.strip_prefix(PREFIX).unwrap_or(full_name);
        if tensors.insert(name.to_owned(), tensor).is_some() {
            return Err(format!("tensor `{name}` is in it with and without `{PREFIX}`").into());
        }
    }
    Ok(tensors)
}

/// Returns the dict of tensors: the one under a usual key, or the top itself.
fn state_dict<'h, 'a>(heap: &'h Heap<'a>, top: Value<'a>) -> Result<Items<'h, 'a>, String> {
    let Some(Node::Dict(items)) = heap.node(top) else {
        return Err(format!("it holds {}, expected a dict of tensors", heap.describe(top)));
    };
    for wanted in STATE_DICTS {
        let found =
            items.iter().rev().find(|(key, _)| matches!(key, Value::Text(k) if *k == wanted));
        if let Some(&(_, value)) = found {
            let Some(Node::Dict(inner)) = heap.node(value) else {
                let found = heap.describe(value);
                return Err(format!("its `{wanted}` is {found}, expected a dict of tensors"));
            };
            return Ok(inner);
        }
    }
    let is_tensor = |value: &Value<'a>| matches!(heap.node(*value), Some(Node::Tensor(_)));
    if items.iter().any(|(_, value)| is_tensor(value)) {
        return Ok(items);
    }
    let name = |key: &Value<'a>| match key {
        Value::Text(name) => format!("`{name}`"),
        other => heap.describe(*other),
    };
    let keys: Vec<_> = items.iter().take(MAX_LISTED).map(|(key, _)| name(key)).collect();
    let keys = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
    Err(format!("it holds neither `{}` nor tensors, but {keys}", STATE_DICTS[0]))
}

/// Returns the entries of a state dict; of equal names the last counts, as in Python.
fn entries<'h, 'a>(
    heap: &'h Heap<'a>,
    items: Items<'h, 'a>,
) -> Result<BTreeMap<&'a str, Value<'a>>, String> {
    let mut entries = BTreeMap::new();
    for &(key, value) in items {
        match (key, heap.node(value)) {
            (Value::Text(name), _) if name.len() > MAX_NAME => {
                return Err(format!("a name in its state dict has {} bytes", name.len()));
            }
            // A number or a text beside the tensors is harmless, an unknown object may be one.
            (Value::Text(name), Some(Node::Opaque(maker))) => {
                return Err(format!(
                    "`{name}` of its state dict is made by `{maker}`, which is not read"
                ));
            }
            (Value::Text(name), _) => drop(entries.insert(name, value)),
            (other, Some(Node::Tensor(_))) => {
                let found = heap.describe(other);
                return Err(format!("the name of a tensor is {found}, expected a string"));
            }
            _ => {}
        }
    }
    Ok(entries)
}
