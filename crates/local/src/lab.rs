use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bcrlapi_worker::Stop;
use chrono::FixedOffset;
use tokio_util::sync::CancellationToken;

use crate::Stack;

/// The lab's half: an agent and a worker on the stack's shared directory. What was started stops with [`Lab::stop`].
#[derive(Default)]
pub struct Lab {
    agent: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
    worker: Option<(Arc<Stop>, JoinHandle<()>)>,
}

impl Lab {
    /// Japan, where the lab is.
    const UTC_OFFSET_S: i32 = 9 * 3600;

    /// Starts the agent.
    pub fn start_agent(&mut self, stack: &Stack, poll: Duration) {
        let utc_offset = FixedOffset::east_opt(Self::UTC_OFFSET_S).expect("nine hours are an offset");
        let lost_after = Some(bcrlapi_agent::LOST_AFTER);
        let config = bcrlapi_agent::Config { shared: stack.shared(), poll, utc_offset, metrics: None, lost_after };
        let (store, stop) = (stack.store().clone(), CancellationToken::new());
        let stopped = stop.clone();
        let run = async move {
            if let Err(error) = bcrlapi_agent::run(&config, store, stopped).await {
                tracing::error!(%error, "the agent has ended");
            }
        };
        self.agent = Some((stop, tokio::spawn(run)));
    }

    /// Starts the worker.
    pub fn start_worker(&mut self, stack: &Stack, command: Vec<String>) {
        let config = bcrlapi_worker::Config { shared: stack.shared(), once: false, jobs: 1, timeout: None, command };
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        let run = move || {
            if let Err(error) = bcrlapi_worker::run(&config, &stopped) {
                tracing::error!(%error, "the worker has ended");
            }
        };
        self.worker = Some((stop, thread::spawn(run)));
    }

    /// Stops what was started. A program that runs is ended, and its job fails.
    pub async fn stop(self) {
        if let Some((stop, worker)) = self.worker {
            stop.ask();
            stop.ask();
            let _ = tokio::task::spawn_blocking(|| worker.join()).await;
        }
        if let Some((stop, agent)) = self.agent {
            stop.cancel();
            let _ = agent.await;
        }
    }
}
