//! Who sees whose jobs: every caller, every route, every scope.

use std::collections::{BTreeMap, BTreeSet};

use bcrlapi_api::{JobList, routes};
use bcrlapi_domain::{JobId, OwnerScope};
use bcrlapi_local::{Principal, Settings};
use bcrlapi_tests::{Reply, System};
use http::Method;

/// Alice and Bob are users, Carol and Dave sessions of one role, Erin is of another account.
fn share(scope: OwnerScope, one: &str, other: &str) -> bool {
    let is_erins = |name| name == "erin";
    match scope {
        OwnerScope::Session => one == other,
        OwnerScope::Principal => one == other || ["carol", "dave"].iter().all(|name| [one, other].contains(name)),
        OwnerScope::Account => is_erins(one) == is_erins(other),
    }
}

async fn send(system: &System, who: &Principal, method: Method, path: &str) -> Reply {
    system.request_of(who, method, path, "{}").header("idempotency-key", "the-same-for-all").send().await
}

/// A job of this caller's that is done and has a result.
async fn done_job(system: &System, who: &Principal) -> JobId {
    let reply = system.request_of(who, Method::POST, "/v1/apis/mock/jobs", "{}").send().await;
    let id = reply.json()["uuid"].as_str().unwrap().parse().unwrap();
    system.finish(id, "{}").await;
    id
}

async fn everybody_sees_what_is_shared_and_nothing_else(scope: OwnerScope) {
    let system = System::start_with(Settings { owner_scope: scope, ..Settings::default() }).await;
    let everybody = system.stack().principals();
    assert_eq!(everybody.len(), 5);
    let mut jobs = BTreeMap::new();
    for who in everybody {
        jobs.insert(&who.name, done_job(&system, who).await);
    }
    for reader in everybody {
        let shared = |submitter: &&String| share(scope, submitter, &reader.name);
        let list = send(&system, reader, Method::GET, routes::LIST).await;
        let list: JobList = serde_json::from_slice(&list.body).unwrap();
        let listed: BTreeSet<JobId> = list.jobs.iter().map(|job| job.uuid).collect();
        assert_eq!(
            listed,
            jobs.keys().copied().filter(shared).map(|name| jobs[name]).collect(),
            "{scope:?} {reader:?}"
        );
        assert_eq!(send(&system, reader, Method::GET, routes::LAB).await.status, 200);

        for (submitter, &id) in &jobs {
            for (method, path, own) in [
                (Method::GET, routes::job(id), 200),
                (Method::GET, routes::result(id), 200),
                (Method::GET, routes::result_link(id), 200),
                (Method::POST, routes::cancel(id), 409),
            ] {
                let reply = send(&system, reader, method, &path).await;
                if shared(submitter) {
                    assert_eq!(reply.status, own, "{scope:?}: {} asks for {path} of {submitter}", reader.name);
                } else {
                    reply.assert_problem(404, "no-such-job");
                }
            }
        }
    }
    // Last, because it makes jobs: one key is one job for those who share, and another for those who do not.
    let mut keyed = BTreeMap::new();
    for who in everybody {
        let reply = send(&system, who, Method::POST, "/v1/apis/mock/jobs").await;
        keyed.insert(&who.name, reply.json()["uuid"].as_str().unwrap().to_owned());
    }
    for (one, ones) in &keyed {
        for (other, others) in &keyed {
            assert_eq!(ones == others, share(scope, one, other), "{scope:?}: {one} and {other}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_scope_of_principals_sessions_of_a_role_share() {
    everybody_sees_what_is_shared_and_nothing_else(OwnerScope::Principal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_scope_of_accounts_everybody_of_an_account_shares() {
    everybody_sees_what_is_shared_and_nothing_else(OwnerScope::Account).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_scope_of_sessions_nobody_shares() {
    everybody_sees_what_is_shared_and_nothing_else(OwnerScope::Session).await;
}

#[test]
fn no_function_starts_with_a_scope_that_it_does_not_know() {
    for function in ["submit", "status", "result"] {
        let mut command = std::process::Command::new(bcrlapi_tests::binary(function));
        command.envs([("BCRLAPI_TABLE", "t"), ("BCRLAPI_BUCKET", "b"), ("BCRLAPI_OWNER_SCOPE", "everybody")]);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains("BCRLAPI_OWNER_SCOPE"), "{function}: {stderr}");
    }
}
