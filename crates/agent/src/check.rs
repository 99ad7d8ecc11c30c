//! Whether everything is there that the agent needs: tries it, changes nothing, and says what to
//! fix.

use std::path::Path;

use bcrlapi_cloud::JobStore;

mod cloud;
mod directory;

pub use bcrlapi_directory::{Finding, Verdict};

/// Tries it all, in the order in which it should be fixed.
pub async fn check(shared: &Path, store: &JobStore) -> Vec<Finding> {
    let shared = shared.to_owned();
    let in_lab = tokio::task::spawn_blocking(move || directory::check(&shared));
    // So many calls are too much for a stack.
    let (in_lab, in_cloud) = tokio::join!(in_lab, Box::pin(cloud::check(store)));
    in_lab.expect("a look at files does not panic").into_iter().chain(in_cloud).collect()
}
