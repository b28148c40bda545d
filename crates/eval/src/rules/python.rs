//! What Python means by white space, digits, numbers and lists: the rules were written in it.

/// The zero of every run of ten decimal digits in Unicode.
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// The longest integer that Python reads from text.
const MAX_DIGITS: usize = 4300;

/// Returns whether `str.split()` splits at a character.
pub fn is_space(c: char) -> bool {
    // Python counts four separators of old as white space, Unicode does not.
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// Returns the value of a decimal digit of any script.
pub fn digit(c: char) -> Option<u8> {
    if c.is_ascii() {
        return c.to_digit(10).map(|digit| digit as u8);
    }
    let code = c as u32;
    let at = ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?;
    // Runs are ten long, so the rest fits.
    (code - ZEROS[at] < 10).then(|| (code - ZEROS[at]) as u8)
}

/// Returns whether a character is a decimal digit of any script.
pub fn is_digit(c: char) -> bool {
    digit(c).is_some()
}

/// Splits as `str.split()` does.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Returns text without white space around it, and digits as ASCII.
fn plain(text: &str) -> String {
    // Python turns other white space than ASCII's into spaces first, and then removes the white
    // space of C, to which the four separators of old do not belong.
    let as_ascii = |c: char| match c {
        c if c.is_ascii() => c,
        c if is_space(c) => ' ',
        c => digit(c).map_or(c, |value| char::from(b'0' + value)),
    };
    let text: String = text.chars().map(as_ascii).collect();
    text.trim_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']).to_owned()
}

/// Removes underscores between digits; none if one is elsewhere.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let is_digit =
            |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        if *byte == b'_' && !(is_digit(at.checked_sub(1)) && is_digit(Some(at + 1))) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

/// Reads an integer as `int(text)` does: its digits without leading zeros, with a sign if it is
/// below zero.
pub fn int(text: &str) -> Option<String> {
    let text = plain(text);
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text.as_str()),
    };
    let digits = without_underscores(digits)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    Some(match (digits, negative) {
        ("", _) => "0".to_owned(),
        (digits, true) => format!("-{digits}"),
        (digits, false) => digits.to_owned(),
    })
}

/// Reads a number as `float(text)` does.
pub fn float(text: &str) -> Option<f64> {
    let text = without_underscores(&plain(text))?;
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let is_word = ["inf", "infinity", "nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word));
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if is_word || is_number { text.parse().ok() } else { None }
}

/// A value of a list literal.
#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Text(String),
    /// Anything that is not in quotes, as `str()` shows it.
    Bare(String),
}

/// Reads a list literal such as `['3/11', "8/11", 5]`; the values as `str()` shows them.
///
/// Returns none for anything else.
pub fn list(text: &str) -> Option<Vec<String>> {
    let inner = text.trim_matches(is_space);
    let inner = inner.strip_prefix('[').or_else(|| inner.strip_prefix('('))?;
    let inner = inner.strip_suffix(']').or_else(|| inner.strip_suffix(')'))?;
    let mut items = Vec::new();
    let mut rest = inner.trim_start_matches(is_space);
    while !rest.is_empty() {
        let (item, tail) = literal(rest)?;
        let mut item = item;
        let mut tail = tail.trim_start_matches(is_space);
        // Strings side by side are one string.
        while let Literal::Text(text) = &mut item
            && tail.starts_with(['\'', '"'])
        {
            let (Literal::Text(more), after) = literal(tail)? else { return None };
            text.push_str(&more);
            tail = after.trim_start_matches(is_space);
        }
        items.push(match item {
            Literal::Text(text) | Literal::Bare(text) => text,
        });
        rest = match tail.strip_prefix(',') {
            Some(after) => after.trim_start_matches(is_space),
            None if tail.is_empty() => tail,
            None => return None,
        };
    }
    Some(items)
}

/// Reads the value at the start of text, and returns what follows it.
fn literal(text: &str) -> Option<(Literal, &str)> {
    let quote = text.chars().next()?;
    if quote == '\'' || quote == '"' {
        return quoted(&text[1..], quote);
    }
    let end = text.find(',').unwrap_or(text.len());
    let bare = text[..end].trim_end_matches(is_space);
    let value = match bare {
        "None" | "True" | "False" => bare.to_owned(),
        _ => match int(bare) {
            Some(int) => int,
            None => float_text(float(bare)?),
        },
    };
    Some((Literal::Bare(value), &text[end..]))
}

/// Reads a string up to its closing quote.
fn quoted(text: &str, quote: char) -> Option<(Literal, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((Literal::Text(value), &text[at + 1..]));
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        let (_, escaped) = chars.next()?;
        let mut code = |digits: usize| {
            let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
            u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32)
        };
        match escaped {
            'n' => value.push('\n'),
            't' => value.push('\t'),
            'r' => value.push('\r'),
            'x' => value.push(code(2)?),
            'u' => value.push(code(4)?),
            'U' => value.push(code(8)?),
            '\\' | '\'' | '"' => value.push(escaped),
            '\n' => {}
            other => value.extend(['\\', other]),
        }
    }
    None
}

/// Returns a number as `str(float)` shows it.
pub fn float_text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_python_reads_them() {
        for (text, expected) in [
            ("14", Some("14")),
            (" -007\n", Some("-7")),
            ("\x1c3", None),
            ("\x1c\u{664}", None),
            ("\u{664}\x1f", None),
            ("\u{85}\u{664}\u{3000}", Some("4")),
            ("+0", Some("0")),
            ("1_000", Some("1000")),
            ("\u{ff11}\u{0664}", Some("14")),
            ("14.0", None),
            ("1__0", None),
            ("_1", None),
            ("- 3", None),
            ("", None),
            ("0x10", None),
        ] {
            assert_eq!(int(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(int(&"9".repeat(4301)), None);
        for (text, expected) in [
            ("1.20", Some(1.2)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("1_0.5", Some(10.5)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("1,5", None),
            (".", None),
            ("infinite", None),
            ("0.6 or so", None),
        ] {
            assert_eq!(float(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lists_are_read_as_python_reads_them() {
        let read = |text| list(text).map(|items| items.join("|"));
        assert_eq!(read("['3/11', '8/11']").as_deref(), Some("3/11|8/11"));
        assert_eq!(
            read("[\"it's\", 'a, b', 'x\\ty', 5, 1.50]").as_deref(),
            Some("it's|a, b|x\ty|5|1.5")
        );
        assert_eq!(read("['a' 'b',]").as_deref(), Some("ab"));
        assert_eq!(read("[]").as_deref(), Some(""));
        for broken in ["['a'", "['a' 5]", "a", "[a]", "['a\\"] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn floats_are_shown_as_python_shows_them() {
        for (value, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (1e15, "1000000000000000.0"),
        ] {
            assert_eq!(float_text(value), expected);
        }
    }
}
