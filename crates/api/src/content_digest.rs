//! `Content-Digest` (RFC 9530): what a body was before it was sent. Both sides check it here, the functions what they
//! are sent and the client what it fetched.
//!
//! Of the algorithms only SHA-256 is ours. A digest that cannot be checked is an error, and never passed over: whoever
//! sends one wants it checked.
//!
//! Read by hand, and not by a parser of structured fields (RFC 9651): such a parser has to refuse `SHA-256`, which the
//! header `Digest` before this one allowed and programs still write.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use http::HeaderName;
use sha2::{Digest, Sha256};

/// The header.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

const ALGORITHM: &str = "sha-256";

/// RFC 9651 asks its readers to take a byte sequence without padding, or with odd bits at its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The digest of a body.
///
/// ```
/// use bcrlapi_api::ContentDigest;
///
/// let digest: ContentDigest = "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:".parse()?;
/// assert_eq!(digest, ContentDigest::of(b"{}"));
/// assert_ne!(digest, ContentDigest::of(b"{} "));
/// # Ok::<(), bcrlapi_api::InvalidContentDigest>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentDigest {
    sha256: [u8; 32],
}

/// Why a header's value is no digest that can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContentDigest {
    /// It is no dictionary of digests, or its SHA-256 has not 32 bytes.
    #[error("it is malformed (RFC 9530)")]
    Malformed,
    /// All its digests are of other algorithms.
    #[error("it has no sha-256, the only algorithm that is checked here")]
    Unsupported,
}

impl ContentDigest {
    /// The digest of these bytes.
    pub fn of(body: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(body).into())
    }

    /// The digest of a body that was hashed piece by piece.
    pub fn from_sha256(sha256: [u8; 32]) -> Self {
        Self { sha256 }
    }
}

impl FromStr for ContentDigest {
    type Err = InvalidContentDigest;

    /// Reads a header's value; several header lines are one value when joined by commas. The algorithm's name is taken in
    /// any letter case. Where SHA-256 comes twice the last one counts, as in every dictionary of RFC 9651.
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let mut found = None;

        for member in value.split(',') {
            let (algorithm, bytes) = parse_member(member).ok_or(InvalidContentDigest::Malformed)?;

            if algorithm.eq_ignore_ascii_case(ALGORITHM) {
                let sha256 = bytes.try_into().map_err(|_| InvalidContentDigest::Malformed)?;
                found = Some(Self { sha256 });
            }
        }

        found.ok_or(InvalidContentDigest::Unsupported)
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&render(&BASE64_STANDARD.encode(self.sha256)))
    }
}

/// The header's value for a body with this SHA-256, which is in base64.
pub fn render(sha256: &str) -> String {
    format!("{ALGORITHM}=:{sha256}:")
}

/// `ALGORITHM=:BASE64:`, and behind it parameters, which no algorithm has and nobody reads.
fn parse_member(member: &str) -> Option<(&str, Vec<u8>)> {
    let (algorithm, value) = member.trim().split_once('=')?;
    let (base64, parameters) = value.strip_prefix(':')?.split_once(':')?;

    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.*".contains(&byte);
    if algorithm.is_empty() || !algorithm.bytes().all(is_name) {
        return None;
    }
    if !parameters.is_empty() && !parameters.starts_with(';') {
        return None;
    }

    let bytes = BASE64.decode(base64).ok()?;
    Some((algorithm, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=";

    fn parse(value: &str) -> Result<ContentDigest, InvalidContentDigest> {
        value.parse()
    }

    #[test]
    fn the_digest_is_read_as_it_is_written() {
        let digest = ContentDigest::of(b"{}");

        assert_eq!(digest.to_string(), render(SHA256));
        assert_eq!(parse(&digest.to_string()), Ok(digest));
    }

    #[test]
    fn a_body_is_compared_whole_or_piece_by_piece() {
        let digest = parse(&render(SHA256)).unwrap();
        assert_eq!(digest, ContentDigest::of(b"{}"));
        assert_ne!(digest, ContentDigest::of(b"[]"));
        assert_ne!(digest, ContentDigest::of(b""));

        let mut pieces = Sha256::new();
        pieces.update(b"{");
        assert_ne!(digest, ContentDigest::from_sha256(pieces.clone().finalize().into()));
        pieces.update(b"}");
        assert_eq!(digest, ContentDigest::from_sha256(pieces.finalize().into()));
    }

    #[test]
    fn the_digest_is_found_in_any_letter_case_and_among_others() {
        let others = [
            format!("SHA-256=:{SHA256}:"),
            format!("Sha-256=:{SHA256}:"),
            format!("  sha-256=:{SHA256}:\t"),
            format!("sha-256=:{}:", SHA256.trim_end_matches('=')),
            format!("sha-256=:{SHA256}:;note=1"),
            format!("md5=:AAAA:, {}", render(SHA256)),
            format!("{},sha-512=:AAAA:", render(SHA256)),
            format!("sha-256=:{}:, {}", "A".repeat(43), render(SHA256)),
        ];

        for value in others {
            assert!(parse(&value) == Ok(ContentDigest::of(b"{}")), "{value}");
        }
    }

    #[test]
    fn base64_has_only_one_letter_case() {
        assert_ne!(parse(&render(&SHA256.to_lowercase())), Ok(ContentDigest::of(b"{}")));
    }

    #[test]
    fn digests_of_other_algorithms_only_are_not_passed_over() {
        for value in ["sha-512=:AAAA:", "md5=:AAAA:, crc32c=:AAAA:", "sha256=:AAAA:"] {
            assert_eq!(parse(value), Err(InvalidContentDigest::Unsupported), "{value}");
        }
    }

    #[test]
    fn what_is_no_dictionary_of_digests_is_malformed() {
        let hex = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        for bad in [
            "",
            ",",
            "sha-256",
            "sha-256=",
            "sha-256=::",
            "sha-256=:AAAA:",
            "sha-256=AAAA",
            "sha-256=:?:",
            "md5=:AAAA:,",
            "=:AAAA:",
            SHA256,
            &format!("sha-256={SHA256}"),
            &format!("sha-256=\"{SHA256}\""),
            &format!("sha-256=:{SHA256}"),
            &format!("sha-256=:{SHA256}:x"),
            &format!("sha-256 =:{SHA256}:"),
            &format!("sha-256=:{hex}:"),
            &format!("sha-256=:{}:", SHA256.replace('/', "_")),
            // One that is right does not make good of one that is not.
            &format!("{}, md5", render(SHA256)),
        ] {
            assert_eq!(parse(bad), Err(InvalidContentDigest::Malformed), "{bad:?}");
        }
    }
}
