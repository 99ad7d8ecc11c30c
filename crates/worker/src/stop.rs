use std::sync::atomic::{AtomicU32, Ordering};

const FINISH: u32 = 1;

/// How often the worker was asked to stop: once, it finishes what runs; twice, it ends what runs.
#[derive(Debug, Default)]
pub struct Stop(AtomicU32);

impl Stop {
    /// Asks to stop, or to stop at once if that was asked already.
    pub fn ask(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Sees to it that no further job is taken, without any more haste than before.
    pub fn take_no_more(&self) {
        self.0.fetch_max(FINISH, Ordering::Relaxed);
    }

    /// Whether no further job should be taken.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= FINISH
    }

    /// Whether what runs should be ended.
    pub fn is_urgent(&self) -> bool {
        self.0.load(Ordering::Relaxed) > FINISH
    }
}
