//! One step of many jobs in one call: worth while where many come at once. Each row has its own condition and its own
//! answer, as in a call of its own.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::batch_execute_statement::builders::BatchExecuteStatementFluentBuilder;
use aws_sdk_dynamodb::operation::batch_execute_statement::{BatchExecuteStatementError, BatchExecuteStatementOutput};
use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementErrorCodeEnum, BatchStatementRequest, BatchStatementResponse,
    ReturnValuesOnConditionCheckFailure,
};
use bcrlapi_domain::{Job, JobId, Status};
use chrono::{DateTime, Utc};

use super::JobStore;
use super::rows::job_in;
use crate::item::{self, Item, START_DATE, STATUS, date, text};
use crate::schema::{INBOX, INBOX_NEW, INBOX_TAKEN, PK};
use crate::{RefusalKind, StoreError};

/// What is tried, for errors.
const ACTION: &str = "change the rows of many jobs";
/// The status of HTTP of an answer that has errors of single statements in it.
pub(super) const ANSWERED: u16 = 200;

type Answered = Result<BatchExecuteStatementOutput, SdkError<BatchExecuteStatementError>>;

impl JobStore {
    /// The most jobs of one call. Source: the limit of `BatchExecuteStatement`.
    pub const BATCH_MAX: usize = 25;

    /// Takes jobs for the lab in one call, at most [`JobStore::BATCH_MAX`]; gives what each came to, in their order, as
    /// [`JobStore::take`] does.
    pub async fn take_all(&self, ids: &[JobId]) -> Vec<Result<Option<Job>, StoreError>> {
        let rows = rows_of(ids, self.take_together(ids).send().await);
        rows.into_iter().map(|row| job_in(row?.filter(item::is_taken))).collect()
    }

    /// Records in one call that the programs of jobs run that were pending, at most [`JobStore::BATCH_MAX`]; gives what
    /// each came to, in their order, as [`JobStore::report`] does.
    pub async fn start_all(&self, ids: &[JobId], now: DateTime<Utc>) -> Vec<Result<Option<Job>, StoreError>> {
        let set = format!(r#"SET "{STATUS}" = ? SET {INBOX} = ? SET {START_DATE} = ?"#);
        let values = [text(Status::Processing.as_str()), text(INBOX_TAKEN), date(now)];
        let pending = (format!(r#""{STATUS}" = ?"#), text(Status::Pending.as_str()));
        let rows = rows_of(ids, self.update_together(ids, &set, &values, &pending).send().await);
        rows.into_iter().map(|row| job_in(row?)).collect()
    }

    pub(super) fn take_together(&self, ids: &[JobId]) -> BatchExecuteStatementFluentBuilder {
        let new = (format!("{INBOX} = ?"), text(INBOX_NEW));
        self.update_together(ids, &format!("SET {INBOX} = ?"), &[text(INBOX_TAKEN)], &new)
    }

    /// The same update of each job's row, and the condition for it with its value.
    fn update_together(
        &self,
        ids: &[JobId],
        set: &str,
        values: &[AttributeValue],
        (condition, expected): &(String, AttributeValue),
    ) -> BatchExecuteStatementFluentBuilder {
        let statement = format!(r#"UPDATE "{}" {set} WHERE {PK} = ? AND {condition} RETURNING ALL NEW *"#, self.table);
        let update = |id: &JobId| {
            let parameters = values.iter().cloned().chain([item::pk(*id), expected.clone()]).collect();
            let update = BatchStatementRequest::builder().statement(&statement).set_parameters(Some(parameters));
            let update = update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            update.build().expect("the statement is set")
        };
        self.dynamodb.batch_execute_statement().set_statements(Some(ids.iter().map(update).collect()))
    }
}

/// Each job's row after its update, or as it was found where the condition did not hold; `None` if there is none.
fn rows_of(ids: &[JobId], answered: Answered) -> Vec<Result<Option<Item>, StoreError>> {
    match answered.map_err(StoreError::unavailable(ACTION)) {
        Ok(answered) => {
            let mut rows = answered.responses.unwrap_or_default().into_iter().map(row_in);
            ids.iter()
                .map(|_| rows.next().unwrap_or_else(|| Err(refused(RefusalKind::Other, "no answer".to_owned()))))
                .collect()
        }
        Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
    }
}

fn row_in(answer: BatchStatementResponse) -> Result<Option<Item>, StoreError> {
    match answer.error {
        None => {
            answer.item.map(Some).ok_or_else(|| refused(RefusalKind::Other, "an update without its row".to_owned()))
        }
        Some(error) if error.code == Some(BatchStatementErrorCodeEnum::ConditionalCheckFailed) => Ok(error.item),
        Some(error) => {
            let code = error.code().map(BatchStatementErrorCodeEnum::as_str);
            let message = error.message().unwrap_or_default();
            let kind = RefusalKind::of(code, message, ANSWERED);
            Err(refused(kind, format!("{}: {message}", code.unwrap_or("no code"))))
        }
    }
}

fn refused(kind: RefusalKind, cause: String) -> StoreError {
    StoreError::refused(ACTION, kind, cause)
}
