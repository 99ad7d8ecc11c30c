use std::sync::Arc;

use bcrlapi_directory::SharedDir;
use bcrlapi_exchange::layout::WATCHED;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

/// Wakes the agent when a file of the shared directory was written. It only shortens the sleep: where the file system
/// tells nothing (NFS), the agent looks at every poll.
pub(crate) struct FileEvents {
    changed: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

impl FileEvents {
    /// Begins to watch. A file system that hangs holds up nobody but whoever waits for this.
    pub(crate) async fn watch(directory: &SharedDir) -> Self {
        let changed = Arc::new(Notify::new());
        let (directory, wake) = (directory.clone(), Arc::clone(&changed));
        let watcher = spawn_blocking(move || start(&directory, wake)).await.expect("to watch does not panic");
        let warn = |error: &notify::Error| tracing::warn!(%error, "no file events here; looking at every poll instead");
        Self { changed, _watcher: watcher.inspect_err(warn).ok() }
    }

    /// Waits until something has changed since the last time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn start(directory: &SharedDir, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let wake = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| is_change(event.kind) && !is_of_locks(&event)) {
            changed.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(wake)?;
    for folder in WATCHED {
        watcher.watch(&directory.path(folder), RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Who locks may open the lock for writing, and writes nothing.
fn is_of_locks(event: &Event) -> bool {
    !event.paths.is_empty() && event.paths.iter().all(|path| path.extension().is_some_and(|kind| kind == "lock"))
}

/// Reading is no change: the agent reads too, and would wake itself for ever.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
