//! What a pickle describes, as far as it is tensors and plain values. Python's own reader runs whatever a pickle asks
//! for; this one knows the few names below, calls nothing, and refuses all else by name.
//!
//! Every value is a number, a piece of the pickle, or a place in a list, so that no nesting and no circle of a hostile
//! pickle can exhaust the stack or the memory.

use std::collections::HashMap;

use super::Problem;
use super::storage::{Storage, StoredView, element_type};

/// The protocols that Python has written since `torch.save` writes archives.
const PROTOCOLS: std::ops::RangeInclusive<u8> = 2..=5;

/// More axes than a tensor has, and more arguments than a call.
const LONGEST_TUPLE: usize = 64;

/// A value of a pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// A place among the sequences.
    Tuple(usize),
    /// A place among the sequences.
    List(usize),
    /// A place among the dictionaries.
    Dictionary(usize),
    Function(Function),
    StorageType(safetensors::Dtype),
    /// A place among the storages.
    Storage(usize),
    /// A place among the views.
    Tensor(usize),
}

/// What may be called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
}

impl Value<'_> {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Float(_) => "a float",
            Self::Text(_) => "a string",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dictionary(_) => "a dictionary",
            Self::Function(_) => "a function",
            Self::StorageType(_) => "a type of storage",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) root: Value<'a>,
    sequences: Vec<Vec<Value<'a>>>,
    dictionaries: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<Storage<'a>>,
    views: Vec<StoredView<'a>>,
}

impl<'a> Pickle<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        let pickle = Self {
            root: Value::None,
            sequences: Vec::new(),
            dictionaries: Vec::new(),
            storages: Vec::new(),
            views: Vec::new(),
        };
        let (rest, stack, marks, memo) = (bytes, Vec::new(), Vec::new(), HashMap::new());
        Interpreter { rest, stack, marks, memo, pickle }.run()
    }

    /// The entries of a dictionary in their order; a key that is set twice is there twice.
    pub(super) fn dictionary(&self, place: usize) -> &[(Value<'a>, Value<'a>)] {
        &self.dictionaries[place]
    }

    pub(super) fn view(&self, place: usize) -> &StoredView<'a> {
        &self.views[place]
    }
}

struct Interpreter<'a> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    /// Where on the stack a sequence of values starts that are taken together.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    pickle: Pickle<'a>,
}

impl<'a> Interpreter<'a> {
    fn run(mut self) -> Result<Pickle<'a>, Problem> {
        loop {
            match self.byte()? {
                b'.' => {
                    self.pickle.root = self.pop()?;
                    return Ok(self.pickle);
                }
                operation => self.apply(operation)?,
            }
        }
    }

    /// Does what one operation of `pickletools` says.
    fn apply(&mut self, operation: u8) -> Result<(), Problem> {
        let value = match operation {
            // PROTO, FRAME
            0x80 => {
                let protocol = self.byte()?;
                let known = PROTOCOLS.contains(&protocol);
                return known.then_some(()).ok_or_else(|| broken("of an unknown protocol"));
            }
            0x95 => return self.take(8).map(|_| ()),
            // NONE, NEWTRUE, NEWFALSE
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            // BININT, BININT1, BININT2, LONG1, BINFLOAT
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            0x8a => self.long()?,
            b'G' => Value::Float(f64::from_be_bytes(self.array()?)),
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            0x8c => {
                let length = self.byte()?;
                self.text(length.into())?
            }
            b'X' => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length.into())?
            }
            0x8d => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(length)?
            }
            // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
            b')' => self.tuple(Vec::new()),
            b't' => {
                let values = self.pop_to_mark()?;
                self.tuple(values)
            }
            0x85..=0x87 => {
                let mut values = Vec::new();
                for _ in 0x84..operation {
                    values.push(self.pop()?);
                }
                values.reverse();
                self.tuple(values)
            }
            // EMPTY_LIST, APPEND, APPENDS
            b']' => {
                self.pickle.sequences.push(Vec::new());
                Value::List(self.pickle.sequences.len() - 1)
            }
            b'a' => {
                let value = self.pop()?;
                return self.append(vec![value]);
            }
            b'e' => {
                let values = self.pop_to_mark()?;
                return self.append(values);
            }
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.empty_dictionary(),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                return self.set(&[key, value]);
            }
            b'u' => {
                let entries = self.pop_to_mark()?;
                return self.set(&entries);
            }
            // MARK
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let key = self.byte()?;
                return self.remember(key.into());
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                return self.remember(key);
            }
            0x94 => {
                let key = u32::try_from(self.memo.len());
                return self.remember(key.map_err(|_| broken("too long"))?);
            }
            b'h' => {
                let key = self.byte()?;
                self.remembered(key.into())?
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.remembered(key)?
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                known(module, name)?
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(broken("with a name that is no string"));
                };
                known(module, name)?
            }
            // BINPERSID, REDUCE, BUILD
            b'Q' => self.storage()?,
            b'R' => {
                let arguments = self.pop_tuple()?;
                match self.pop()? {
                    Value::Function(function) => self.call(function, &arguments)?,
                    other => return Err(broken(format!("that calls {}", other.kind()))),
                }
            }
            b'b' => {
                // The attributes of an ordered dictionary, where PyTorch keeps the versions of its modules.
                let _attributes = self.pop()?;
                return match self.stack.last() {
                    Some(Value::Dictionary(_)) => Ok(()),
                    _ => Err(Problem::Asks("the attributes of an object".into())),
                };
            }
            // Among the others are those that build an object of any class.
            other => return Err(Problem::Asks(format!("the operation 0x{other:02x}"))),
        };
        self.stack.push(value);
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| broken("that ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Problem> {
        let bytes = self.take(LENGTH)?;
        Ok(bytes.try_into().expect("as many bytes were taken"))
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        self.array().map(|[byte]| byte)
    }

    fn line(&mut self) -> Result<&'a str, Problem> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let line = self.take(end.ok_or_else(|| broken("that ends too early"))?)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| broken("with a name that is not UTF-8"))
    }

    fn text(&mut self, length: u64) -> Result<Value<'a>, Problem> {
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let text = std::str::from_utf8(bytes);
        Ok(Value::Text(text.map_err(|_| broken("with a string that is not UTF-8"))?))
    }

    /// An integer of as many bytes as its first byte says, the last of which has the sign.
    fn long(&mut self) -> Result<Value<'a>, Problem> {
        let length = self.byte()?.into();
        let bytes = self.take(length)?;
        let mut wide = match bytes.last() {
            Some(byte) if *byte >= 0x80 => [0xff; 8],
            _ => [0; 8],
        };
        let place = wide.get_mut(..length);
        place.ok_or_else(|| broken("with an integer of more than 64 bits"))?.copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn pop(&mut self) -> Result<Value<'a>, Problem> {
        if self.marks.last() == Some(&self.stack.len()) {
            return Err(broken("that takes more values than it has"));
        }
        self.stack.pop().ok_or_else(|| broken("that takes more values than it has"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, Problem> {
        let mark = self.marks.pop().ok_or_else(|| broken("that takes more values than it has"))?;
        Ok(self.stack.split_off(mark))
    }

    fn pop_tuple(&mut self) -> Result<Vec<Value<'a>>, Problem> {
        match self.pop()? {
            Value::Tuple(place) => self.short(place).map(<[_]>::to_vec),
            other => Err(broken(format!("with {} in the place of a tuple", other.kind()))),
        }
    }

    /// A sequence that is to be copied: one of many values could be asked for many times.
    fn short(&self, place: usize) -> Result<&[Value<'a>], Problem> {
        let sequence = &self.pickle.sequences[place][..];
        let is_short = sequence.len() <= LONGEST_TUPLE;
        is_short.then_some(sequence).ok_or_else(|| broken("with a tuple of too many values"))
    }

    fn tuple(&mut self, values: Vec<Value<'a>>) -> Value<'a> {
        self.pickle.sequences.push(values);
        Value::Tuple(self.pickle.sequences.len() - 1)
    }

    fn empty_dictionary(&mut self) -> Value<'a> {
        self.pickle.dictionaries.push(Vec::new());
        Value::Dictionary(self.pickle.dictionaries.len() - 1)
    }

    fn append(&mut self, values: Vec<Value<'a>>) -> Result<(), Problem> {
        let Some(Value::List(place)) = self.stack.last() else {
            return Err(broken("that appends to no list"));
        };
        self.pickle.sequences[*place].extend(values);
        Ok(())
    }

    fn set(&mut self, entries: &[Value<'a>]) -> Result<(), Problem> {
        let Some(Value::Dictionary(place)) = self.stack.last() else {
            return Err(broken("that sets an entry of no dictionary"));
        };
        let (pairs, rest) = entries.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(broken("with a key that has no value"));
        }
        self.pickle.dictionaries[*place].extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), Problem> {
        let value = self.stack.last().ok_or_else(|| broken("that remembers nothing"))?;
        self.memo.insert(key, *value);
        Ok(())
    }

    fn remembered(&self, key: u32) -> Result<Value<'a>, Problem> {
        self.memo.get(&key).copied().ok_or_else(|| broken("that remembers what never was"))
    }

    /// A storage by `("storage", its type, its name in the archive, a device, its elements)`.
    fn storage(&mut self) -> Result<Value<'a>, Problem> {
        let fields = self.pop_tuple()?;
        let [Value::Text("storage"), Value::StorageType(dtype), Value::Text(name), _, count] =
            fields[..]
        else {
            return Err(broken("with a storage that is not described as one"));
        };
        let Value::Int(count) = count else {
            return Err(broken("with a storage of no length"));
        };
        let n_elements = usize::try_from(count).map_err(|_| broken("with a negative length"))?;
        self.pickle.storages.push(Storage { name, dtype, n_elements });
        Ok(Value::Storage(self.pickle.storages.len() - 1))
    }

    fn call(&mut self, function: Function, arguments: &[Value<'a>]) -> Result<Value<'a>, Problem> {
        match (function, arguments) {
            (Function::OrderedDict, []) => Ok(self.empty_dictionary()),
            // The storage, its offset, the shape, the strides; whether it is trained, hooks, and metadata do not matter.
            (
                Function::RebuildTensor,
                &[Value::Storage(storage), offset, Value::Tuple(shape), Value::Tuple(strides), ..],
            ) => {
                let storage = self.pickle.storages[storage].clone();
                let sizes = |place: usize| {
                    self.short(place)?.iter().map(size).collect::<Result<Vec<_>, _>>()
                };
                let view =
                    StoredView::new(storage, size(&offset)?, sizes(shape)?, sizes(strides)?)?;
                self.pickle.views.push(view);
                Ok(Value::Tensor(self.pickle.views.len() - 1))
            }
            (Function::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
            _ => Err(broken(format!("that calls {function:?} with other arguments than PyTorch"))),
        }
    }
}

/// What a name of Python stands for, if it is one of the few.
fn known<'a>(module: &str, name: &str) -> Result<Value<'a>, Problem> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Value::Function(Function::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => Value::Function(Function::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Value::Function(Function::RebuildParameter),
        ("torch", name) if let Some(dtype) = element_type(name) => Value::StorageType(dtype),
        _ => return Err(Problem::Asks(format!("{module}.{name}"))),
    })
}

fn size(value: &Value<'_>) -> Result<usize, Problem> {
    match value {
        Value::Int(size) => {
            usize::try_from(*size).map_err(|_| broken("with a tensor of a negative size"))
        }
        other => Err(broken(format!("with {} for a size of a tensor", other.kind()))),
    }
}

fn broken(what: impl std::fmt::Display) -> Problem {
    Problem::Broken(format!("it has a pickle {what}"))
}

#[cfg(test)]
mod tests {
    use emberline_core::Stream;

    use super::*;

    fn root(pickle: &[u8]) -> String {
        match Pickle::read(pickle) {
            Ok(pickle) => format!("{:?}", pickle.root),
            Err(Problem::Broken(reason)) => reason,
            Err(problem) => format!("{problem:?}"),
        }
    }

    #[test]
    fn numbers_are_those_that_python_wrote() {
        for (pickle, expected) in [
            (&b"K\xff."[..], "Int(255)"),
            (b"M\x01\x02.", "Int(513)"),
            (b"J\xfe\xff\xff\xff.", "Int(-2)"),
            (b"\x8a\x00.", "Int(0)"),
            (b"\x8a\x02\xff\x00.", "Int(255)"),
            (b"\x8a\x01\xff.", "Int(-1)"),
            (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", "Int(-9223372036854775808)"),
            (b"G\x3f\xe0\x00\x00\x00\x00\x00\x00.", "Float(0.5)"),
        ] {
            assert_eq!(root(pickle), expected);
        }
        let wide = root(b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.");
        assert_eq!(wide, "it has a pickle with an integer of more than 64 bits");
    }

    #[test]
    fn what_runs_code_in_python_is_refused_by_name() {
        for (pickle, asked) in [
            (&b"cos\nsystem\n(U\x02lstR."[..], "os.system"),
            (b"cbuiltins\neval\n.", "builtins.eval"),
            (b"ctorch\nload\n.", "torch.load"),
            (b"\x8c\x02os\x8c\x06system\x93.", "os.system"),
            (b"ccollections\nOrderedDict\n)\x81.", "the operation 0x81"),
            (b"(ios\nsystem\n.", "the operation 0x69"),
            (b"K\x01}b.", "the attributes of an object"),
        ] {
            assert_eq!(root(pickle), format!("Asks({asked:?})"));
        }
    }

    #[test]
    fn a_dictionary_within_itself_and_a_million_nested_tuples_are_read() {
        assert_eq!(root(b"}q\x00X\x01\x00\x00\x00ah\x00s."), "Dictionary(0)");
        let nested = [&b")"[..], &b"\x85".repeat(1_000_000), b"."].concat();
        assert_eq!(root(&nested), "Tuple(1000000)");
    }

    #[test]
    fn a_view_beyond_its_storage_is_an_error() {
        let tensor = |n_elements: u8, offset: u8, shape: u8, stride: u8| {
            let head = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n";
            let name =
                [&b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK"[..], &[n_elements], b"tQK", &[offset]]
                    .concat();
            let axes = [&b"K"[..], &[shape], b"\x85K", &[stride], b"\x85\x89)tR."].concat();
            root(&[&head[..], &name, &axes].concat())
        };
        assert_eq!(tensor(6, 1, 3, 2), "Tensor(0)");
        for (n_elements, offset, shape, stride) in [(5, 1, 3, 2), (6, 4, 3, 1), (2, 0, 3, 0)] {
            let reason = tensor(n_elements, offset, shape, stride);
            assert!(
                reason.ends_with(&format!("the {n_elements} elements of storage \"0\"")),
                "{reason}"
            );
        }
    }

    #[test]
    fn any_bytes_are_a_pickle_or_an_error() {
        let operations = b".N()}]tbuseaRQqhrj\x80\x85\x86\x87\x88\x8a\x93\x94KMJXc";
        for seed in 0..2_000 {
            let stream = Stream::new(seed);
            let byte = |index: u64| match stream.below(2 * index, 4) {
                0 => stream.below(2 * index + 1, 256) as u8,
                _ => operations[stream.below(2 * index + 1, operations.len())],
            };
            let bytes: Vec<u8> = (0..60).map(byte).collect();
            let _ = Pickle::read(&bytes);
        }
    }
}
