//! Making the table and the bucket.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::operation::describe_table::DescribeTableOutput;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, CreateGlobalSecondaryIndexAction, GlobalSecondaryIndex,
    GlobalSecondaryIndexUpdate, KeySchemaElement, KeyType, Projection, ScalarAttributeType, TableDescription,
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
        if let Ok(described) = self.dynamodb.describe_table().table_name(&self.table).send().await {
            return self.provision_indexes(&described).await;
        }
        let attributes = TABLE.indexes.iter().map(|index| index.attribute).chain([TABLE.hash_key]);
        let attributes: BTreeSet<_> = attributes.collect();
        let created = self
            .dynamodb
            .create_table()
            .table_name(&self.table)
            .set_attribute_definitions(Some(attributes.into_iter().map(string_attribute).collect()))
            .key_schema(key(TABLE.hash_key, KeyType::Hash))
            .set_global_secondary_indexes(Some(TABLE.indexes.iter().map(secondary_index).collect()))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await;
        created.map_err(StoreError::unavailable("create the table"))?;
        self.provision_time_to_live().await
    }

    /// Adds the indexes that a table of an older version lacks.
    async fn provision_indexes(&self, described: &DescribeTableOutput) -> Result<(), StoreError> {
        let there = described.table().map(TableDescription::global_secondary_indexes).unwrap_or_default();

        for index in &TABLE.indexes {
            if there.iter().any(|there| there.index_name() == Some(index.name)) {
                continue;
            }

            let create = CreateGlobalSecondaryIndexAction::builder()
                .index_name(index.name)
                .set_key_schema(Some(index_keys(index)))
                .projection(projection(index))
                .build()
                .expect("name and keys are set");
            let updated = self
                .dynamodb
                .update_table()
                .table_name(&self.table)
                .attribute_definitions(string_attribute(TABLE.hash_key))
                .attribute_definitions(string_attribute(index.attribute))
                .global_secondary_index_updates(GlobalSecondaryIndexUpdate::builder().create(create).build())
                .send()
                .await;
            updated.map_err(StoreError::unavailable("add an index to the table"))?;
        }

        Ok(())
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
        .set_key_schema(Some(index_keys(index)))
        .projection(projection(index))
        .build()
        .expect("name and keys are set")
}

fn index_keys(index: &Index) -> Vec<KeySchemaElement> {
    vec![key(index.attribute, KeyType::Hash), key(TABLE.hash_key, KeyType::Range)]
}

fn projection(index: &Index) -> Projection {
    Projection::builder().projection_type(index.projection.into()).build()
}

fn string_attribute(name: &str) -> AttributeDefinition {
    let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
    definition.build().expect("name and type are set")
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("name and kind are set")
}
