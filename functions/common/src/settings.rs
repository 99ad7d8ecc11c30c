use std::env;

use anyhow::Context;
use bcrlapi_cloud::JobStore;
use bcrlapi_domain::OwnerScope;

/// What every function is told of its deployment.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Where jobs are recorded.
    pub store: JobStore,
    /// Whose jobs a caller shares.
    pub owner_scope: OwnerScope,
}

impl Deployment {
    /// Reads the function's environment: `BCRLAPI_TABLE`, `BCRLAPI_BUCKET` and, where it is not to be `principal`,
    /// `BCRLAPI_OWNER_SCOPE`. Fails closed: a scope that is not known is no scope.
    pub async fn from_env() -> anyhow::Result<Self> {
        let owner_scope = optional("BCRLAPI_OWNER_SCOPE").map(|word| word.parse()).transpose();
        let owner_scope = owner_scope.context("BCRLAPI_OWNER_SCOPE")?.unwrap_or_default();
        let store = JobStore::from_env(&required("BCRLAPI_TABLE")?, &required("BCRLAPI_BUCKET")?).await;
        Ok(Self { store, owner_scope })
    }
}

/// A setting that the function cannot start without.
fn required(name: &str) -> anyhow::Result<String> {
    optional(name).with_context(|| format!("the environment variable {name} is not set"))
}

/// A setting that may be missing or empty.
pub fn optional(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
