//! Recording new jobs, and what keeps the same submit from becoming two.

use std::time::Duration;

use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction, RetryConfig};
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{
    CancellationReason, Put, ReturnValuesOnConditionCheckFailure, Select, TransactWriteItem,
};
use bcrlapi_domain::{IdempotencyKey, Job};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::JobStore;
use crate::item::{self, Item, number};
use crate::schema::{EXPIRES_AT, INBOX_ALL, PK};
use crate::{KeyedSubmit, StoreError};

/// How often a transaction is tried that others on the same key keep disturbing, and the pause before the second try.
const CONFLICT_TRIES: u32 = 8;
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);

impl JobStore {
    /// Records a new job: its body first, then the row that makes it visible to the lab.
    pub async fn submit(&self, job: &Job, body: Bytes) -> Result<(), StoreError> {
        self.put_request(job.id, body, &job.request).await?;
        let put = self.dynamodb.put_item().table_name(&self.table).set_item(Some(item::from_requested(job)));
        match put.condition_expression(is_new()).send().await {
            // The id is new by construction: a row that is there already is this very one, after a lost answer.
            Err(error) if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => {
                Ok(())
            }
            other => other.map(drop).map_err(StoreError::unavailable("write the job's row")),
        }
    }

    /// The submit of the job's owner, for the job's api, that has this key, as long as its job lives.
    pub async fn keyed_submit(
        &self,
        job: &Job,
        key: &IdempotencyKey,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyedSubmit>, StoreError> {
        let get = self.dynamodb.get_item().table_name(&self.table).key(PK, KeyedSubmit::pk(job, key));
        let row = get.consistent_read(true).send().await;
        let row = row.map_err(StoreError::unavailable("read the idempotency key's row"))?.item;
        let keyed = row.as_ref().map(KeyedSubmit::from_item).transpose()?;
        Ok(keyed.filter(|keyed| !keyed.id.is_expired(now)))
    }

    /// Records a new job under a key, in one transaction. Where another submit has got the key first, gives that one,
    /// and nothing is recorded.
    pub async fn submit_keyed(
        &self,
        job: &Job,
        body: Bytes,
        key: &IdempotencyKey,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyedSubmit>, StoreError> {
        self.put_request(job.id, body, &job.request).await?;
        let earlier = self.write_rows(job, key, now).await?;
        if earlier.is_some() {
            // The body came before the row, and no row will ever name it. That it cannot be removed is no reason to
            // refuse the caller: the bucket's lifecycle removes it too.
            let _ = self.delete_request(job.id).await;
        }
        Ok(earlier)
    }

    /// How many jobs are not done, counted up to `at_most`: one look at each value of the sparse index, which is as
    /// recent as an index is. Costs some 8 read units for a thousand jobs.
    pub async fn count_open_jobs(&self, at_most: usize, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let page = i32::try_from(at_most).unwrap_or(i32::MAX).max(1);
        let mut count = 0;
        for value in INBOX_ALL {
            let mut pages = self.query_inbox(value, now).select(Select::Count).limit(page).into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(StoreError::unavailable("count the open jobs"))?;
                count += usize::try_from(page.count()).unwrap_or_default();
                if count >= at_most {
                    return Ok(at_most);
                }
            }
        }
        Ok(count)
    }

    /// Writes both rows, or finds the row of the submit that has the key.
    async fn write_rows(
        &self,
        job: &Job,
        key: &IdempotencyKey,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyedSubmit>, StoreError> {
        let is_free = format!("{} OR {EXPIRES_AT} <= :now", is_new());
        let free = self.put(KeyedSubmit::to_item(job, key)).condition_expression(is_free);
        let free = free.expression_attribute_values(":now", number(now.timestamp().cast_unsigned()));
        let new = self.put(item::from_requested(job)).condition_expression(is_new());
        let retries = RetryConfig::standard().with_max_attempts(CONFLICT_TRIES).with_initial_backoff(CONFLICT_PAUSE);
        let config = aws_sdk_dynamodb::config::Builder::new().retry_config(retries).retry_classifier(RetryConflicts);
        // By the token a try whose answer was lost is the same transaction, and succeeds again.
        let transaction = self.dynamodb.transact_write_items().client_request_token(job.id.to_string());
        let transaction = transaction.transact_items(in_transaction(free)).transact_items(in_transaction(new));
        match transaction.customize().config_override(config).send().await {
            Ok(_) => Ok(None),
            Err(error) => match reasons(&error).iter().find_map(CancellationReason::item) {
                // After ten minutes the token is forgotten, and the key's row is this very submit's.
                Some(row) => Ok(Some(KeyedSubmit::from_item(row)?).filter(|keyed| keyed.id != job.id)),
                None => Err(StoreError::unavailable("write the job's row and its key's")(error)),
            },
        }
    }

    fn put(&self, item: Item) -> PutBuilder {
        let put = Put::builder().table_name(&self.table).set_item(Some(item));
        put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

fn in_transaction(put: PutBuilder) -> TransactWriteItem {
    TransactWriteItem::builder().put(put.build().expect("table and item are set")).build()
}

/// The condition that there is no such row.
fn is_new() -> String {
    format!("attribute_not_exists({PK})")
}

fn reasons(error: &SdkError<TransactWriteItemsError>) -> &[CancellationReason] {
    error.as_service_error().map(reasons_of).unwrap_or_default()
}

/// Why DynamoDB has canceled the transaction.
fn reasons_of(error: &TransactWriteItemsError) -> &[CancellationReason] {
    match error {
        TransactWriteItemsError::TransactionCanceledException(canceled) => canceled.cancellation_reasons(),
        _ => &[],
    }
}

/// Two submits with one key at the same moment disturb each other: the one that tries again finds the other's row.
#[derive(Debug)]
struct RetryConflicts;

impl ClassifyRetry for RetryConflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err).and_then(|error| error.as_operation_error());
        let error = error.and_then(|error| error.downcast_ref::<TransactWriteItemsError>());
        if error.is_some_and(is_conflict) { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "transaction conflicts"
    }
}

fn is_conflict(error: &TransactWriteItemsError) -> bool {
    reasons_of(error).iter().any(|reason| reason.code() == Some("TransactionConflict"))
}
