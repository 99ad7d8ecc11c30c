//! The table's definition: what `template.yaml` deploys and what the local stack creates. A test compares the two.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};

/// The definition of the one table. All keys are strings.
#[derive(Debug)]
pub struct TableSchema {
    /// The table's only key.
    pub hash_key: &'static str,
    /// Its indexes, with all attributes projected.
    pub indexes: [Index; 2],
    /// The attribute that tells DynamoDB when a row may go, in seconds since 1970.
    pub ttl_attribute: &'static str,
}

/// A global secondary index.
#[derive(Debug)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// What it is asked by.
    pub hash_key: &'static str,
    /// What it sorts by.
    pub range_key: &'static str,
}

/// Both indexes are sorted by the table's own key: it ends in a version 7 uuid and so sorts by request date.
pub const TABLE: TableSchema = TableSchema {
    hash_key: PK,
    indexes: [
        Index { name: INBOX, hash_key: INBOX, range_key: PK },
        Index { name: OWNER, hash_key: OWNER, range_key: PK },
    ],
    ttl_attribute: EXPIRES_AT,
};

pub(crate) const PK: &str = "pk";
pub(crate) const EXPIRES_AT: &str = "expires_at";
/// Sparse: only jobs that are not done have it.
pub(crate) const INBOX: &str = "inbox";
pub(crate) const OWNER: &str = "owner";

/// `inbox` of a job that waits to be taken. One lab so far, and so one value.
pub(crate) const INBOX_NEW: &str = "lab";
/// `inbox` of a job that the lab has taken and not finished: what an agent that starts has to go on with.
pub(crate) const INBOX_TAKEN: &str = "lab:taken";

/// What `CreateTable` takes, with every key attribute once.
pub(crate) struct CreateTable {
    pub(crate) attributes: Vec<AttributeDefinition>,
    pub(crate) keys: Vec<KeySchemaElement>,
    pub(crate) indexes: Vec<GlobalSecondaryIndex>,
    pub(crate) billing: BillingMode,
    pub(crate) ttl: TimeToLiveSpecification,
}

impl TableSchema {
    pub(crate) fn to_create_table(&self) -> CreateTable {
        let attribute_names = std::iter::once(self.hash_key).chain(self.indexes.iter().map(|index| index.hash_key));
        CreateTable {
            attributes: attribute_names.map(string_attribute).collect(),
            keys: vec![key(self.hash_key, KeyType::Hash)],
            indexes: self.indexes.iter().map(Index::to_create_index).collect(),
            billing: BillingMode::PayPerRequest,
            ttl: TimeToLiveSpecification::builder()
                .attribute_name(self.ttl_attribute)
                .enabled(true)
                .build()
                .expect("name and flag are set"),
        }
    }
}

impl Index {
    fn to_create_index(&self) -> GlobalSecondaryIndex {
        GlobalSecondaryIndex::builder()
            .index_name(self.name)
            .key_schema(key(self.hash_key, KeyType::Hash))
            .key_schema(key(self.range_key, KeyType::Range))
            .projection(Projection::builder().projection_type(ProjectionType::All).build())
            .build()
            .expect("name and keys are set")
    }
}

fn string_attribute(name: &str) -> AttributeDefinition {
    let definition = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
    definition.build().expect("name and type are set")
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().expect("name and kind are set")
}
