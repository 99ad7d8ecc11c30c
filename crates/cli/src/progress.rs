use std::cell::RefCell;
use std::time::Duration;

use bcrlapi_api::{JobResource, LabState};
use indicatif::{ProgressBar, ProgressStyle};

use crate::commands::say;
use crate::printable::printable;

const TICK: Duration = Duration::from_millis(120);

/// A line on stderr that shows how far a job is. Nothing is drawn where stderr is no terminal.
pub(crate) struct ProgressLine {
    bar: ProgressBar,
    job: RefCell<String>,
    lab: RefCell<String>,
}

impl ProgressLine {
    pub(crate) fn start() -> Self {
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("the template is well-formed");
        let bar = ProgressBar::new_spinner().with_style(style);
        bar.enable_steady_tick(TICK);
        Self { bar, job: RefCell::default(), lab: RefCell::default() }
    }

    pub(crate) fn show_job(&self, job: &JobResource) {
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
        let LabState { state, pending, processing, .. } = lab;
        self.lab.replace(format!(" (lab {}: {pending} waiting, {processing} running)", state.as_str()));
        self.draw();
    }

    /// Says something above the line.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    fn draw(&self) {
        self.bar.set_message(format!("{}{}", self.job.borrow(), self.lab.borrow()));
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
