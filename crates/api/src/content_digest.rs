//! `Content-Digest` (RFC 9530), of which only SHA-256 is ours.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderName;

/// The header.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// The header's value is no dictionary of digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed;

const ALGORITHM: &str = "sha-256";
const SHA256_BYTES: usize = 32;

/// The header's value for a body with this SHA-256, which is in base64.
pub fn render(sha256: &str) -> String {
    format!("{ALGORITHM}=:{sha256}:")
}

/// The SHA-256, in base64, that the header's value names; `None` where it names only digests of other algorithms. Of
/// two, the last counts, as in every dictionary of RFC 9651.
pub fn parse(value: &str) -> Result<Option<String>, Malformed> {
    let mut sha256 = None;
    for member in value.split(',') {
        let (algorithm, digest) = member.trim().split_once('=').ok_or(Malformed)?;
        let digest = digest.strip_prefix(':').and_then(|digest| digest.strip_suffix(':')).ok_or(Malformed)?;
        let bytes = BASE64_STANDARD.decode(digest).map_err(|_| Malformed)?;
        if algorithm == ALGORITHM {
            sha256 = Some(digest.to_owned()).filter(|_| bytes.len() == SHA256_BYTES);
            sha256.as_ref().ok_or(Malformed)?;
        }
    }
    Ok(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=";

    #[test]
    fn the_digest_is_read_as_it_is_written() {
        assert_eq!(parse(&render(SHA256)), Ok(Some(SHA256.to_owned())));
        assert_eq!(parse(&format!("md5=:AAAA:, {}", render(SHA256))), Ok(Some(SHA256.to_owned())));
        assert_eq!(parse("sha-512=:AAAA:"), Ok(None));
    }

    #[test]
    fn what_is_no_dictionary_of_digests_is_malformed() {
        for bad in
            ["", "sha-256", "sha-256=", "sha-256=::", "sha-256=:AAAA:", "sha-256=AAAA", "sha-256=:?:", "md5=:AAAA:,"]
        {
            assert_eq!(parse(bad), Err(Malformed), "{bad:?}");
        }
    }
}
