//! Reads pickles without executing anything.
//!
//! A pickle is a program for a stack machine, and unpickling runs whatever it names. This machine
//! builds values in a [`Heap`] instead: it knows the few constructors that tensors need, keeps a
//! call of anything else as an inert [`Node::Opaque`], and stops at names that only an attack
//! asks for. Values are indices into the heap, so that sharing costs nothing, a cycle does not
//! leak, and deep nesting is never walked by recursion.

mod global;
mod machine;
mod rebuild;

use std::fmt;

use crate::Dtype;

pub(crate) use machine::run;

/// What is wrong with a pickle.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It cannot be read, with the reason.
    Malformed(String),
    /// It names a global that could run code.
    Malicious(String),
}

/// A value on the stack or in a container.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer over 64 bits, in two's complement, little-endian.
    Long(&'a [u8]),
    Text(&'a str),
    /// A number or a string of bytes that nothing here needs.
    Inert,
    Node(usize),
}

/// A value that others may share.
#[derive(Debug)]
pub(crate) enum Node<'a> {
    List(Vec<Value<'a>>),
    Tuple(Vec<Value<'a>>),
    /// In order of insertion; of equal keys the last counts.
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Global(global::Global<'a>),
    Storage(Storage<'a>),
    Tensor(View),
    /// What a call that is not on the list would have made.
    Opaque(Opaque<'a>),
}

/// The name that was called, or what stands in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opaque<'a> {
    module: &'a str,
    name: &'a str,
}

impl fmt::Display for Opaque<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// A reference to the numbers of one or more tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storage<'a> {
    /// The type of the elements, u8 for an untyped storage.
    pub(crate) dtype: Dtype,
    pub(crate) key: &'a str,
    /// The number of elements.
    pub(crate) len: usize,
}

/// A tensor: a window into a storage. Offset and strides count elements of `dtype`.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The index of the storage's node.
    pub(crate) storage: usize,
    pub(crate) dtype: Dtype,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

/// All shared values of a pickle.
#[derive(Debug, Default)]
pub(crate) struct Heap<'a> {
    nodes: Vec<Node<'a>>,
    /// How many items were looked at to copy them from one object into another.
    copied: usize,
}

/// The most shared values; a checkpoint has a few for each tensor.
const MAX_NODES: usize = 4_000_000;
/// The longest name of a global, a storage or a tensor. A pickle repeats a value in two bytes, so
/// whatever is done for each of a value's uses must be bounded.
pub(crate) const MAX_NAME: usize = 4096;

impl<'a> Heap<'a> {
    pub(crate) fn node(&self, value: Value<'a>) -> Option<&Node<'a>> {
        match value {
            Value::Node(index) => self.nodes.get(index),
            _ => None,
        }
    }

    pub(crate) fn storage(&self, index: usize) -> Option<Storage<'a>> {
        match self.nodes.get(index)? {
            Node::Storage(storage) => Some(*storage),
            _ => None,
        }
    }

    pub(crate) fn storages(&self) -> impl Iterator<Item = Storage<'a>> {
        (0..self.nodes.len()).filter_map(|index| self.storage(index))
    }

    fn node_mut(&mut self, value: Value<'a>) -> Option<&mut Node<'a>> {
        match value {
            Value::Node(index) => self.nodes.get_mut(index),
            _ => None,
        }
    }

    fn add(&mut self, node: Node<'a>) -> Result<Value<'a>, String> {
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("it makes more than {MAX_NODES} objects"));
        }
        self.nodes.push(node);
        Ok(Value::Node(self.nodes.len() - 1))
    }

    fn tuple(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.node(value) {
            Some(Node::Tuple(items) | Node::List(items)) => Some(items),
            _ => None,
        }
    }

    /// Says in a few words what a value is.
    pub(crate) fn describe(&self, value: Value<'a>) -> String {
        let words = match (value, self.node(value)) {
            (_, Some(Node::Opaque(name))) => return format!("an object made by `{name}`"),
            (_, Some(Node::Global(_))) => "a function or class",
            (_, Some(Node::List(_))) => "a list",
            (_, Some(Node::Tuple(_))) => "a tuple",
            (_, Some(Node::Dict(_))) => "a dict",
            (_, Some(Node::Storage(_))) => "a storage",
            (_, Some(Node::Tensor(_))) => "a tensor",
            (Value::Text(_), _) => "a string",
            (Value::None, _) => "None",
            _ => "a plain value",
        };
        words.to_owned()
    }
}
