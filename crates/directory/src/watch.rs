use std::time::{Duration, Instant};

use crate::{Digest, Fingerprint};

/// The longest tick of a file system's clock (FAT: 2 s), and a little more: two writes within one
/// tick look alike.
const TICK: Duration = Duration::from_millis(2_100);
/// How long a look trusts what the system says of the file: some tools set a file's times back,
/// some clients of network file systems answer from a cache whatever they are asked.
const TRUST: Duration = Duration::from_mins(1);

/// Remembers what status.json held when it was last read, and says when it has to be read again.
#[derive(Debug, Default)]
pub struct StatusWatch {
    last: Option<LastLook>,
}

#[derive(Debug)]
struct LastLook {
    /// `None` where the next look has to read, and where there was no file.
    fingerprint: Option<Fingerprint>,
    /// `None` where there was no file.
    digest: Option<Digest>,
    read_at: Instant,
    /// When a change was last seen.
    changed_at: Instant,
}

impl StatusWatch {
    /// What the file held when it was last read or published; `None` where there was no file.
    pub fn digest(&self) -> Option<Digest> {
        self.last.as_ref()?.digest
    }

    /// Notes what has just been published by this process. The next look reads the file once, and
    /// gives nothing if it holds just this.
    pub fn has_published(&mut self, digest: Digest) {
        let now = Instant::now();
        self.last = Some(LastLook { fingerprint: None, digest: Some(digest), read_at: now, changed_at: now });
    }

    /// Whether a file of this fingerprint may hold something else than when it was last read.
    pub(crate) fn is_read_due(&self, fingerprint: &Fingerprint, now: Instant) -> bool {
        let Some(last) = &self.last else { return true };
        let looks_alike = last.fingerprint.as_ref() == Some(fingerprint);
        let was_read_after_tick = last.read_at.duration_since(last.changed_at) >= TICK;
        let is_trusted = now.duration_since(last.read_at) < TRUST;
        !(looks_alike && was_read_after_tick && is_trusted)
    }

    /// Notes a look that has begun at `now`; says whether the file holds something else than
    /// before.
    pub(crate) fn see(&mut self, fingerprint: Fingerprint, digest: Digest, now: Instant) -> bool {
        let is_news = self.last.as_ref().is_none_or(|last| last.digest != Some(digest));
        let changed_at = match &self.last {
            Some(last) if !is_news && last.fingerprint == Some(fingerprint) => last.changed_at,
            _ => now,
        };
        self.last = Some(LastLook { fingerprint: Some(fingerprint), digest: Some(digest), read_at: now, changed_at });
        is_news
    }

    /// Notes that there was no file; says whether there was one before.
    pub(crate) fn see_missing(&mut self, now: Instant) -> bool {
        let is_news = self.last.as_ref().is_none_or(|last| last.digest.is_some());
        self.last = Some(LastLook { fingerprint: None, digest: None, read_at: now, changed_at: now });
        is_news
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn fingerprint(size_bytes: u64) -> Fingerprint {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size_bytes).unwrap();
        Fingerprint::of(&file.metadata().unwrap())
    }

    #[test]
    fn a_file_is_read_again_until_a_tick_has_passed_since_its_last_change() {
        let (alike, start) = (fingerprint(1), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        let mut watch = StatusWatch::default();
        assert!(watch.is_read_due(&alike, start), "nothing was read yet");
        assert!(watch.see(alike, Digest::of(b"one"), start));

        // On FAT, a second write within two seconds shows in no time and no size.
        assert!(watch.is_read_due(&alike, after(500)));
        assert!(!watch.see(alike, Digest::of(b"one"), after(500)), "it holds what it held");
        assert!(watch.see(alike, Digest::of(b"two"), after(1_900)), "another content that looks alike");
        assert!(watch.is_read_due(&alike, after(3_900)), "which may be written over as well");

        assert!(!watch.see(alike, Digest::of(b"two"), after(4_100)));
        assert!(!watch.is_read_due(&alike, after(5_000)), "a tick later it is known");
        assert!(watch.is_read_due(&fingerprint(2), after(5_000)), "another file");
        assert!(watch.is_read_due(&alike, after(64_100)), "after a minute nothing is trusted");
    }

    #[test]
    fn what_was_published_is_read_once_and_is_no_news() {
        let (alike, now) = (fingerprint(1), Instant::now());
        let mut watch = StatusWatch::default();
        watch.has_published(Digest::of(b"ours"));
        assert!(watch.is_read_due(&alike, now));
        assert!(!watch.see(alike, Digest::of(b"ours"), now));
        assert!(watch.see(alike, Digest::of(b"a script's"), now));
        assert!(watch.see_missing(now));
        assert!(!watch.see_missing(now));
        assert_eq!(watch.digest(), None);
    }
}
