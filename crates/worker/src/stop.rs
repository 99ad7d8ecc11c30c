use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

const FINISH: u32 = 1;

/// How often the worker was asked to stop: once, it finishes what runs; twice, it kills what runs.
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicU32,
    has_hung_up: AtomicBool,
    running: AtomicUsize,
}

impl Stop {
    /// Asks to stop, or to stop at once if that was asked already.
    pub fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks to stop, and never in a hurry: a terminal that closes, and systemd, send this beside
    /// another signal, for one and the same stop.
    pub fn hang_up(&self) {
        self.has_hung_up.store(true, Ordering::Relaxed);
    }

    /// Whether no further job should be taken.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) >= FINISH || self.has_hung_up.load(Ordering::Relaxed)
    }

    /// Whether what runs should be killed.
    pub fn is_urgent(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > FINISH
    }

    /// What the worker does about the stop, for the person who has just asked for it.
    pub fn describe(&self) -> String {
        let running = self.running.load(Ordering::Relaxed);
        let (jobs, whom, who) = match running {
            1 => ("1 running job".to_owned(), "it", "it"),
            _ => (format!("{running} running jobs"), "them", "they"),
        };
        match (self.is_urgent(), running) {
            (false, 0) => "stopping".to_owned(),
            (true, 0) => "stopping at once".to_owned(),
            (false, _) => format!("stopping: waiting for {jobs} (Ctrl-C again kills {whom}; {who} will fail)"),
            (true, _) => format!("killing {jobs}"),
        }
    }

    pub(crate) fn set_running(&self, running: usize) {
        self.running.store(running, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hang_up_beside_another_signal_is_the_same_wish() {
        let stop = Stop::default();
        stop.hang_up();
        stop.ask();
        stop.hang_up();
        assert!(stop.is_asked() && !stop.is_urgent());
        stop.ask();
        assert!(stop.is_urgent());
    }

    #[test]
    fn who_asks_is_told_what_is_waited_for() {
        let stop = Stop::default();
        stop.set_running(1);
        stop.ask();
        let waits = "stopping: waiting for 1 running job (Ctrl-C again kills it; it will fail)";
        assert_eq!(stop.describe(), waits);
        stop.ask();
        assert_eq!(stop.describe(), "killing 1 running job");
    }
}
