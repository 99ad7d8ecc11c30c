//! Being stopped, by Ctrl-C or by the system.

use std::future::pending;

use bcrlapi_domain::JobId;
use tokio::signal::unix::{SignalKind, signal};

/// What a shell adds to a signal's number.
const EXIT_CODE_OF_SIGNALS: u8 = 128;

/// The signal that has stopped the command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Interrupt = 2,
    Terminate = 15,
}

/// The command was stopped, and so ended nothing but itself.
#[derive(Debug, thiserror::Error)]
#[error("stopped{}", job.map(|id| format!("; job {id} goes on")).unwrap_or_default())]
pub(crate) struct Interrupted {
    signal: Signal,
    /// The job that was waited for.
    pub(crate) job: Option<JobId>,
}

impl Interrupted {
    pub(crate) fn new(signal: Signal, job: Option<JobId>) -> Self {
        Self { signal, job }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        EXIT_CODE_OF_SIGNALS + self.signal as u8
    }
}

/// Waits until the command is to stop.
pub(crate) async fn interrupt() -> Signal {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        // Then the system ends the process, as without us.
        return pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Signal::Interrupt,
        _ = terminate.recv() => Signal::Terminate,
    }
}
