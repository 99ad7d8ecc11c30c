//! The queues that were displaced by newer ones.

use bcrlapi_exchange::layout;

use crate::folder::Folder;
use crate::shared::name_of;
use crate::status::{look_at_queue, read_queue};
use crate::{Digest, DirectoryError, Fingerprint, SeenStatus, SharedDir};

impl SharedDir {
    /// Every displaced queue that lingers, by its number. Also one that is just being made ready,
    /// or never got its place: [`SharedDir::read_displaced`] tells.
    pub fn displaced(&self) -> Result<Vec<(u64, Fingerprint)>, DirectoryError> {
        let folder = self.root()?.open(layout::DISPLACED_DIR)?;
        let mut found = Vec::new();
        for name in folder.files(|name| layout::displaced_number(name).is_some())? {
            let Some((number, _)) = layout::displaced_number(&name) else { continue };
            match folder.facts_of(&name) {
                Ok(facts) => found.extend(facts.map(|facts| (number, facts.fingerprint))),
                // Nobody can read it any more.
                Err(error) if error.is_damage() => tracing::debug!(%error, "leaving out a displaced queue"),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Reads a displaced queue. There is none in it where it says nothing new: it was never public,
    /// or status.json has held just this when this process read or published it.
    pub fn read_displaced(&self, number: u64) -> Result<SeenStatus, DirectoryError> {
        let folder = self.root()?.open(layout::DISPLACED_DIR)?;
        let Some(name) = name_of_displaced(&folder, number)? else {
            return Ok(SeenStatus { queue: Ok(None), digest: None });
        };
        let Some(read) = read_queue(&folder, &name)? else {
            return Ok(SeenStatus { queue: Ok(None), digest: None });
        };

        let digest = read.there.digest;
        let says_nothing = was_never_public(&name, digest) || self.memory.knows(digest);
        let queue = if says_nothing { Ok(None) } else { read.parse().map(Some) };
        Ok(SeenStatus { queue, digest: Some(digest) })
    }

    /// Removes a displaced queue, if it still holds what was read; says whether it is gone.
    pub fn discard_displaced(&self, number: u64, digest_read: Option<Digest>) -> Result<bool, DirectoryError> {
        let folder = self.root()?.open(layout::DISPLACED_DIR)?;
        let Some(name) = name_of_displaced(&folder, number)? else { return Ok(true) };
        if let Some(there) = look_at_queue(&folder, &name)? {
            if Some(there.digest) != digest_read {
                return Ok(false);
            }
            folder.remove(&name)?;
        }
        Ok(true)
    }
}

/// Whether a file of this name is a queue that was staged and never got its place: an exchange
/// would have left another content there.
pub(crate) fn was_never_public(name: &str, digest: Digest) -> bool {
    let digest_start = layout::displaced_number(name_of(name)).and_then(|(_, digest_start)| digest_start);
    digest_start == Some(&digest.short())
}

fn name_of_displaced(folder: &Folder, number: u64) -> Result<Option<String>, DirectoryError> {
    let is_meant = |name: &str| layout::displaced_number(name).is_some_and(|(found, _)| found == number);
    Ok(folder.files(is_meant)?.into_iter().next())
}
