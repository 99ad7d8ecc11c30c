//! Removing the displaced queues that say nothing new: while no agent runs, every claim and every
//! end of a worker leaves one, and a large queue would soon fill the disk.

use std::collections::BTreeMap;
use std::time::Duration;

use bcrlapi_exchange::{Queue, layout};

use crate::displaced::was_never_public;
use crate::facts::Facts;
use crate::folder::Folder;
use crate::status::{QueuePlace, read_queue};
use crate::{DirectoryError, Fingerprint, Lock, SharedDir};

/// How long a displaced queue is kept at least: a script that had it open is through by then.
pub(crate) const LINGER: Duration = Duration::from_secs(10);
/// What all displaced queues together may have: beyond it, the oldest ones go earlier.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
const FILES_MAX: usize = 1024;

/// A displaced queue.
struct Lingering {
    number: u64,
    name: String,
    facts: Facts,
}

impl SharedDir {
    /// Removes displaced queues that linger for long enough, or are too many, and say nothing that
    /// `published` does not say. One with news is left for the agent. `staged` is the file that was
    /// just written: it tells what time it is for the file system.
    pub(crate) fn sweep(
        &self,
        _lock: &Lock,
        place: &QueuePlace,
        staged: &Fingerprint,
        published: &Queue,
    ) -> Result<(), DirectoryError> {
        if !self.memory.begins_sweep() {
            return Ok(());
        }

        let all = lingering(&place.displaced)?;
        let (mut files, mut bytes) = (all.len(), size_of(&all));
        let mut with_news = BTreeMap::new();
        let mut failed = Ok(());

        for queue in all {
            let is_over = age(&queue.facts, staged) >= LINGER && !self.memory.has_just_displaced(queue.number);
            let is_surplus = files > FILES_MAX || bytes > BYTES_MAX;
            if !is_over && !is_surplus {
                continue;
            }

            match self.has_news(&place.displaced, &queue, is_over, published) {
                Ok(true) => {
                    with_news.insert(queue.number, queue.facts.fingerprint);
                }
                Ok(false) => match place.displaced.remove(&queue.name) {
                    Ok(()) => {
                        files -= 1;
                        bytes = bytes.saturating_sub(queue.facts.fingerprint.size_bytes());
                    }
                    // One that cannot be removed does not keep the rest.
                    Err(error) => failed = Err(error),
                },
                Err(error) => failed = Err(error),
            }
        }

        self.memory.set_news(with_news);
        failed
    }

    /// Whether a displaced queue says something that the published one does not say.
    fn has_news(
        &self,
        folder: &Folder,
        queue: &Lingering,
        is_over: bool,
        published: &Queue,
    ) -> Result<bool, DirectoryError> {
        if self.memory.has_news(queue.number, &queue.facts.fingerprint) {
            return Ok(true);
        }
        let Some(read) = read_queue(folder, &queue.name)? else { return Ok(false) };
        if was_never_public(&queue.name, read.there.digest) || self.memory.knows(read.there.digest) {
            return Ok(false);
        }

        match read.parse() {
            Ok(displaced) => Ok(!published.knows_all_of(&displaced)),
            // Somebody is writing it, or has died over it. One that nobody reads may have any.
            Err(broken) => Ok(!is_over || broken.is_only_large()),
        }
    }
}

/// The displaced queues, the oldest one first.
fn lingering(folder: &Folder) -> Result<Vec<Lingering>, DirectoryError> {
    let mut all = Vec::new();
    for name in folder.files(|name| layout::displaced_number(name).is_some())? {
        let Some((number, _)) = layout::displaced_number(&name) else { continue };
        match folder.facts_of(&name) {
            Ok(facts) => all.extend(facts.map(|facts| Lingering { number, name, facts })),
            // One that is damaged does not keep the rest.
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    all.sort_by_key(|queue| (queue.facts.fingerprint.changed(), queue.number));
    Ok(all)
}

fn size_of(all: &[Lingering]) -> u64 {
    all.iter().map(|queue| queue.facts.fingerprint.size_bytes()).sum()
}

/// For how long nothing about the file has changed, by the file system's own clock.
fn age(facts: &Facts, staged: &Fingerprint) -> Duration {
    let in_ns = |(seconds, nanoseconds): (i64, i64)| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let age_ns = in_ns(staged.changed()) - in_ns(facts.fingerprint.changed());
    Duration::from_nanos(u64::try_from(age_ns).unwrap_or_default())
}
