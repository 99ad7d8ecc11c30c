use std::str::FromStr;

/// A caller's own name for one submit: 1 to 255 visible ASCII characters. The same submit under the same key is one
/// job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The text cannot be an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to 255 visible ASCII characters, bare or in double quotes")]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    const MAX_CHARS: usize = 255;

    /// The key, without quotes around it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    /// Reads a key as clients write it: bare, or as the draft of the header's standard has it, in double quotes. Both
    /// are the same key. What stands between the quotes is taken as it is.
    fn from_str(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        let key = match text.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"').ok_or(InvalidIdempotencyKey)?,
            None => text,
        };
        let is_valid = (1..=Self::MAX_CHARS).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if is_valid { Ok(Self(key.to_owned())) } else { Err(InvalidIdempotencyKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_with_quotes_and_without() {
        let key = |text: &str| text.parse::<IdempotencyKey>();
        assert_eq!(key("8e03978e-40d5"), key("\"8e03978e-40d5\""));
        let longest = "x".repeat(255);
        assert_eq!(key(&longest), key(&format!("\"{longest}\"")));
        for bad in
            ["", "\"", "\"\"", "\"a", "a b", "a\tb", "キー", &"x".repeat(256), &format!("\"{}\"", "x".repeat(256))]
        {
            assert_eq!(key(bad), Err(InvalidIdempotencyKey), "{bad:?}");
        }
    }
}
