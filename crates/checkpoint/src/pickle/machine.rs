//! The stack machine, protocols 2 to 5.

use std::collections::HashMap;

use super::global::Global;
use super::{Heap, MAX_NAME, Node, Opaque, Problem, Value};

/// The largest pickle; the numbers of a checkpoint lie outside of it.
const MAX_LEN: usize = 64 << 20;
/// The most values on the stack, and the most remembered.
const MAX_DEPTH: usize = 1_000_000;
const MAX_MEMO: usize = 4_000_000;

struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    heap: Heap<'a>,
    stack: Vec<Value<'a>>,
    /// The heights of the stack at open marks.
    marks: Vec<usize>,
    memo: HashMap<usize, Value<'a>>,
}

/// What an instruction leads to.
enum Step {
    Next,
    Stop,
}

/// Returns all values of the pickle that `input` begins with, the top one, and the pickle's length.
pub(crate) fn run(input: &[u8]) -> Result<(Heap<'_>, Value<'_>, usize), Problem> {
    let heap = Heap::default();
    let (stack, marks, memo) = (Vec::new(), Vec::new(), HashMap::new());
    let mut machine =
        Machine { input: &input[..input.len().min(MAX_LEN)], at: 0, heap, stack, marks, memo };
    loop {
        let start = machine.at;
        match machine.step() {
            Ok(Step::Next) => {}
            Ok(Step::Stop) => break,
            Err(Problem::Malformed(reason)) => {
                let reason = format!("its pickle is malformed at byte {start}: {reason}");
                return Err(Problem::Malformed(reason));
            }
            Err(malicious @ Problem::Malicious(_)) => return Err(malicious),
        }
    }
    let top = machine.stack.pop();
    let top = top.ok_or_else(|| Problem::Malformed("its pickle ends without a value".into()))?;
    Ok((machine.heap, top, machine.at))
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Self::Malformed(reason)
    }
}

impl<'a> Machine<'a> {
    fn step(&mut self) -> Result<Step, Problem> {
        let opcode = self.byte()?;
        match opcode {
            0x80 => self.protocol()?,      // PROTO
            0x95 => drop(self.take(8)?),   // FRAME, only a hint for buffering
            b'.' => return Ok(Step::Stop), // STOP
            b'(' => self.mark()?,          // MARK
            // POP, and BUILD, whose operand is the state of an object that stays inert
            b'0' | b'b' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?), // POP_MARK
            b'2' => {
                let top = self.pop()?; // DUP
                self.push(top)?;
                self.push(top)?;
            }
            b'c' | 0x93 => self.global(opcode)?, // GLOBAL, STACK_GLOBAL
            b'R' | 0x81 | 0x92 => self.call(opcode)?, // REDUCE, NEWOBJ, NEWOBJ_EX
            b'Q' => {
                let id = self.pop()?; // BINPERSID
                let value = self.heap.persistent(id)?;
                self.push(value)?;
            }
            b'q' | b'r' | b'h' | b'j' | 0x94 => self.memory(opcode)?,
            b'}' | b']' | b')' | 0x8f | b'l' | b't' | b'd' | 0x85..=0x87 | 0x91 => {
                self.container(opcode)?;
            }
            b'a' | b'e' | b's' | b'u' | 0x90 => self.insert(opcode)?,
            _ => self.scalar(opcode)?,
        }
        Ok(Step::Next)
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.byte()? {
            2..=5 => Ok(()),
            other => Err(format!("its protocol is {other}, expected 2 to 5")),
        }
    }

    fn scalar(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()), // BININT
            b'K' => Value::Int(self.byte()?.into()),                      // BININT1
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()), // BININT2
            0x8a | 0x8b => self.long(opcode)?,                            // LONG1, LONG4
            b'G' => {
                self.take(8)?; // BINFLOAT
                Value::Inert
            }
            0x8c | b'X' | 0x8d => {
                let len = self.len(opcode)?; // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
                let text = std::str::from_utf8(self.take(len)?);
                Value::Text(text.map_err(|_| "a string is not UTF-8")?)
            }
            b'U' | b'T' => {
                let len = self.len(opcode)?; // SHORT_BINSTRING, BINSTRING of Python 2
                std::str::from_utf8(self.take(len)?).map_or(Value::Inert, Value::Text)
            }
            b'C' | b'B' | 0x8e | 0x96 => {
                let len = self.len(opcode)?; // the forms of BINBYTES, BYTEARRAY8
                self.take(len)?;
                Value::Inert
            }
            b'I' | b'L' | b'F' | b'S' | b'V' | b'p' | b'g' | b'P' | b'i' | b'o' => {
                return Err("it uses protocol 0 or 1, expected 2 to 5".to_owned());
            }
            0x82..=0x84 | 0x97 | 0x98 => {
                return Err("it needs an extension or buffers from outside".to_owned());
            }
            other => return Err(format!("{other:#04x} is not an instruction")),
        };
        self.push(value)
    }

    fn len(&mut self, opcode: u8) -> Result<usize, String> {
        let len = match opcode {
            0x8c | b'U' | b'C' => u64::from(self.byte()?),
            b'X' | b'B' | b'T' => u64::from(u32::from_le_bytes(self.array()?)),
            _ => u64::from_le_bytes(self.array()?),
        };
        usize::try_from(len).map_err(|_| "a length overflows".to_owned())
    }

    fn long(&mut self, opcode: u8) -> Result<Value<'a>, String> {
        let len = match opcode {
            0x8a => self.byte()?.into(),
            _ => u32::from_le_bytes(self.array()?) as usize,
        };
        let bytes = self.take(len)?;
        if len > 8 {
            return Ok(Value::Long(bytes));
        }
        let is_negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut wide = [if is_negative { 0xff } else { 0 }; 8];
        wide[..len].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn global(&mut self, opcode: u8) -> Result<(), Problem> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            let (Value::Text(module), Value::Text(name)) = (module, name) else {
                return Err("the name of a global is not a string".to_owned().into());
            };
            (module, name)
        };
        if module.len().max(name.len()) > MAX_NAME {
            return Err(format!("the name of a global is longer than {MAX_NAME} bytes").into());
        }
        let global = Global::find(module, name).map_err(Problem::Malicious)?;
        let value = self.heap.add(Node::Global(global))?;
        Ok(self.push(value)?)
    }

    fn call(&mut self, opcode: u8) -> Result<(), String> {
        if opcode == 0x92 {
            self.pop()?; // keyword arguments, which no known constructor has
        }
        let (arguments, function) = (self.pop()?, self.pop()?);
        let value = self.heap.call(function, arguments)?;
        self.push(value)
    }

    fn memory(&mut self, opcode: u8) -> Result<(), String> {
        let key = match opcode {
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?) as usize,
            _ => self.memo.len(), // MEMOIZE
        };
        if matches!(opcode, b'h' | b'j') {
            let value = self.memo.get(&key).copied(); // BINGET, LONG_BINGET
            return self.push(value.ok_or_else(|| format!("nothing is remembered as {key}"))?);
        }
        if self.memo.len() >= MAX_MEMO {
            return Err(format!("it remembers more than {MAX_MEMO} values"));
        }
        let top = self.pop()?; // BINPUT, LONG_BINPUT, MEMOIZE
        self.memo.insert(key, top);
        self.push(top)
    }

    fn container(&mut self, opcode: u8) -> Result<(), String> {
        let node = match opcode {
            b'}' => Node::Dict(Vec::new()),
            b']' => Node::List(Vec::new()),
            b')' => Node::Tuple(Vec::new()),
            0x8f => Node::Opaque(Opaque { module: "builtins", name: "set" }), // EMPTY_SET
            b'l' => Node::List(self.pop_mark()?),
            b't' => Node::Tuple(self.pop_mark()?),
            b'd' => Node::Dict(pairs(&self.pop_mark()?)?),
            0x91 => {
                self.pop_mark()?; // FROZENSET
                Node::Opaque(Opaque { module: "builtins", name: "frozenset" })
            }
            _ => {
                let len = usize::from(opcode - 0x84); // TUPLE1, TUPLE2, TUPLE3
                let floor = self.floor();
                let start = self.stack.len().checked_sub(len).filter(|&start| start >= floor);
                Node::Tuple(self.stack.split_off(start.ok_or("the stack is empty")?))
            }
        };
        let value = self.heap.add(node)?;
        self.push(value)
    }

    fn insert(&mut self, opcode: u8) -> Result<(), String> {
        let items = match opcode {
            b'a' => vec![self.pop()?], // APPEND
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?); // SETITEM
                vec![key, value]
            }
            _ => self.pop_mark()?, // APPENDS, SETITEMS, ADDITEMS
        };
        let target = self.pop()?;
        match (opcode, self.heap.node_mut(target)) {
            (b'a' | b'e', Some(Node::List(list))) => list.extend(items),
            (b's' | b'u', Some(Node::Dict(dict))) => dict.extend(pairs(&items)?),
            (_, Some(Node::Opaque(_))) => {}
            _ => return Err(format!("it puts items into {}", self.heap.describe(target))),
        }
        self.push(target)
    }

    fn mark(&mut self) -> Result<(), String> {
        if self.marks.len() >= MAX_DEPTH {
            return Err(format!("it has more than {MAX_DEPTH} open marks"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let start = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(start))
    }

    /// Returns the height below which the stack belongs to an open mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(format!("its stack is deeper than {MAX_DEPTH}"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        let is_open = self.stack.len() > self.floor();
        is_open.then(|| self.stack.pop()).flatten().ok_or_else(|| "the stack is empty".to_owned())
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "it ends too early".to_owned())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.input.len());
        let end = end.ok_or("it ends too early")?;
        let taken = &self.input[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.input[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').ok_or("a name does not end")?;
        let line = std::str::from_utf8(self.take(len)?).map_err(|_| "a name is not UTF-8")?;
        self.take(1)?;
        Ok(line)
    }
}

fn pairs<'a>(items: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, String> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err("a dict has a key without a value".to_owned()),
    }
}
