//! The rows of the jobs, in DynamoDB.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use bcrlapi_domain::{Job, JobId, Outcome, Payload, Status};
use chrono::{DateTime, Utc};

use super::JobStore;
use crate::StoreError;
use crate::item::{
    self, ERROR, FINISH_DATE, Item, MESSAGE, OUTCOME, PROGRESS, RESPONSE_SHA256, RESPONSE_SIZE, START_DATE, STATUS,
    date, number, text,
};
use crate::schema::{CANCEL_REQUESTED, INBOX, INBOX_NEW, INBOX_TAKEN, PK};

const SET_STATUS: &str = "SET #status = :status";

/// What a program has last said of itself while it ran, to be recorded with its end: so a last
/// report is never lost, and costs no write of its own. What is not given stays as the row has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastWords<'a> {
    /// How much of it was done, 0 to 100.
    pub progress: Option<u8>,
    /// What it was doing.
    pub message: Option<&'a str>,
}

impl JobStore {
    /// The most jobs that one look into the inbox brings.
    pub const INBOX_PAGE: u16 = 500;

    /// The job as the table has it now; `None` if it has no such job.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let get = self.dynamodb.get_item().table_name(&self.table).key(PK, item::pk(id)).consistent_read(true);
        let row = get.send().await.map_err(StoreError::unavailable("read the job's row"))?;
        job_in(row.item)
    }

    /// The oldest jobs that wait to be taken, or that their callers want back, and have not expired, as far as one look
    /// brings. An idle look reads nothing. Eventually consistent: a job may appear late, and stay a moment after it was
    /// taken.
    pub async fn inbox(&self, now: DateTime<Utc>) -> Result<Vec<JobId>, StoreError> {
        let page = self.query_inbox(INBOX_NEW, now).limit(Self::INBOX_PAGE.into()).send().await;
        let page = page.map_err(StoreError::unavailable("look into the inbox"))?;
        Ok(page.items().iter().filter_map(item::to_id).collect())
    }

    /// The job that has been in the inbox for longest: the lab has not taken it, or its caller wants it back. Eventually
    /// consistent, as the inbox. Costs half a read unit.
    pub async fn oldest_in_inbox(&self, now: DateTime<Utc>) -> Result<Option<JobId>, StoreError> {
        let oldest = self.query_inbox(INBOX_NEW, now).limit(1).send().await;
        let oldest = oldest.map_err(StoreError::unavailable("look into the inbox"))?;
        Ok(oldest.items().first().and_then(item::to_id))
    }

    /// All jobs that the lab has taken and not finished and that have not expired, but for those in the inbox.
    /// Eventually consistent, as the inbox.
    pub async fn taken_jobs(&self, now: DateTime<Utc>) -> Result<Vec<JobId>, StoreError> {
        let mut rows = self.query_inbox(INBOX_TAKEN, now).into_paginator().items().send();
        let mut jobs = Vec::new();
        while let Some(row) = rows.next().await {
            jobs.extend(item::to_id(&row.map_err(StoreError::unavailable("read the taken jobs"))?));
        }
        Ok(jobs)
    }

    /// All jobs that have not expired and that a lab has ever taken or are done, and the errors of rows that are
    /// damaged. Reads the whole table.
    pub async fn known_jobs(&self, now: DateTime<Utc>) -> Result<Vec<Result<Job, StoreError>>, StoreError> {
        let scan = self.dynamodb.scan().table_name(&self.table).filter_expression(format!("{PK} >= :oldest"));
        let scan = scan.expression_attribute_values(":oldest", item::oldest_pk(now));
        let mut rows = scan.into_paginator().items().send();
        let mut jobs = Vec::new();
        while let Some(row) = rows.next().await {
            let row = row.map_err(StoreError::unavailable("read all jobs"))?;
            jobs.extend(if item::is_new(&row) { None } else { item::to_job(&row).transpose() });
        }
        Ok(jobs)
    }

    /// Takes a job for the lab; `None` if it is done or gone. Taking it again gives it again, as it then is.
    pub async fn take(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let take = self.update(id).update_expression(format!("SET {INBOX} = :taken"));
        let take = take.condition_expression(format!("{INBOX} = :new"));
        let take = take.expression_attribute_values(":taken", text(INBOX_TAKEN));
        let take = take.expression_attribute_values(":new", text(INBOX_NEW));
        let row = changed(take.send().await)?;
        job_in(row.filter(item::is_taken))
    }

    /// Records that the program runs, and what it says of itself; fields that are not given stay. From here on it
    /// cannot be taken back, whoever has asked for that. A done job stays as it is. Gives the job as it then is; `None`
    /// if there is no such job.
    pub async fn report(
        &self,
        id: JobId,
        progress: Option<u8>,
        message: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>, StoreError> {
        let words = LastWords { progress, message };
        let started = format!("{START_DATE} = if_not_exists({START_DATE}, :now)");
        let set = format!("{SET_STATUS}, {INBOX} = :taken, {started}{}", words.fields());

        let update = where_it_may(self.set_status(id, Status::Processing), Status::Processing);
        let update = update.expression_attribute_values(":now", date(now));
        let update = update.expression_attribute_values(":taken", text(INBOX_TAKEN));
        let update = words.fill(update).update_expression(set);
        job_in(changed(update.send().await)?)
    }

    /// Records that the job has succeeded, and in the same write what its program has last said of
    /// itself; its response must be uploaded. A done job stays as it is. Gives the job as it then
    /// is; `None` if there is no such job.
    pub async fn succeed(
        &self,
        id: JobId,
        response: &Payload,
        last: Option<LastWords<'_>>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>, StoreError> {
        let words = last.unwrap_or_default();
        let fields = format!(", {RESPONSE_SIZE} = :size, {RESPONSE_SHA256} = :sha256{}", words.fields());
        let update = where_it_may(self.set_done(id, Outcome::Succeeded, &fields, now), Status::Done);
        let update = update.expression_attribute_values(":size", number(response.size_bytes));
        let update = update.expression_attribute_values(":sha256", text(&response.sha256));
        job_in(changed(words.fill(update).send().await)?)
    }

    /// Records that the job has failed, and why, and in the same write what its program has last
    /// said of itself. A done job stays as it is. Gives the job as it then is; `None` if there is
    /// no such job.
    pub async fn fail(
        &self,
        id: JobId,
        error: &str,
        last: Option<LastWords<'_>>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>, StoreError> {
        self.end(id, Outcome::Failed, error, last.unwrap_or_default(), now).await
    }

    /// Records that the lab never came back from the job. A done job stays as it is. Gives the job as it then is;
    /// `None` if there is no such job.
    pub async fn lose(&self, id: JobId, error: &str, now: DateTime<Utc>) -> Result<Option<Job>, StoreError> {
        self.end(id, Outcome::Lost, error, LastWords::default(), now).await
    }

    async fn end(
        &self,
        id: JobId,
        outcome: Outcome,
        error: &str,
        words: LastWords<'_>,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>, StoreError> {
        let fields = format!(", #error = :error{}", words.fields());
        let update = where_it_may(self.set_done(id, outcome, &fields, now), Status::Done);
        let update = update.expression_attribute_names("#error", ERROR);
        let update = update.expression_attribute_values(":error", text(error));
        job_in(changed(words.fill(update).send().await)?)
    }

    /// Takes the job back for its caller: one that the lab has not taken is canceled; one that it has taken and that no
    /// program runs is asked back from the lab. Any other stays as it is. Gives the job as it then is; `None` if there
    /// is no such job.
    pub async fn cancel(&self, id: JobId, now: DateTime<Utc>) -> Result<Option<Job>, StoreError> {
        let cancel = self.set_done(id, Outcome::Canceled, "", now);
        let not_asked = format!("attribute_not_exists({CANCEL_REQUESTED})");
        let cancel = cancel.condition_expression(format!("{INBOX} = :new AND {not_asked}"));
        let cancel = cancel.expression_attribute_values(":new", text(INBOX_NEW));
        let row = changed(cancel.send().await)?;
        if !row.as_ref().is_some_and(item::is_taken) {
            return job_in(row);
        }

        // Into the inbox again: there the lab learns of it without another question.
        let request = self.update(id).update_expression(format!("SET {CANCEL_REQUESTED} = :true, {INBOX} = :new"));
        let request = request.condition_expression(format!("#status = :pending AND {INBOX} = :taken AND {not_asked}"));
        let request = request.expression_attribute_names("#status", STATUS);
        let request = request.expression_attribute_values(":true", AttributeValue::Bool(true));
        let request = request.expression_attribute_values(":new", text(INBOX_NEW));
        let request = request.expression_attribute_values(":taken", text(INBOX_TAKEN));
        let request = request.expression_attribute_values(":pending", text(Status::Pending.as_str()));
        job_in(changed(request.send().await)?)
    }

    /// Records that the lab has given a pending job back to its caller. A job whose program runs or that is done stays
    /// as it is. Gives the job as it then is; `None` if there is no such job.
    pub async fn record_canceled(&self, id: JobId, now: DateTime<Utc>) -> Result<Option<Job>, StoreError> {
        let canceled = self.set_done(id, Outcome::Canceled, "", now).condition_expression("#status = :pending");
        let canceled = canceled.expression_attribute_values(":pending", text(Status::Pending.as_str()));
        job_in(changed(canceled.send().await)?)
    }

    pub(super) fn query_inbox(&self, value: &str, now: DateTime<Utc>) -> QueryFluentBuilder {
        let query = self.dynamodb.query().table_name(&self.table).index_name(INBOX);
        let query = query.key_condition_expression(format!("{INBOX} = :inbox AND {PK} >= :oldest"));
        let query = query.expression_attribute_values(":inbox", text(value));
        query.expression_attribute_values(":oldest", item::oldest_pk(now))
    }

    /// An update that gives the row as it then is, also where its condition does not hold.
    fn update(&self, id: JobId) -> UpdateItemFluentBuilder {
        let update = self.dynamodb.update_item().table_name(&self.table).key(PK, item::pk(id));
        let update = update.return_values(ReturnValue::AllNew);
        update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// An update that sets `#status`, and still lacks its condition.
    fn set_status(&self, id: JobId, status: Status) -> UpdateItemFluentBuilder {
        let update = self.update(id).expression_attribute_names("#status", STATUS);
        update.expression_attribute_values(":status", text(status.as_str()))
    }

    /// An update that ends the job and sets `more`, each after a comma; still lacks its condition.
    fn set_done(&self, id: JobId, outcome: Outcome, more: &str, now: DateTime<Utc>) -> UpdateItemFluentBuilder {
        let set = format!("{SET_STATUS}, {OUTCOME} = :outcome, {FINISH_DATE} = :now{more} REMOVE {INBOX}");
        let update = self.set_status(id, Status::Done).update_expression(set);
        let update = update.expression_attribute_values(":outcome", text(outcome.as_str()));
        update.expression_attribute_values(":now", date(now))
    }
}

impl LastWords<'_> {
    /// What an update's expression sets by them, each after a comma.
    fn fields(self) -> String {
        let mut fields = String::new();
        if self.progress.is_some() {
            fields += &format!(", {PROGRESS} = :progress");
        }
        if self.message.is_some() {
            fields += &format!(", {MESSAGE} = :message");
        }
        fields
    }

    /// The update with the values of [`LastWords::fields`].
    fn fill(self, mut update: UpdateItemFluentBuilder) -> UpdateItemFluentBuilder {
        if let Some(progress) = self.progress {
            update = update.expression_attribute_values(":progress", number(progress));
        }
        if let Some(message) = self.message {
            update = update.expression_attribute_values(":message", text(message));
        }
        update
    }
}

/// The update, to be made only where the domain lets a job come from to its next status.
fn where_it_may(mut update: UpdateItemFluentBuilder, next: Status) -> UpdateItemFluentBuilder {
    let mut sources = Vec::new();
    for source in Status::ALL.into_iter().filter(|status| status.may_become(next)) {
        let name = format!(":{}", source.as_str());
        update = update.expression_attribute_values(&name, text(source.as_str()));
        sources.push(name);
    }
    update.condition_expression(format!("#status IN ({})", sources.join(", ")))
}

/// The row after an update, or as it was found where the update's condition did not hold; `None` if there is none.
fn changed(result: Result<UpdateItemOutput, SdkError<UpdateItemError>>) -> Result<Option<Item>, StoreError> {
    match result {
        Ok(output) => Ok(output.attributes),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => Ok(failed.item.clone()),
            _ => Err(StoreError::unavailable("change the job's row")(error)),
        },
    }
}

pub(super) fn job_in(row: Option<Item>) -> Result<Option<Job>, StoreError> {
    match row {
        Some(row) => item::to_job(&row),
        None => Ok(None),
    }
}
