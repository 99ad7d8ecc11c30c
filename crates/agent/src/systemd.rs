//! What systemd is told by a service of `Type=notify`. Source: `sd_notify(3)`.
//!
//! A few lines of our own: the crate `sd-notify` has no limit for a systemd that does not listen, and opens the socket
//! afresh for each word.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// How long a service may be held up by a systemd that does not listen.
const SEND_LIMIT: Duration = Duration::from_secs(1);
/// The shortest pause between two beats: a loop may turn a hundred times a second.
const BEAT_PAUSE: Duration = Duration::from_secs(1);

/// Who has started this process, if that is a systemd that wants to hear how it is. Cheap to clone. Elsewhere nobody is
/// told anything.
///
/// That it cannot be told is nothing to stop for: a service that it does not hear of, it restarts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Systemd(Option<Arc<Notified>>);

#[derive(Debug)]
struct Notified {
    socket: UnixDatagram,
    last: Mutex<Last>,
}

/// What it was told last.
#[derive(Debug, Default)]
struct Last {
    status: String,
    beat: Option<Instant>,
}

impl Systemd {
    /// The one that the environment names.
    pub(crate) fn from_env() -> Self {
        let named = env::var_os(NOTIFY_SOCKET).filter(|name| !name.is_empty());
        let socket = named.and_then(|name| connect(&name).ok());
        Self(socket.map(|socket| Arc::new(Notified { socket, last: Mutex::default() })))
    }

    /// The service begins, and does not serve yet. The status is one line for `systemctl status`.
    pub(crate) fn is_starting(&self, status: &str) {
        self.tell(&format!("STATUS={}", one_line(status)));
    }

    /// The service has begun, and its loop turns.
    pub(crate) fn is_serving(&self, status: impl FnOnce() -> String) {
        let Some(notified) = &self.0 else { return };

        let status = one_line(&status());
        let mut last = notified.last();
        if last.status != status {
            notified.send(&format!("READY=1\nSTATUS={status}"));
            last.status = status;
        }
        drop(last);

        self.beat();
    }

    /// The service's loop has come a step further: to be called by the loop itself, so that systemd restarts one that is
    /// stuck.
    pub(crate) fn beat(&self) {
        let Some(notified) = &self.0 else { return };

        let mut last = notified.last();
        if last.beat.is_none_or(|beat| beat.elapsed() >= BEAT_PAUSE) {
            notified.send("WATCHDOG=1");
            last.beat = Some(Instant::now());
        }
    }

    /// The service ends.
    pub(crate) fn is_stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    fn tell(&self, words: &str) {
        if let Some(notified) = &self.0 {
            notified.send(words);
        }
    }
}

impl Notified {
    fn send(&self, words: &str) {
        let _ = self.socket.send(words.as_bytes());
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that begins with @ is one of the abstract namespace.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_LIMIT))?;
    Ok(socket)
}

/// A line's end would end the word too.
fn one_line(status: &str) -> String {
    status.replace(['\n', '\r'], " ")
}
