//! What programs print: passed on to the worker's own output, and the end of it kept.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bcrlapi_domain::limits::{ERROR_MAX_CHARS, MESSAGE_MAX_CHARS};

/// How much is read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// How many chunks may wait for whoever reads the worker's output.
const CHUNKS_WAITING: usize = 64;
/// How long a program's output is held back where nobody reads the worker's; then it is dropped.
const HOLD_LIMIT: Duration = Duration::from_secs(5);
/// What is kept of a stream: enough for [`ERROR_MAX_CHARS`] of the longest characters.
const TAIL_BYTES: usize = ERROR_MAX_CHARS * 4;
/// How long the last output may take at the worker's end.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Which of its two streams a program has written to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

enum Message {
    Chunk(Stream, Vec<u8>),
    Flush(SyncSender<()>),
}

/// The worker's own output. A thread writes it: nobody may be reading there, and neither a
/// program's time limit nor a stop should wait for that.
#[derive(Clone)]
pub(crate) struct Output(SyncSender<Message>);

impl Output {
    pub(crate) fn start() -> Self {
        let (sender, receiver) = sync_channel(CHUNKS_WAITING);
        thread::spawn(move || write_all(&receiver));
        Self(sender)
    }

    /// Passes a chunk on; gives it back where too many wait.
    fn try_pass(&self, stream: Stream, chunk: Vec<u8>) -> Result<(), Vec<u8>> {
        match self.0.try_send(Message::Chunk(stream, chunk)) {
            Err(TrySendError::Full(Message::Chunk(_, chunk))) => Err(chunk),
            _ => Ok(()),
        }
    }

    /// Waits until all is written, within a limit.
    pub(crate) fn flush(&self) {
        let (sender, flushed) = sync_channel(1);
        if self.0.try_send(Message::Flush(sender)).is_ok() {
            // Late is as good as never: nobody reads.
            let _ = flushed.recv_timeout(FLUSH_LIMIT);
        }
    }
}

fn write_all(messages: &Receiver<Message>) {
    // The work goes on where nothing can be written.
    for message in messages {
        match message {
            Message::Chunk(Stream::Stdout, chunk) => {
                let mut stdout = io::stdout();
                let _ = stdout.write_all(&chunk).and_then(|()| stdout.flush());
            }
            Message::Chunk(Stream::Stderr, chunk) => drop(io::stderr().write_all(&chunk)),
            Message::Flush(flushed) => drop(flushed.send(())),
        }
    }
}

/// What a program says of how far it is, in a line of its output: `progress 40 reading the samples`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) percent: u8,
    pub(crate) message: String,
}

impl Progress {
    const PERCENT_MAX: u8 = 100;

    fn in_line(line: &str) -> Option<Self> {
        let said = line.trim_end().strip_prefix("progress ")?;
        let (percent, message) = said.split_once(' ').unwrap_or((said, ""));
        let percent: u32 = percent.parse().ok()?;
        let percent = u8::try_from(percent).unwrap_or(u8::MAX).min(Self::PERCENT_MAX);
        Some(Self { percent, message: message.trim().chars().take(MESSAGE_MAX_CHARS).collect() })
    }
}

/// One stream of a program that runs.
pub(crate) struct Pipe {
    stream: Stream,
    /// `None` once nobody can write to it any more.
    source: Option<File>,
    /// What could not be passed on yet. Nothing more is read before it is, or is dropped.
    held: Option<Vec<u8>>,
    /// Since when nothing could be passed on.
    stuck_since: Option<Instant>,
    tail: VecDeque<u8>,
}

impl Pipe {
    pub(crate) fn new(stream: Stream, source: Option<impl Into<OwnedFd>>) -> Self {
        let source = source.map(|source| File::from(source.into()));
        Self { stream, source, held: None, stuck_since: None, tail: VecDeque::new() }
    }

    /// What to wait for until something can be read; `None` where nothing should be read now.
    pub(crate) fn to_read(&self) -> Option<BorrowedFd<'_>> {
        let source = self.source.as_ref().filter(|_| self.held.is_none());
        source.map(AsFd::as_fd)
    }

    /// Passes on what was held back, if that can be done now.
    pub(crate) fn pass_held(&mut self, output: &Output) {
        if let Some(chunk) = self.held.take() {
            self.pass(chunk, output);
        }
    }

    /// Passes a chunk on. One that finds no place is held back: for some time only, or a program
    /// would wait for ever for somebody who reads the worker's output.
    fn pass(&mut self, chunk: Vec<u8>, output: &Output) {
        let Err(chunk) = output.try_pass(self.stream, chunk) else {
            self.stuck_since = None;
            return;
        };
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        self.held = Some(chunk).filter(|_| since.elapsed() < HOLD_LIMIT);
    }

    /// Whether something is held back.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Reads what is there, and passes it on.
    pub(crate) fn read(&mut self, output: &Output) {
        let Some(source) = &mut self.source else { return };
        let mut chunk = vec![0; CHUNK_BYTES];
        match source.read(&mut chunk) {
            Ok(length @ 1..) => {
                chunk.truncate(length);
                self.keep_tail(&chunk);
                self.pass(chunk, output);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => self.source = None,
        }
    }

    fn keep_tail(&mut self, chunk: &[u8]) {
        self.tail.extend(chunk);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
    }

    /// The last progress in the end of what was written. A line counts once it is complete.
    pub(crate) fn progress(&mut self) -> Option<Progress> {
        let tail = String::from_utf8_lossy(self.tail.make_contiguous());
        let (complete, _) = tail.rsplit_once('\n')?;
        complete.lines().rev().find_map(Progress::in_line)
    }

    /// The end of what was written. A child that the program has left behind may go on to write:
    /// that is passed on, and nobody waits for it.
    pub(crate) fn close(mut self, output: &Output) -> String {
        if let Some(mut source) = self.source.take() {
            let (stream, output) = (self.stream, output.clone());
            thread::spawn(move || {
                let mut chunk = vec![0; CHUNK_BYTES];
                while let Ok(length @ 1..) = source.read(&mut chunk) {
                    if output.0.send(Message::Chunk(stream, chunk[..length].to_vec())).is_err() {
                        return;
                    }
                }
            });
        }
        let bytes: Vec<u8> = self.tail.into();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(output: &str) -> Option<(u8, String)> {
        let mut pipe = Pipe::new(Stream::Stdout, None::<OwnedFd>);
        pipe.keep_tail(output.as_bytes());
        pipe.progress().map(|progress| (progress.percent, progress.message))
    }

    #[test]
    fn the_last_complete_line_of_progress_counts() {
        let said = |percent, message: &str| Some((percent, message.to_owned()));
        assert_eq!(progress("progress 5 begins\nprogress 40 reads あ \nother\nprogress 50 wri"), said(40, "reads あ"));
        assert_eq!(progress("progress 300\r\n"), said(100, ""));
        assert_eq!(progress("progress 40 reads"), None);
        assert_eq!(progress("in progress 40 reads\nprogress 4x\nprogress -1 x\nprogress\n"), None);
    }
}
