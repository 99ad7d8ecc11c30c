//! A caller's jobs, newest first.

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use bcrlapi_domain::{ApiName, Job, JobId, Owner, Status};
use chrono::{DateTime, Utc};

use super::JobStore;
use crate::StoreError;
use crate::item::{self, API, STATUS, text};
use crate::schema::{OWNER, PK};

/// The most rows that one call goes through in search of those that a filter lets pass: four looks.
const ROWS_MAX: usize = 1_000;
const ROWS_PER_LOOK: usize = 250;

/// Which of a caller's jobs are wanted; all where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only those for this api.
    pub api: Option<ApiName>,
    /// Only those in this status.
    pub status: Option<Status>,
}

/// A part of a caller's jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// The job after which there may be more; `None` where there is none.
    pub more_after: Option<JobId>,
}

impl JobStore {
    /// The owner's jobs that have not expired, newest first, from the one after `after` on: up to `limit`, or fewer
    /// where a filter lets so few pass that the search ends before. Eventually consistent, as every index.
    pub async fn list(
        &self,
        owner: &Owner,
        filter: &JobFilter,
        after: Option<JobId>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> Result<JobPage, StoreError> {
        let mut page = JobPage { jobs: Vec::new(), more_after: after };
        // A cursor that has expired on its way stands behind all jobs that there are.
        if after.is_some_and(|id| id.is_expired(now)) {
            return Ok(JobPage { more_after: None, ..page });
        }
        // One more than wanted tells whether there are more.
        let rows_per_look = if *filter == JobFilter::default() { limit + 1 } else { ROWS_PER_LOOK };
        let mut rows = 0;
        while rows < ROWS_MAX {
            let query = self.query_owner(owner, filter, page.more_after, now);
            let look = query.limit(i32::try_from(rows_per_look).unwrap_or(i32::MAX)).send().await;
            let look = look.map_err(StoreError::unavailable("list the caller's jobs"))?;
            rows += usize::try_from(look.scanned_count()).unwrap_or_default();
            if take_over(&mut page, &look, limit)? {
                break;
            }
        }
        Ok(page)
    }

    fn query_owner(
        &self,
        owner: &Owner,
        filter: &JobFilter,
        after: Option<JobId>,
        now: DateTime<Utc>,
    ) -> QueryFluentBuilder {
        let query = self.dynamodb.query().table_name(&self.table).index_name(OWNER).scan_index_forward(false);
        let query = query.key_condition_expression(format!("#owner = :owner AND {PK} >= :oldest"));
        let mut query = query.expression_attribute_names("#owner", OWNER);
        query = query.expression_attribute_values(":owner", text(owner.as_str()));
        query = query.expression_attribute_values(":oldest", item::oldest_pk(now));
        if let Some(id) = after {
            query = query.exclusive_start_key(OWNER, text(owner.as_str())).exclusive_start_key(PK, item::pk(id));
        }
        let mut conditions = Vec::new();
        if let Some(api) = &filter.api {
            conditions.push(format!("{API} = :api"));
            query = query.expression_attribute_values(":api", text(api.as_str()));
        }
        if let Some(status) = filter.status {
            conditions.push("#status = :status".to_owned());
            query = query.expression_attribute_names("#status", STATUS);
            query = query.expression_attribute_values(":status", text(status.as_str()));
        }
        query.set_filter_expression((!conditions.is_empty()).then(|| conditions.join(" AND ")))
    }
}

/// Adds what a look has brought to the page; says whether the page is full or the jobs are at their end.
fn take_over(page: &mut JobPage, look: &QueryOutput, limit: usize) -> Result<bool, StoreError> {
    page.more_after = look.last_evaluated_key.as_ref().and_then(item::to_id);
    for row in look.items() {
        if page.jobs.len() == limit {
            page.more_after = page.jobs.last().map(|job| job.id);
            return Ok(true);
        }
        page.jobs.extend(item::to_job(row)?);
    }
    Ok(page.more_after.is_none() || page.jobs.len() == limit)
}
