//! The lab's row: what the lab says of itself, and which agent serves it.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;

use super::JobStore;
use crate::item::Item;
use crate::lab::{Beat, Heartbeat, Holder};
use crate::schema::PK;
use crate::{RefusalKind, StoreError};

/// What is tried, for errors.
const WRITE: &str = "write the lab's heartbeat";

impl JobStore {
    /// Records that the lab is alive, over what it said before, and that the heartbeat's agent
    /// serves it: unless another agent does, that is neither silent nor has left it. An agent's
    /// first heartbeat takes the lab, and each later one keeps it.
    ///
    /// Silent is who was last heard of [`Heartbeat::SILENCE`] before `last_sync`, which therefore
    /// has to be the cloud's date. A heartbeat that names no agent is recorded whoever serves the
    /// lab, as older agents do.
    pub async fn record_heartbeat(&self, heartbeat: &Heartbeat) -> Result<Beat, StoreError> {
        let mut put = self.put_lab(heartbeat.to_item());
        if let Some(holder) = &heartbeat.holder {
            put = put.condition_expression(Holder::is_free());
            put = put.set_expression_attribute_values(Some(holder.values(heartbeat.last_sync)));
        }

        // After a lost answer the SDK tries again, and finds the row its own.
        let Err(error) = put.send().await else { return Ok(Beat::Recorded) };
        let Some(PutItemError::ConditionalCheckFailedException(refused)) = error.as_service_error() else {
            return Err(StoreError::unavailable(WRITE)(error));
        };
        let other = refused.item().and_then(Beat::refused_by);
        other.ok_or_else(|| {
            let cause =
                format!("the row {PK} = lab of the table names an agent in no form that is known: remove the row");
            StoreError::refused(WRITE, RefusalKind::Other, cause)
        })
    }

    /// Leaves the lab to whoever comes next, at once. `last` is the last heartbeat that was
    /// recorded. Where another agent has taken over, the row stays as it is.
    pub async fn release_lease(&self, last: &Heartbeat) -> Result<(), StoreError> {
        let Some(holder) = &last.holder else { return Ok(()) };
        let released = self.date().unwrap_or(last.last_sync);
        let put = self.put_lab(last.to_released_item(released)).condition_expression(Holder::is_named());
        let put = put.set_expression_attribute_values(Some(holder.id_value()));

        match put.send().await {
            Err(error) if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => {
                Ok(())
            }
            other => other.map(drop).map_err(StoreError::unavailable("leave the lab to the next agent")),
        }
    }

    /// What the lab last said of itself; `None` where it never did, or in no form that is known.
    pub async fn heartbeat(&self) -> Result<Option<Heartbeat>, StoreError> {
        let get = self.dynamodb.get_item().table_name(&self.table).key(PK, Heartbeat::pk());
        let row = get.send().await.map_err(StoreError::unavailable("read the lab's heartbeat"))?.item;
        Ok(row.as_ref().and_then(Heartbeat::from_item))
    }

    fn put_lab(&self, item: Item) -> PutItemFluentBuilder {
        let put = self.dynamodb.put_item().table_name(&self.table).set_item(Some(item));
        put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}
