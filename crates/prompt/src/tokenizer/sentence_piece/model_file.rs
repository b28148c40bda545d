//! The few fields of a `tokenizer.model` (a protocol buffer) that matter here.

/// The model type of a file that does not say it.
const UNIGRAM: u64 = 1;
/// The only model type that is read here.
const BPE: u64 = 2;

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// One entry of the vocabulary; its id is its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PieceEntry {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// A `tokenizer.model`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelFile {
    pub(super) pieces: Vec<PieceEntry>,
    pub(super) byte_fallback: bool,
    pub(super) unknown_surface: String,
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    model_type: u64,
    /// What it needs that is not known here.
    unsupported: Option<&'static str>,
}

impl ModelFile {
    /// Parses the file; the error says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut model = Self {
            pieces: Vec::new(),
            byte_fallback: false,
            unknown_surface: " \u{2047} ".to_owned(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            model_type: UNIGRAM,
            unsupported: None,
        };
        let mut fields = Fields { rest: bytes };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Bytes(piece)) => model.pieces.push(piece_entry(piece)?),
                (2, Value::Bytes(spec)) => model.read_trainer_spec(spec)?,
                (3, Value::Bytes(spec)) => model.read_normalizer_spec(spec)?,
                _ => {}
            }
        }
        if model.pieces.is_empty() {
            return Err("it holds no pieces".to_owned());
        }
        if model.model_type != BPE {
            return Err("its model type is not BPE".to_owned());
        }
        match model.unsupported {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(model),
        }
    }

    fn read_trainer_spec(&mut self, spec: &[u8]) -> Result<(), String> {
        let mut fields = Fields { rest: spec };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (3, Value::Integer(kind)) => self.model_type = kind,
                (24, Value::Integer(1..)) => {
                    self.unsupported = Some("it treats white space as a suffix");
                }
                (35, Value::Integer(flag)) => self.byte_fallback = flag != 0,
                (44, Value::Bytes(surface)) => self.unknown_surface = text(surface)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer_spec(&mut self, spec: &[u8]) -> Result<(), String> {
        let mut fields = Fields { rest: spec };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (2, Value::Bytes([_, ..])) => self.unsupported = Some("it normalises by a table"),
                (3, Value::Integer(flag)) => self.add_dummy_prefix = flag != 0,
                (4, Value::Integer(flag)) => self.remove_extra_whitespaces = flag != 0,
                (5, Value::Integer(0)) => {
                    self.unsupported = Some("it does not escape white space");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn piece_entry(bytes: &[u8]) -> Result<PieceEntry, String> {
    let mut piece = PieceEntry { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    let mut fields = Fields { rest: bytes };
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => piece.text = text(bytes)?,
            (2, Value::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Value::Integer(kind)) => {
                piece.kind = match kind {
                    1 => PieceKind::Normal,
                    2 => PieceKind::Unknown,
                    3 => PieceKind::Control,
                    4 => PieceKind::UserDefined,
                    5 => PieceKind::Unused,
                    6 => PieceKind::Byte,
                    _ => return Err(format!("it holds a piece of unknown type `{kind}`")),
                }
            }
            _ => {}
        }
    }
    Ok(piece)
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "it holds text that is not UTF-8".to_owned())
}

/// A field's value; 64-bit ones do not matter here.
enum Value<'a> {
    Integer(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message that are not read yet.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Returns the next field's number and value.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.integer()?;
        let value = match key & 7 {
            0 => Value::Integer(self.integer()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let len = self.integer()?;
                Value::Bytes(self.take(len)?)
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            kind => return Err(format!("it is not a SentencePiece model: wire type {kind}")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn integer(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("it is not a SentencePiece model: an integer does not end".to_owned())
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (taken, rest) = split.ok_or("it is truncated, or not a SentencePiece model")?;
        self.rest = rest;
        Ok(taken)
    }
}
