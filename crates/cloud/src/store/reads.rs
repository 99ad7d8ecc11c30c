//! The rows of many jobs in few calls: after a week away, thousands are in doubt at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodb::operation::batch_get_item::builders::BatchGetItemFluentBuilder;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use bcrlapi_domain::{Job, JobId};
use futures::{StreamExt, stream};
use tokio::time::sleep;

use super::JobStore;
use crate::item::{self, Item};
use crate::schema::PK;
use crate::{RefusalKind, StoreError};

/// What is tried, for errors.
const ACTION: &str = "read the rows of many jobs";

/// The most calls for many rows that are under way at once.
const PARALLEL_CALLS: usize = 4;
/// The most rows that are read at once alone, where a call for many is not permitted; for each of
/// the parallel calls.
const PARALLEL_READS: usize = 4;

/// How often rows are asked for that DynamoDB has passed over, and the pause before the second
/// time, which doubles each time: over six seconds in all. Passed over is what exceeds 16 MB, or
/// what the table serves in a second.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(50);

/// A job, and what its row says.
type Read = (JobId, Result<Option<Job>, StoreError>);

impl JobStore {
    /// The most rows of one call. Source: the limit of `BatchGetItem`.
    pub const READ_MAX: usize = 100;

    /// The jobs as the table has them now, each once and in the order of their ids; each as
    /// [`JobStore::job`] gives it. Takes one call for each [`JobStore::READ_MAX`] of them. An
    /// identity that may only read rows alone gets them so.
    pub async fn jobs(&self, ids: &[JobId]) -> Vec<Read> {
        // DynamoDB refuses a call that names a row twice.
        let ids: Vec<JobId> = BTreeSet::from_iter(ids).into_iter().copied().collect();
        let calls: Vec<Vec<JobId>> = ids.chunks(Self::READ_MAX).map(<[JobId]>::to_vec).collect();

        let calls = stream::iter(calls).map(|ids| self.read_together(ids));
        calls.buffered(PARALLEL_CALLS).concat().await
    }

    /// Reads the rows in one call, or in some more where DynamoDB passes over some of them.
    async fn read_together(&self, ids: Vec<JobId>) -> Vec<Read> {
        let mut found = BTreeMap::new();
        let mut missing = ids.clone();
        let refused = self.read_into(&mut found, &mut missing).await.err();

        // A policy of before this call was made. It says so at the first try, when nothing has been
        // found yet.
        if refused.as_ref().and_then(StoreError::kind) == Some(RefusalKind::Permission) {
            return self.read_alone(ids).await;
        }

        let passed_over = || StoreError::refused(ACTION, RefusalKind::Throttled, "DynamoDB passed over them each time");
        let not_read = refused.unwrap_or_else(passed_over);
        let missing = BTreeSet::from_iter(missing);
        let mut jobs = Vec::with_capacity(ids.len());
        for id in ids {
            let job = if missing.contains(&id) { Err(not_read.clone()) } else { found.remove(&id).unwrap_or(Ok(None)) };
            jobs.push((id, job));
        }
        jobs
    }

    /// Moves what DynamoDB answers from `missing` to `found`; a row that does not exist is in
    /// neither.
    async fn read_into(
        &self,
        found: &mut BTreeMap<JobId, Result<Option<Job>, StoreError>>,
        missing: &mut Vec<JobId>,
    ) -> Result<(), StoreError> {
        let mut pause = PAUSE;
        for attempt in 0..TRIES {
            if attempt > 0 {
                sleep(pause).await;
                pause *= 2;
            }

            let answer = self.get_together(missing).send().await.map_err(StoreError::unavailable(ACTION))?;
            for row in answer.responses.into_iter().flatten().flat_map(|(_, rows)| rows) {
                if let Some(id) = item::to_id(&row) {
                    found.insert(id, item::to_job(&row));
                }
            }

            let passed_over = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys);
            *missing = passed_over.filter_map(|key| item::to_id(&key)).collect();
            if missing.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn read_alone(&self, ids: Vec<JobId>) -> Vec<Read> {
        let reads = stream::iter(ids).map(|id| async move { (id, self.job(id).await) });
        reads.buffered(PARALLEL_READS).collect().await
    }

    pub(super) fn get_together(&self, ids: &[JobId]) -> BatchGetItemFluentBuilder {
        let keys = ids.iter().map(|id| Item::from([(PK.to_owned(), item::pk(*id))])).collect();
        let rows = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true);
        let rows = rows.build().expect("the keys are set");
        self.dynamodb.batch_get_item().request_items(&self.table, rows)
    }
}
