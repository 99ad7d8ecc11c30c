use std::path::Path;
use std::time::Duration;

use bcrlapi_agent::{Audit, Clock};
use bcrlapi_cloud::JobStore;
use bcrlapi_exchange::audit::Finding;
use chrono::TimeDelta;

/// Fails if a lab in which nobody has anything left to do breaks what is promised, by any clock.
pub async fn assert_audit_is_clean(shared: &Path, store: &JobStore, lost_after: TimeDelta, clock: Clock) {
    // Nothing is under way: nothing has to be waited for.
    let (grace, pause) = (TimeDelta::zero(), Duration::ZERO);
    let audit = Audit { shared: shared.to_owned(), lost_after: Some(lost_after), grace, pause, clock };

    let findings = audit.run(store).await.expect("cloud and directory can be seen");
    let failures: Vec<_> = findings.iter().filter(|finding| finding.is_failure()).map(Finding::to_string).collect();
    assert!(failures.is_empty(), "the audit finds:\n{}", failures.join("\n"));
}
