//! Waiting for a job, in sight of the person who waits.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use bcrlapi::{Client, ClientError};
use bcrlapi_api::{JobResource, LabPresence, LabState};
use bcrlapi_domain::{JobId, Status};
use tokio::sync::Notify;

use crate::interrupt::{Interrupted, interrupt};
use crate::progress::ProgressLine;

/// How often the lab is asked for while its job is waited for.
const LAB_PAUSE: Duration = Duration::from_secs(30);

/// The job was not done in the time that was given.
#[derive(Debug, thiserror::Error)]
#[error("job {id} is not done after {}; it goes on", humantime::format_duration(*.timeout))]
pub(crate) struct TimedOut {
    pub(crate) id: JobId,
    timeout: Duration,
}

/// Waits for the job's end, or until the time is over, or until it is stopped.
pub(crate) async fn wait_for(client: &Client, id: JobId, timeout: Option<Duration>) -> anyhow::Result<JobResource> {
    if timeout == Some(Duration::ZERO) {
        return ask_once(client, id).await;
    }

    let (line, has_looked) = (ProgressLine::start(), Notify::new());
    let on_look = |looked: Result<&JobResource, &ClientError>| match looked {
        Ok(job) => {
            line.show_job(job);
            has_looked.notify_one();
        }
        Err(error) => line.show_trouble(error),
    };
    // The lab matters to a job that was not done at the first look.
    let lab = async {
        has_looked.notified().await;
        watch_lab(client, &line).await
    };
    tokio::select! {
        waited = client.wait(id, on_look) => Ok(waited?),
        timed_out = after(id, timeout) => Err(timed_out.into()),
        signal = interrupt() => Err(Interrupted::new(signal, Some(id)).into()),
        never = lab => match never {},
    }
}

/// No time to wait is the question whether the job is done.
async fn ask_once(client: &Client, id: JobId) -> anyhow::Result<JobResource> {
    let job = client.job(id).await?;
    if job.status == Status::Done { Ok(job) } else { Err(TimedOut { id, timeout: Duration::ZERO }.into()) }
}

async fn after(id: JobId, timeout: Option<Duration>) -> TimedOut {
    match timeout {
        Some(timeout) => {
            tokio::time::sleep(timeout).await;
            TimedOut { id, timeout }
        }
        None => pending().await,
    }
}

/// Shows the lab's state; says it once where the lab is offline, since then the job waits.
async fn watch_lab(client: &Client, line: &ProgressLine) -> Infallible {
    let mut has_told = false;
    loop {
        if let Ok(lab) = client.lab().await {
            if lab.state == LabPresence::Offline && !has_told {
                has_told = true;
                line.say(&offline(&lab));
            }
            line.show_lab(&lab);
        }
        tokio::time::sleep(LAB_PAUSE).await;
    }
}

fn offline(lab: &LabState) -> String {
    match lab.last_sync {
        Some(last_sync) => format!("the lab has been offline since {}; the job waits for it", last_sync.to_rfc3339()),
        None => "the lab is offline and was never seen; the job waits for it".to_owned(),
    }
}
