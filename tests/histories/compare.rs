//! What a history has come to, everywhere: queue, files and rows.

use std::collections::BTreeSet;
use std::{fs, mem};

use bcrlapi_domain::{JobId, Outcome, State, Status};
use bcrlapi_exchange::layout;
use serde_json::Value;

use super::{Expected, History, lab_date, now};

impl History {
    /// Compares what was to come of the history with all that can be seen of it.
    pub(super) fn compare(&mut self) {
        let now = now();
        let queue = self.read_queue();
        let lasting = |id: &JobId| !id.is_expired(now);
        let entries = queue["jobs"].as_array().unwrap().iter();
        let entries: Vec<(JobId, &Value)> =
            entries.map(|entry| (entry["uuid"].as_str().unwrap().parse().unwrap(), entry)).collect();
        let order: Vec<JobId> = entries.iter().map(|(id, _)| *id).filter(lasting).collect();
        let expected: Vec<JobId> = self.order.iter().copied().filter(lasting).collect();
        if mem::take(&mut self.has_died) {
            let settled = self.order.iter().take(self.settled).filter(|id| lasting(id)).count();
            assert_eq!(order[..settled.min(order.len())], expected[..settled], "the order of what was in the queue");
            assert_eq!(BTreeSet::from_iter(&order), BTreeSet::from_iter(&expected), "what is in the queue");
            assert_eq!(order.len(), expected.len(), "each is in the queue once");
            self.order.clone_from(&order);
        }
        assert_eq!(order, self.order.iter().copied().filter(lasting).collect::<Vec<_>>(), "the order of the queue");
        self.settled = self.order.len();
        assert_eq!(queue.get("note"), self.note.map(Value::from).as_ref());
        for (id, job) in self.jobs.iter().filter(|(id, _)| lasting(id)) {
            self.compare_row(*id, job);
            if let Some((_, entry)) = entries.iter().find(|(other, _)| other == id) {
                compare_entry(*id, job, entry);
                self.compare_files(*id, job);
            }
        }
        assert!(self.stray.iter().all(|name| self.system.shared(name).exists()), "stray files are left alone");
    }

    fn compare_files(&self, id: JobId, job: &Expected) {
        let request = fs::read_to_string(self.system.shared(&layout::request(id))).unwrap();
        let date = lab_date(id);
        let expected = format!(r#"{{"uuid": "{id}", "api": "mock", "request_date": "{date}", "input": {}}}"#, job.body);
        assert_eq!(request.trim_end(), expected, "the request of {id}");
        let response = fs::read(self.system.shared(&layout::response(id))).ok();
        assert_eq!(response, job.response, "the response of {id}");
    }

    fn compare_row(&self, id: JobId, job: &Expected) {
        let store = self.system.stack().store();
        let row = self.cloud.block_on(store.job(id)).unwrap().unwrap();
        assert_eq!(row.state, job.state, "the row of {id}: {:?}", row.error);
        assert_eq!((row.progress, &row.message), (job.progress, &job.message), "the row of {id}");
        let (error, expected) = (row.error.unwrap_or_default(), job.error.clone().unwrap_or_default());
        assert!(error.contains(&expected) && error.is_empty() == expected.is_empty(), "{error}, and not {expected}");
        assert!(row.start_date.is_none() || row.state.status() >= Status::Processing, "{id} has not started");
        let object =
            row.response.map(|payload| self.cloud.block_on(store.read_response(id, &payload)).unwrap().unwrap());
        let has_response = job.state == State::Done(Outcome::Succeeded);
        assert_eq!(object.as_deref(), job.response.as_deref().filter(|_| has_response), "the result of {id}");
    }
}

fn compare_entry(id: JobId, job: &Expected, entry: &Value) {
    let mut entry = entry.as_object().unwrap().clone();
    if !job.entry.contains_key("error") {
        // An entry that was made anew has the row's error, whose words are compared there.
        entry.shift_remove("error");
    }
    assert_eq!(entry, job.entry, "the entry of {id}");
}
