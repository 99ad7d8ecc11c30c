//! Making the table and the bucket.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ScalarAttributeType,
    TimeToLiveSpecification,
};

use super::JobStore;
use crate::{Index, StoreError, TABLE};

impl JobStore {
    /// Makes the table and the bucket where they are missing. For the local stack: in AWS, `template.yaml` makes them.
    pub async fn provision(&self) -> Result<(), StoreError> {
        self.provision_table().await?;
        self.provision_bucket().await
    }

    async fn provision_table(&self) -> Result<(), StoreError> {
        if self.dynamodb.describe_table().table_name(&self.table).send().await.is_ok() {
            return Ok(());
        }
        let attributes = TABLE.indexes.iter().map(|index| index.name).chain([TABLE.hash_key]);
        let created = self
            .dynamodb
            .create_table()
            .table_name(&self.table)
            .set_attribute_definitions(Some(attributes.map(string_attribute).collect()))
            .key_schema(key(TABLE.hash_key, KeyType::Hash))
            .set_global_secondary_indexes(Some(TABLE.indexes.iter().map(secondary_index).collect()))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await;
        created.map_err(StoreError::unavailable("create the table"))?;
        self.provision_time_to_live().await
    }

    async fn provision_time_to_live(&self) -> Result<(), StoreError> {
        let ttl = TimeToLiveSpecification::builder().attribute_name(TABLE.ttl_attribute).enabled(true).build();
        let ttl = ttl.expect("name and flag are set");
        let update = self.dynamodb.update_time_to_live().table_name(&self.table).time_to_live_specification(ttl);
        update.send().await.map(drop).map_err(StoreError::unavailable("set the table's time to live"))
    }

    async fn provision_bucket(&self) -> Result<(), StoreError> {
        if self.s3.head_bucket().bucket(&self.bucket).send().await.is_ok() {
            return Ok(());
        }
        let created = self.s3.create_bucket().bucket(&self.bucket).send().await;
        created.map(drop).map_err(StoreError::unavailable("create the bucket"))
    }
}

fn secondary_index(index: &Index) -> GlobalSecondaryIndex {
    GlobalSecondaryIndex::builder()
        .index_name(index.name)
        .key_schema(key(index.name, KeyType::Hash))
        .key_schema(key(TABLE.hash_key, KeyType::Range))
        .projection(Projection::builder().projection_type(index.projection.into()).build())
        .build()
        .expect("name and keys are set")
}

fn string_attribute(name: &str) -> AttributeDefinition {
    let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
    definition.build().expect("name and type are set")
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("name and kind are set")
}
