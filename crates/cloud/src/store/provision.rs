use aws_sdk_dynamodb::operation::create_table::CreateTableError;

use super::JobStore;
use crate::{StoreError, TABLE};

impl JobStore {
    /// Makes the table and the bucket where they are missing. For the local stack: in AWS, `template.yaml` makes them.
    pub async fn provision(&self) -> Result<(), StoreError> {
        self.provision_table().await?;
        self.provision_bucket().await
    }

    async fn provision_table(&self) -> Result<(), StoreError> {
        let create = TABLE.to_create_table();
        let created = self
            .dynamodb
            .create_table()
            .table_name(&self.table)
            .set_attribute_definitions(Some(create.attributes))
            .set_key_schema(Some(create.keys))
            .set_global_secondary_indexes(Some(create.indexes))
            .billing_mode(create.billing)
            .send()
            .await;
        match created {
            Err(error) if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) => {
                Ok(())
            }
            Err(error) => Err(StoreError::unavailable("create the table")(error)),
            Ok(_) => {
                let ttl = self.dynamodb.update_time_to_live().table_name(&self.table);
                let updated = ttl.time_to_live_specification(create.ttl).send().await;
                updated.map(drop).map_err(StoreError::unavailable("set the table's time to live"))
            }
        }
    }

    async fn provision_bucket(&self) -> Result<(), StoreError> {
        if self.s3.head_bucket().bucket(&self.bucket).send().await.is_ok() {
            return Ok(());
        }
        let created = self.s3.create_bucket().bucket(&self.bucket).send().await;
        created.map(drop).map_err(StoreError::unavailable("create the bucket"))
    }
}
