use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of one of the lab's programs, such as `soc`: 1 to 64 letters, digits, `-` or `_`, a letter or digit first.
///
/// It stands in URLs, IAM policies and request files, and lab programs may use it as a folder's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiName(String);

/// The text cannot name an api.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an api name: {0:?} (expected 1 to 64 letters, digits, - or _, a letter or digit first)")]
pub struct InvalidApiName(String);

impl ApiName {
    const MAX_CHARS: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(name: &str) -> bool {
        name.len() <= Self::MAX_CHARS
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    }
}

impl FromStr for ApiName {
    type Err = InvalidApiName;

    fn from_str(name: &str) -> Result<Self, InvalidApiName> {
        if Self::is_valid(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidApiName(name.chars().take(Self::MAX_CHARS).collect()))
        }
    }
}

impl TryFrom<String> for ApiName {
    type Error = InvalidApiName;

    fn try_from(name: String) -> Result<Self, InvalidApiName> {
        name.parse()
    }
}

impl From<ApiName> for String {
    fn from(name: ApiName) -> Self {
        name.0
    }
}

impl fmt::Display for ApiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_harmless_in_urls_policies_and_paths() {
        let longest = "a".repeat(64);
        for good in ["soc", "SOC-2", "0_a", &longest] {
            assert!(good.parse::<ApiName>().is_ok(), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in ["", "..", "-soc", "so c", "soc/x", "soc%2Fx", "電池", "soc\n", "*", &too_long] {
            assert!(bad.parse::<ApiName>().is_err(), "{bad}");
        }
    }
}
