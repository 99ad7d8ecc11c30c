use std::cell::{Cell, RefCell};
use std::time::Duration;

use bcrlapi::ClientError;
use bcrlapi_api::{JobResource, LabState};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::say;
use crate::printable::printable;

const TICK: Duration = Duration::from_millis(120);

/// A line on stderr that shows how far a job is, no wider than the terminal. Nothing is drawn where stderr is no
/// terminal; what a person has to know is said there too.
pub(crate) struct ProgressLine {
    bar: ProgressBar,
    job: RefCell<String>,
    lab: RefCell<String>,
    is_in_trouble: Cell<bool>,
}

impl ProgressLine {
    pub(crate) fn start() -> Self {
        let style =
            ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("the template is well-formed");
        let bar = ProgressBar::new_spinner().with_style(style);
        bar.enable_steady_tick(TICK);
        Self { bar, job: RefCell::default(), lab: RefCell::default(), is_in_trouble: Cell::default() }
    }

    pub(crate) fn show_job(&self, job: &JobResource) {
        if self.is_in_trouble.replace(false) {
            self.say("the API answers again");
        }
        let mut text = format!("{} {}", job.api, job.status.as_str());
        if let Some(progress) = job.progress {
            text += &format!(" {progress} %");
        }
        if let Some(message) = &job.message {
            text += &format!(": {}", printable(message));
        }
        self.job.replace(text);
        self.draw();
    }

    pub(crate) fn show_lab(&self, lab: &LabState) {
        // Not how much it has to do: that is up to a minute old, and may not have this job in it yet.
        self.lab.replace(format!(" (lab {})", lab.state.as_str()));
        self.draw();
    }

    /// Says it once, until the API answers again.
    pub(crate) fn show_trouble(&self, error: &ClientError) {
        let is_new = !self.is_in_trouble.replace(true);
        if is_new {
            self.say(&format!("{}; trying again", printable(&error.to_string())));
        }
        self.draw();
    }

    /// Says something above the line.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    fn draw(&self) {
        if self.is_in_trouble.get() {
            self.bar.set_message(format!("{} (cannot reach the API, trying again)", self.job.borrow()));
        } else {
            self.bar.set_message(format!("{}{}", self.job.borrow(), self.lab.borrow()));
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
