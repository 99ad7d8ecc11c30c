use std::time::{Duration, Instant};

use anyhow::bail;

const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// How long one thing is waited for.
const LIMIT: Duration = Duration::from_mins(1);

/// Looks again and again until there is something; fails with `what` was waited for after a minute.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> anyhow::Result<T> {
    until_within(LIMIT, what, look).await
}

/// Looks again and again until there is something; fails with `what` was waited for after this time.
pub async fn until_within<T>(limit: Duration, what: &str, look: impl AsyncFn() -> Option<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(found) = look().await {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    bail!("waited {} s for {what}", limit.as_secs())
}
