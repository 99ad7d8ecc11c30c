use std::env;

use anyhow::Context;
use bcrlapi_cloud::JobStore;

/// Opens the store that the function's environment names in `BCRLAPI_TABLE` and `BCRLAPI_BUCKET`.
pub async fn store_from_env() -> anyhow::Result<JobStore> {
    Ok(JobStore::from_env(&required("BCRLAPI_TABLE")?, &required("BCRLAPI_BUCKET")?).await)
}

/// A setting that the function cannot start without.
fn required(name: &str) -> anyhow::Result<String> {
    optional(name).with_context(|| format!("the environment variable {name} is not set"))
}

/// A setting that may be missing or empty.
pub fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
