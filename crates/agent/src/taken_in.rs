use std::collections::VecDeque;

use bcrlapi_directory::Fingerprint;

/// More than come between a publish and the next look.
const REMEMBERED: usize = 64;

/// The latest contents of status.json that are in the view: a queue that was displaced just now and is among them has
/// no news. What was forgotten is read once more.
#[derive(Debug, Default)]
pub(crate) struct TakenIn(VecDeque<Fingerprint>);

impl TakenIn {
    pub(crate) fn extend(&mut self, content: Option<Fingerprint>) {
        self.0.extend(content);
        let surplus = self.0.len().saturating_sub(REMEMBERED);
        self.0.drain(..surplus);
    }

    pub(crate) fn contains(&self, content: Fingerprint) -> bool {
        self.0.contains(&content)
    }
}
