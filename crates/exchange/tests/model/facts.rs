//! What is true of each job of a world, for the rules of the promise.

use bcrlapi_exchange::promise::Facts;

use crate::world::{Content, Queue, Row, World};

impl World {
    /// The facts of all jobs.
    pub fn facts(&self) -> impl Iterator<Item = Facts> {
        let queue = self.queue().map(Vec::as_slice).unwrap_or_default();
        (0..self.requests.len()).map(move |job| {
            let row = self.rows.get(job);
            let mut entries = queue.iter().filter(|(other, _)| *other == job);
            let entry = entries.next().map(|(_, status)| Row::with(*status).state());
            Facts {
                row: row.map(|row| row.state()),
                has_response: row.is_some_and(|row| row.has_response),
                has_request: self.requests[job],
                entry,
                entries: usize::from(entry.is_some()) + entries.count(),
                told: self.told[job],
                runs: self.runs[job].into(),
            }
        })
    }

    fn queue(&self) -> Option<&Queue> {
        match &self.inodes[self.status?].content {
            Content::Whole(queue) => Some(queue),
            Content::Half => None,
        }
    }
}
