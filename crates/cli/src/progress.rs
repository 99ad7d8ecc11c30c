use std::time::Duration;

use bcrlapi_api::JobResource;
use indicatif::{ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(120);

/// A line on stderr that shows how far a job is. Nothing is drawn where stderr is no terminal.
pub(crate) struct ProgressLine(ProgressBar);

impl ProgressLine {
    pub(crate) fn start() -> Self {
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}").expect("the template is well-formed");
        let line = ProgressBar::new_spinner().with_style(style);
        line.enable_steady_tick(TICK);
        Self(line)
    }

    pub(crate) fn show(&self, job: &JobResource) {
        let mut text = format!("{} {}", job.api, job.status.as_str());
        if let Some(progress) = job.progress {
            text += &format!(" {progress} %");
        }
        if let Some(message) = &job.message {
            text += &format!(": {message}");
        }
        self.0.set_message(text);
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
