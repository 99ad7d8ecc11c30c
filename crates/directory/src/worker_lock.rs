//! The lock by which a worker is known to live, also to workers in other containers: to them its pid says nothing.

use bcrlapi_exchange::{WorkerMark, layout};

use crate::folder::Folder;
use crate::shared::name_of;
use crate::{DirectoryError, Lock, SharedDir};

impl SharedDir {
    /// Takes the lock of the worker with this mark, until it is dropped or the worker dies. Removes those that workers
    /// which are gone have left.
    pub fn lock_for_worker(&self, mark: &WorkerMark) -> Result<Lock, DirectoryError> {
        let folder = self.root()?.open(layout::RUNNING_DIR)?;
        remove_abandoned(&folder)?;

        Lock::acquire(&folder, name_of(&layout::worker_lock(mark)))
    }

    /// Whether this is still the lock by which others know that the worker with this mark lives.
    pub fn is_lock_of_worker(&self, lock: &Lock, mark: &WorkerMark) -> bool {
        let path = layout::worker_lock(mark);
        let folder = self.root().and_then(|root| root.open(layout::RUNNING_DIR));
        folder.is_ok_and(|folder| lock.is_on(&folder, name_of(&path)))
    }

    /// Whether the worker with this mark holds its lock.
    pub fn has_worker(&self, mark: &WorkerMark) -> Result<bool, DirectoryError> {
        let folder = self.root()?.open(layout::RUNNING_DIR)?;
        Lock::is_held(&folder, name_of(&layout::worker_lock(mark)))
    }
}

fn remove_abandoned(folder: &Folder) -> Result<(), DirectoryError> {
    for name in folder.files(layout::is_worker_lock)? {
        let taken = Lock::try_acquire(folder, &name);
        if let Ok(Some(_taken)) = taken {
            // One that another user has left in a folder with the sticky bit stays.
            let _ = folder.remove(&name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mark(pid: u32) -> WorkerMark {
        WorkerMark { host: "app1".into(), machine: None, boot: "now".into(), pid, start: 70, pid_namespace: Some(1) }
    }

    #[test]
    fn a_worker_is_there_as_long_as_it_holds_its_lock() {
        let place = tempfile::tempdir().unwrap();
        let directory = SharedDir::open(place.path()).unwrap();
        assert!(!directory.has_worker(&mark(7)).unwrap());

        let lock = directory.lock_for_worker(&mark(7)).unwrap();
        assert!(directory.has_worker(&mark(7)).unwrap());
        assert!(!directory.has_worker(&mark(8)).unwrap());
        drop(lock);
        assert!(!directory.has_worker(&mark(7)).unwrap());
    }

    #[test]
    fn locks_of_workers_that_are_gone_are_removed_and_others_are_not() {
        let place = tempfile::tempdir().unwrap();
        let directory = SharedDir::open(place.path()).unwrap();
        let _living = directory.lock_for_worker(&mark(7)).unwrap();
        drop(directory.lock_for_worker(&mark(8)).unwrap());
        let _next = directory.lock_for_worker(&mark(9)).unwrap();

        let mut there: Vec<_> = fs::read_dir(directory.path(layout::RUNNING_DIR))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let expected = [mark(7), mark(9)].map(|mark| name_of(&layout::worker_lock(&mark)).to_owned());
        assert_eq!(there, expected);
    }

    #[test]
    fn a_lock_whose_folder_was_replaced_is_no_longer_the_one_that_others_see() {
        let place = tempfile::tempdir().unwrap();
        let directory = SharedDir::open(place.path()).unwrap();
        let lock = directory.lock_for_worker(&mark(7)).unwrap();
        assert!(directory.is_lock_of_worker(&lock, &mark(7)));

        fs::remove_dir_all(directory.path(layout::RUNNING_DIR)).unwrap();
        assert!(!directory.is_lock_of_worker(&lock, &mark(7)));
    }
}
