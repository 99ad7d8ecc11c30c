use std::collections::VecDeque;

use bcrlapi_directory::Fingerprint;

/// More than queues are displaced while they linger, at the pace of one publish every few milliseconds.
const REMEMBERED: usize = 1024;

/// The latest contents of status.json that are in the view. A displaced queue that is among them has no news.
/// What was forgotten is read once more.
#[derive(Debug, Default)]
pub(crate) struct TakenIn(VecDeque<Fingerprint>);

impl TakenIn {
    pub(crate) fn add(&mut self, content: Fingerprint) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(content);
    }

    pub(crate) fn contains(&self, content: Fingerprint) -> bool {
        self.0.iter().rev().any(|known| *known == content)
    }
}
