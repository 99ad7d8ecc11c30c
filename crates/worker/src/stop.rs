use std::sync::atomic::{AtomicU32, Ordering};

/// How often the worker was asked to stop: once, it finishes what runs; twice, it ends what runs.
#[derive(Debug, Default)]
pub struct Stop(AtomicU32);

impl Stop {
    /// Asks to stop, or to stop at once if that was asked already.
    pub fn ask(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether no further job should be taken.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 1
    }

    /// Whether what runs should be ended.
    pub fn is_urgent(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 2
    }
}
