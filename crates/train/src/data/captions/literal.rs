//! Python literals: texts, numbers, lists and what else `ast.literal_eval` reads.

use super::CaptionError;

/// How deep lists may be in lists.
const MOST_DEPTH: usize = 64;

/// A Python literal, as far as captions need it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    /// A string.
    Text(String),
    /// A list, a tuple or a set.
    List(Vec<Literal>),
    /// A number, a name such as `None`, bytes or a dictionary: never a caption.
    Other,
}

impl Literal {
    /// Parses a whole text.
    pub(super) fn parse(text: &str) -> Result<Self, CaptionError> {
        let mut parser = Parser { text, at: 0 };
        parser.space();
        let literal = parser.literal(0)?;
        parser.space();
        if parser.at < text.len() {
            return Err(parser.error("the end of the text"));
        }
        Ok(literal)
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, expected: &'static str) -> CaptionError {
        CaptionError::Literal { expected, at: self.at }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Passes over `token` if it is next.
    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn literal(&mut self, depth: usize) -> Result<Literal, CaptionError> {
        if depth > MOST_DEPTH {
            return Err(self.error("fewer lists in lists"));
        }
        match self.rest().bytes().next() {
            Some(b'[') => self.list("]", depth),
            Some(b'(') => self.list(")", depth),
            Some(b'{') => self.list("}", depth),
            Some(b'0'..=b'9' | b'+' | b'-' | b'.') => self.number(),
            Some(b'"' | b'\'') => self.strings(),
            Some(_) if self.string_prefix().is_some() => self.strings(),
            _ => self.name(),
        }
    }

    /// Parses a list, a tuple, a set or a dictionary, or a literal in parentheses.
    fn list(&mut self, close: &str, depth: usize) -> Result<Literal, CaptionError> {
        self.at += 1;
        let mut items = Vec::new();
        let (mut has_comma, mut has_values) = (false, false);
        loop {
            self.space();
            if self.eat(close) {
                break;
            }
            if !items.is_empty() && !has_comma {
                return Err(self.error("a comma or the end of the list"));
            }
            items.push(self.literal(depth + 1)?);
            self.space();
            if close == "}" && self.eat(":") {
                self.space();
                self.literal(depth + 1)?;
                self.space();
                has_values = true;
            }
            has_comma = self.eat(",");
        }
        if close == ")" && items.len() == 1 && !has_comma {
            return Ok(items.remove(0));
        }
        // `{}` is a dictionary too.
        let is_map = has_values || (close == "}" && items.is_empty());
        Ok(if is_map { Literal::Other } else { Literal::List(items) })
    }

    fn number(&mut self) -> Result<Literal, CaptionError> {
        self.at += usize::from(self.rest().starts_with(['+', '-']));
        self.space();
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_');
        let rest = self.rest();
        let mut len = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        // An exponent has a sign of its own.
        if rest[..len].ends_with(['e', 'E']) && !rest.starts_with("0x") {
            let after = &rest[len..];
            if let Some(digits) = after.strip_prefix(['+', '-']) {
                len += 1 + digits.find(|letter| !is_part(letter)).unwrap_or(digits.len());
            }
        }
        if !rest[..len].contains(|letter: char| letter.is_ascii_digit()) {
            return Err(self.error("a number"));
        }
        self.at += len;
        Ok(Literal::Other)
    }

    fn name(&mut self) -> Result<Literal, CaptionError> {
        for name in ["None", "True", "False"] {
            if self.eat(name) {
                return Ok(Literal::Other);
            }
        }
        Err(self.error("a literal"))
    }

    /// Returns the letters before the quotes of a string, if a string is next.
    fn string_prefix(&self) -> Option<&'a str> {
        let rest = self.rest();
        let len = rest.find(['"', '\''])?;
        let prefix = &rest[..len];
        let known = ["", "r", "u", "b", "br", "rb"];
        known.iter().any(|known| prefix.eq_ignore_ascii_case(known)).then_some(prefix)
    }

    /// Parses strings that stand next to each other, which are one.
    fn strings(&mut self) -> Result<Literal, CaptionError> {
        let mut text = String::new();
        let mut has_bytes = false;
        while let Some(prefix) = self.string_prefix() {
            self.at += prefix.len();
            let is_raw = prefix.contains(['r', 'R']);
            let is_bytes = prefix.contains(['b', 'B']);
            has_bytes |= is_bytes;
            self.string(is_raw, is_bytes, &mut text)?;
            self.space();
        }
        Ok(if has_bytes { Literal::Other } else { Literal::Text(text) })
    }

    fn string(
        &mut self,
        is_raw: bool,
        is_bytes: bool,
        text: &mut String,
    ) -> Result<(), CaptionError> {
        let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| self.eat(quote));
        let quote = quote.ok_or_else(|| self.error("a quote"))?;
        loop {
            if self.eat(quote) {
                return Ok(());
            }
            let letter = self.rest().chars().next().ok_or_else(|| self.error("a closing quote"))?;
            if letter == '\n' && quote.len() == 1 {
                return Err(self.error("a closing quote"));
            }
            self.at += letter.len_utf8();
            if letter != '\\' {
                text.push(letter);
            } else if is_raw {
                // A raw string keeps the backslash, and the quote after it.
                text.push('\\');
                let next =
                    self.rest().chars().next().ok_or_else(|| self.error("a closing quote"))?;
                self.at += next.len_utf8();
                text.push(next);
            } else {
                self.escape(is_bytes, text)?;
            }
        }
    }

    /// Parses what follows a backslash.
    fn escape(&mut self, is_bytes: bool, text: &mut String) -> Result<(), CaptionError> {
        let letter = self.rest().chars().next().ok_or_else(|| self.error("a closing quote"))?;
        self.at += letter.len_utf8();
        let plain = match letter {
            '\n' => return Ok(()),
            '\\' | '\'' | '"' => letter,
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'x' => self.code(2, 16)?,
            'u' if !is_bytes => self.code(4, 16)?,
            'U' if !is_bytes => self.code(8, 16)?,
            'N' if !is_bytes => return Err(self.error("no character by its name")),
            '0'..='7' => {
                self.at -= 1;
                let rest = self.rest().bytes().take(3);
                let len = rest.take_while(|digit| (b'0'..=b'7').contains(digit)).count();
                self.code(len, 8)?
            }
            unknown => {
                text.push('\\');
                unknown
            }
        };
        text.push(plain);
        Ok(())
    }

    /// Parses a character's number of `len` digits; half of a pair becomes the mark of a broken
    /// character.
    fn code(&mut self, len: usize, base: u32) -> Result<char, CaptionError> {
        let digits = self.rest().get(..len).filter(|digits| !digits.starts_with('+'));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, base).ok());
        let number = number.ok_or_else(|| self.error("the number of a character"))?;
        if number > u32::from(char::MAX) {
            return Err(self.error("the number of a character"));
        }
        self.at += len;
        Ok(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}
