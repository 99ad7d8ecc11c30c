//! Being stopped, by Ctrl-C or by the system.

use std::future::pending;
use std::time::Duration;

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

/// How long the command has to stop by itself: then it is perhaps writing to somebody who does not read.
const GRACE: Duration = Duration::from_secs(1);

/// Ends the process where the command does not stop by itself, in whatever it is.
pub(crate) fn stop_in_any_case() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let signal = runtime.block_on(interrupt());
        std::thread::sleep(GRACE);
        std::process::exit(Interrupted::new(signal, None).exit_code().into());
    });
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
