//! The embedded stores with something in them, and what the benchmarks do with jobs.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrlapi_cloud::JobStore;
use bcrlapi_domain::{Job, JobId, Owner, Payload};
use bytes::Bytes;
use chrono::Utc;
use dynoxide::types::{AttributeValue, Item};
use dynoxide::{Database, ImportOptions};
use sha2::{Digest, Sha256};
use uuid::{NoContext, Timestamp, Uuid};

use crate::meter::Meter;
use crate::system::{DYNAMODB_URL, S3_URL, System};

/// What every job of the benchmarks sends and gets: some 2 KB.
pub(crate) const BODY_BYTES: usize = 2_000;
const ROWS_PER_IMPORT: u64 = 10_000;
/// Over how long before now the history is spread.
const HISTORY_S: u64 = 6 * 24 * 3600;

/// A body of [`BODY_BYTES`], in JSON.
pub(crate) fn body() -> String {
    format!(r#"{{"payload": "{}"}}"#, "x".repeat(BODY_BYTES - 15))
}

pub(crate) fn payload_of(body: &[u8]) -> Payload {
    Payload { size_bytes: body.len() as u64, sha256: BASE64_STANDARD.encode(Sha256::digest(body)) }
}

/// The caller of the events that functions get.
pub(crate) fn owner() -> anyhow::Result<Owner> {
    Owner::from_identity("123456789012", "AIDAEXAMPLE").context("an account and a caller are an owner")
}

/// Records a new job of a body, as `submit` does.
pub(crate) async fn submit(store: &JobStore, body: &str) -> anyhow::Result<Job> {
    let id = Uuid::now_v7().to_string().parse()?;
    let job = Job::requested(id, "mock".parse()?, owner()?, payload_of(body.as_bytes()));
    store.submit(&job, Bytes::copy_from_slice(body.as_bytes())).await?;
    Ok(job)
}

/// Records as many new jobs, sixteen at a time.
pub(crate) async fn submit_many(store: &JobStore, count: usize, body: &str) -> anyhow::Result<Vec<JobId>> {
    use futures::{StreamExt, TryStreamExt, stream};
    let submits = stream::iter(0..count).map(|_| async { anyhow::Ok(submit(store, body).await?.id) });
    submits.buffer_unordered(16).try_collect().await
}

/// Takes a job through the lab's calls, to its end.
pub(crate) async fn finish(store: &JobStore, id: JobId, response: &Path) -> anyhow::Result<()> {
    let payload = payload_of(&fs::read(response)?);
    store.take(id).await?.context("the job waits")?;
    store.report(id, None, None, Utc::now()).await?;
    let parts = [payload.sha256.clone()];
    store.put_response(id, &fs::File::open(response)?, &payload, &parts).await?;
    let done = store.succeed(id, &payload, None, Utc::now()).await?;
    ensure!(done.is_some_and(|job| job.state.is_done()), "the job is done");
    Ok(())
}

/// Fills the table with rows of jobs that are done: each is a copy of this one's under another id, spread over the days
/// before. Their bodies are not there.
pub(crate) fn add_history(system: &System, model: JobId, rows: u64) -> anyhow::Result<()> {
    let file = system.stack().directory().join("dynamodb.sqlite");
    let database = Database::new(file.to_str().context("a temporary directory has a plain name")?)?;
    let table = system.environment("BCRLAPI_TABLE")?;
    let model = row_of(&database, &table, model)?;
    database.enable_bulk_loading()?;
    let now_s = u64::try_from(Utc::now().timestamp())?;
    for first in (0..rows).step_by(usize::try_from(ROWS_PER_IMPORT)?) {
        let last = rows.min(first + ROWS_PER_IMPORT);
        let copies = (first..last).map(|number| {
            let second = now_s - HISTORY_S + number * HISTORY_S / rows;
            let id = Uuid::new_v7(Timestamp::from_unix(NoContext, second, 0));
            let mut row = model.clone();
            row.insert("pk".to_owned(), AttributeValue::S(format!("job#{id}")));
            row
        });
        database.import_items(&table, copies.collect(), ImportOptions::default())?;
    }
    database.disable_bulk_loading()?;
    Ok(())
}

fn row_of(database: &Database, table: &str, id: JobId) -> anyhow::Result<Item> {
    let request = serde_json::json!({"TableName": table, "Key": {"pk": {"S": format!("job#{id}")}}});
    let row = database.get_item(serde_json::from_value(request)?)?.item;
    row.context("the job has a row")
}

/// Meters in front of the two stores.
pub(crate) struct Metered {
    pub(crate) dynamodb: Meter,
    pub(crate) s3: Meter,
}

impl Metered {
    pub(crate) async fn start(system: &System) -> anyhow::Result<Self> {
        let keys = &system.stack().principals()[0];
        let dynamodb = Meter::start(&system.environment(DYNAMODB_URL)?, keys).await?;
        Ok(Self { dynamodb, s3: Meter::start(&system.environment(S3_URL)?, keys).await? })
    }

    /// For the environment of a program whose calls are to be counted.
    pub(crate) fn environment(&self) -> [(&str, &str); 2] {
        [(DYNAMODB_URL, self.dynamodb.url()), (S3_URL, self.s3.url())]
    }

    /// What has passed since it was last asked.
    pub(crate) fn take(&self) -> Vec<crate::meter::Call> {
        self.dynamodb.take().into_iter().chain(self.s3.take()).collect()
    }
}
