//! What the APP server does in a history, in any style, and always by the protocol.

use std::fs::{self, File};
use std::io::{Seek, Write};

use bcrlapi_domain::{JobId, Outcome, State};
use bcrlapi_exchange::layout;
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{History, advance, now, set};

impl History {
    pub(super) fn claim(&mut self) {
        let Some(id) = self.first_pending() else { return };
        self.note(format!("claim {id}"));
        let fields = if self.random.bool() {
            json!({"status": "processing", "host": "app-1"})
        } else {
            json!({"status": "processing"})
        };
        self.write_entry(id, &fields);
        self.job(id).state = State::Processing;
    }

    /// The first pending job from the top, as the file says, which must be as the model says; none while it is on its
    /// way.
    fn first_pending(&mut self) -> Option<JobId> {
        let queue = self.read_queue();
        let jobs = queue["jobs"].as_array().unwrap();
        let first = jobs
            .iter()
            .find(|job| job["status"] == "pending")
            .map(|job| job["uuid"].as_str().unwrap().parse().unwrap());
        let now = now();
        let is_pending = |id: &&JobId| self.jobs.get(id).is_some_and(|job| job.state == State::Pending);
        let expected = self.order.iter().filter(|id| !id.is_expired(now)).find(is_pending).copied();
        if first.is_some_and(|id: JobId| !id.is_expired(now)) {
            assert_eq!(first, expected, "the first from the top");
        }
        first.filter(|id| !id.is_expired(now))
    }

    pub(super) fn report(&mut self, id: JobId) {
        let (progress, message) = (self.random.u8(..=100), format!("step {}", self.random.u16(..)));
        self.note(format!("report {id}: {progress}, {message}"));
        self.write_entry(id, &json!({"progress": progress, "message": message}));
        let job = self.job(id);
        (job.progress, job.message) = (Some(progress), Some(message));
    }

    pub(super) fn finish(&mut self, id: JobId) {
        match self.random.u8(..7) {
            0 | 1 => {
                self.note(format!("finish {id}: a response, then done"));
                self.write_response(id);
                self.write_entry(id, &json!({"status": "done"}));
                self.job(id).state = State::Done(Outcome::Succeeded);
            }
            2 => {
                self.note(format!("finish {id}: done, then a response"));
                self.write_entry(id, &json!({"status": "done"}));
                self.settle();
                self.write_response(id);
                self.job(id).state = State::Done(Outcome::Succeeded);
            }
            3 => {
                let fields = [
                    json!({"status": "failed", "error": "no memory"}),
                    json!({"status": "done", "outcome": "failed", "error": "no memory"}),
                ];
                let fields = self.random.choice(fields).unwrap();
                self.note(format!("finish {id}: {fields}"));
                self.write_entry(id, &fields);
                self.has_failed(id, "no memory");
            }
            4 => {
                self.note(format!("finish {id}: done, and no response"));
                self.write_entry(id, &json!({"status": "done"}));
                self.settle();
                advance(TimeDelta::seconds(11));
                self.settle();
                self.has_failed(id, "wrote no response file");
            }
            5 => {
                self.note(format!("finish {id}: done, and half a response"));
                self.put_response(id, b"{\"soc\": ");
                self.write_entry(id, &json!({"status": "done"}));
                self.settle();
                advance(TimeDelta::seconds(11));
                self.settle();
                self.has_failed(id, "not valid JSON");
            }
            _ => {
                self.note(format!("finish {id}: a response, and nobody says done"));
                self.write_response(id);
                self.settle();
                self.compare();
                // An agent that is started anew waits anew.
                advance(TimeDelta::seconds(61));
                self.settle();
                let job = self.job(id);
                job.state = State::Done(Outcome::Succeeded);
                job.entry.insert("status".to_owned(), json!("done"));
            }
        }
    }

    fn has_failed(&mut self, id: JobId, error: &str) {
        let job = self.job(id);
        (job.state, job.error) = (State::Done(Outcome::Failed), Some(error.to_owned()));
    }

    pub(super) fn claim_in_a_file_held_open(&mut self) {
        let Some(id) = self.first_pending() else { return };
        self.note(format!("claim {id} in a file that was opened before others came"));
        let mut queue = self.read_queue();
        let mut held = File::options().write(true).open(self.system.shared(layout::STATUS)).unwrap();
        self.submit();
        if self.random.bool() {
            self.interrupted_round();
        } else {
            self.settle();
        }
        self.write_claim_to(&mut held, &mut queue, id);
    }

    /// What the agent withdraws meanwhile is in the queue that was read: the script may want that very job, which then
    /// runs, or another one, and then it stays withdrawn.
    pub(super) fn claim_in_a_file_held_open_across_a_withdrawal(&mut self) {
        let Some(id) = self.first_pending() else { return };
        let mut queue = self.read_queue();
        let mut held = File::options().write(true).open(self.system.shared(layout::STATUS)).unwrap();
        let unwanted = self.choose(|job| job.state == State::Pending).unwrap();
        self.ask_back(unwanted);
        self.note(format!("claim {id} in a file that was opened before {unwanted} was withdrawn"));
        if self.random.bool() {
            self.interrupted_round();
        }
        self.settle();
        assert!(!self.has_entry(unwanted), "{unwanted} is withdrawn");
        self.write_claim_to(&mut held, &mut queue, id);
        if id == unwanted {
            // It comes in anew.
            self.order.retain(|other| *other != id);
            self.order.push(id);
        } else {
            self.wait_for_cancel(unwanted);
        }
    }

    fn write_claim_to(&mut self, held: &mut File, queue: &mut Value, id: JobId) {
        set(queue, id, &json!({"status": "processing"}));
        held.set_len(0).unwrap();
        held.rewind().unwrap();
        held.write_all(&self.in_some_style(queue)).unwrap();
        let job = self.job(id);
        job.state = State::Processing;
        job.entry.insert("status".to_owned(), json!("processing"));
    }

    pub(super) fn write_half_a_file_for_a_while(&mut self) {
        self.note("write half a status.json, and later all of it");
        let text = self.in_some_style(&self.read_queue());
        let status = self.system.shared(layout::STATUS);
        fs::write(&status, &text[..self.random.usize(..text.len())]).unwrap();
        self.settle();
        fs::write(&status, &text).unwrap();
    }

    // The files, as scripts write them.

    pub(super) fn read_queue(&self) -> Value {
        let text = fs::read_to_string(self.system.shared(layout::STATUS)).unwrap();
        serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap()
    }

    pub(super) fn write_entry(&mut self, id: JobId, fields: &Value) {
        let mut queue = self.read_queue();
        set(&mut queue, id, fields);
        self.write_queue(&queue);
        let job = self.job(id);
        job.entry.extend(fields.as_object().unwrap().clone());
    }

    pub(super) fn write_queue(&mut self, queue: &Value) {
        let (text, status) = (self.in_some_style(queue), self.system.shared(layout::STATUS));
        if self.random.bool() {
            fs::write(status, text).unwrap();
        } else {
            let staged = self.system.shared("request/status.json.mine");
            fs::write(&staged, text).unwrap();
            fs::rename(staged, status).unwrap();
        }
    }

    fn in_some_style(&mut self, queue: &Value) -> Vec<u8> {
        let text = if self.random.bool() { format!("{queue:#}") } else { queue.to_string() };
        let text = if self.random.bool() { text.replace('\n', "\r\n") } else { text };
        if self.random.u8(..4) == 0 { format!("\u{feff}{text}").into() } else { text.into() }
    }

    fn write_response(&mut self, id: JobId) {
        let response = format!("{{\"soc\": {}}}\n", self.random.u16(..));
        self.put_response(id, response.as_bytes());
    }

    fn put_response(&mut self, id: JobId, response: &[u8]) {
        let mut file = File::create(self.system.shared(&layout::response(id))).unwrap();
        file.write_all(response).unwrap();
        file.set_modified(now().into()).unwrap();
        self.job(id).response = Some(response.to_owned());
    }
}
