//! A caller's jobs, newest first.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use bcrlapi_domain::{ApiName, Job, JobId, Owner, Status};
use chrono::{DateTime, Utc};

use super::JobStore;
use crate::StoreError;
use crate::item::{self, text};
use crate::schema::{OWNER, OWNER_KEYS, PK};

/// The most jobs that one call goes through in search of those that a filter lets pass.
const SEARCHED_MAX: usize = 1_000;
/// How many of them at a time: what is read in parallel.
const SEARCHED_PER_LOOK: usize = 250;

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

impl JobFilter {
    fn lets_pass(&self, job: &Job) -> bool {
        self.api.as_ref().is_none_or(|api| *api == job.api)
            && self.status.is_none_or(|status| status == job.state.status())
    }
}

impl JobStore {
    /// The owner's jobs that have not expired, newest first, from the one after `after` on: up to `limit`, or fewer
    /// where a filter lets so few pass that the search ends before. Which jobs there are is eventually consistent, as
    /// every index; what is said of each is as recent as its row.
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
        let per_look = if *filter == JobFilter::default() { limit + 1 } else { SEARCHED_PER_LOOK };
        let mut searched = 0;
        while searched < SEARCHED_MAX {
            let query = self.query_owner(owner, page.more_after, now);
            let look = query.limit(i32::try_from(per_look).unwrap_or(i32::MAX)).send().await;
            let look = look.map_err(StoreError::unavailable("list the caller's jobs"))?;

            let ids: Vec<JobId> = look.items().iter().filter_map(item::to_id).collect();
            searched += ids.len();
            let more_after = look.last_evaluated_key.as_ref().and_then(item::to_id);

            let jobs = self.wanted(&ids, filter).await?;
            let is_complete = page.add(jobs, more_after, limit);
            if is_complete {
                break;
            }
        }
        Ok(page)
    }

    /// Those of the jobs that the filter lets pass, newest first.
    async fn wanted(&self, ids: &[JobId], filter: &JobFilter) -> Result<Vec<Job>, StoreError> {
        let mut wanted = Vec::with_capacity(ids.len());

        for (_, read) in self.jobs(ids).await.into_iter().rev() {
            // The index may know of a row that is gone.
            wanted.extend(read?.filter(|job| filter.lets_pass(job)));
        }

        Ok(wanted)
    }

    fn query_owner(&self, owner: &Owner, after: Option<JobId>, now: DateTime<Utc>) -> QueryFluentBuilder {
        let query = self.dynamodb.query().table_name(&self.table).index_name(OWNER_KEYS).scan_index_forward(false);
        let query = query.key_condition_expression(format!("#owner = :owner AND {PK} >= :oldest"));
        let query = query.expression_attribute_names("#owner", OWNER);
        let query = query.expression_attribute_values(":owner", text(owner.as_str()));
        let query = query.expression_attribute_values(":oldest", item::oldest_pk(now));

        match after {
            None => query,
            Some(id) => query.exclusive_start_key(OWNER, text(owner.as_str())).exclusive_start_key(PK, item::pk(id)),
        }
    }
}

impl JobPage {
    /// Adds what a look has brought; says whether nothing more has to be looked for: the page is full, or the jobs are at
    /// their end.
    fn add(&mut self, jobs: Vec<Job>, more_after: Option<JobId>, limit: usize) -> bool {
        self.more_after = more_after;

        for job in jobs {
            if self.jobs.len() == limit {
                self.more_after = self.jobs.last().map(|job| job.id);
                return true;
            }
            self.jobs.push(job);
        }

        self.more_after.is_none() || self.jobs.len() == limit
    }
}
