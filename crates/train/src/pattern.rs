//! Names of tensors by pattern.

/// Returns whether a pattern, in which `*` stands for any characters, is the whole of a name.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Returns whether one of the patterns is the whole of a name.
pub(crate) fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, is_match) in [
            ("vision_encoder.*", "vision_encoder.embeddings.weight", true),
            ("vision_encoder.*", "vision_tokenizer.latents", false),
            ("*.bias", "a.b.bias", true),
            ("*.bias", "a.bias.weight", false),
            ("a.*.b.*.c", "a.1.b.2.c", true),
            ("a.*.b.*.c", "a.1.b.c", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }
}
