//! Where a page of a list ended.
//!
//! A cursor is the last job's id and the beginning of a digest of it and its owner. The digest is no secret and keeps
//! nothing from anybody: whatever a cursor says, the query is bound to the caller's own jobs. It is there so that a
//! cursor that was damaged or mixed up is an error, and not a page that nobody asked for.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bcrlapi_domain::{JobId, Owner};
use sha2::{Digest, Sha256};

const ID_BYTES: usize = 16;
const CHECK_BYTES: usize = 8;

/// The cursor of a page that ended with this job.
pub(crate) fn render(id: JobId, owner: &Owner) -> String {
    BASE64_URL_SAFE_NO_PAD.encode([id.as_bytes().as_slice(), &check(id, owner)].concat())
}

/// The job that the page ended with; `None` where the text is no cursor of this owner's.
pub(crate) fn parse(text: &str, owner: &Owner) -> Option<JobId> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let (id, given) = bytes.split_first_chunk::<ID_BYTES>()?;
    let id = JobId::try_from(*id).ok()?;
    (given == check(id, owner)).then_some(id)
}

fn check(id: JobId, owner: &Owner) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new().chain_update(id.as_bytes()).chain_update(owner.as_str()).finalize();
    *digest.first_chunk().expect("a digest is longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_its_owners_and_whole() {
        let owner = |caller| Owner::from_identity("1", caller).unwrap();
        let (alice, bob) = (owner("AIDA1"), owner("AIDA2"));
        let id = "018aef2c-7a00-7000-8000-000000000001".parse().unwrap();
        let cursor = render(id, &alice);
        assert_eq!(parse(&cursor, &alice), Some(id));
        assert_eq!(parse(&cursor, &bob), None);
        for place in 0..cursor.len() {
            let mut tampered = cursor.clone().into_bytes();
            tampered[place] = if tampered[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(parse(&String::from_utf8(tampered).unwrap(), &alice), None, "{place}");
        }
        for bad in ["", "=", &cursor[1..], &format!("{cursor}A"), &format!("{cursor}=")] {
            assert_eq!(parse(bad, &alice), None, "{bad}");
        }
    }
}
