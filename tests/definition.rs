//! The table that `template.yaml` deploys is the table that the code was tested on.

use std::collections::BTreeSet;
use std::fs;

use bcrlapi_cloud::{Index, TABLE};
use serde_norway::Value;

fn table_properties() -> Value {
    let template = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml")).unwrap();
    let template: Value = serde_norway::from_str(&template).unwrap();
    template["Resources"]["Table"]["Properties"].clone()
}

fn key(name: &str, kind: &str) -> Value {
    serde_norway::from_str(&format!("{{AttributeName: {name}, KeyType: {kind}}}")).unwrap()
}

#[test]
fn the_template_defines_the_table_that_the_code_creates() {
    let table = table_properties();
    assert_eq!(table["KeySchema"], Value::Sequence(vec![key(TABLE.hash_key, "HASH")]));
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    let ttl = &table["TimeToLiveSpecification"];
    assert_eq!((&ttl["AttributeName"], &ttl["Enabled"]), (&TABLE.ttl_attribute.into(), &true.into()));

    let index = |index: &Index| {
        let keys = Value::Sequence(vec![key(index.attribute, "HASH"), key(TABLE.hash_key, "RANGE")]);
        (Value::from(index.name), keys, Value::from(index.projection))
    };
    let deployed = table["GlobalSecondaryIndexes"].as_sequence().unwrap().iter();
    let deployed = deployed.map(|index| {
        (index["IndexName"].clone(), index["KeySchema"].clone(), index["Projection"]["ProjectionType"].clone())
    });
    assert_eq!(deployed.collect::<Vec<_>>(), TABLE.indexes.iter().map(index).collect::<Vec<_>>());

    let attributes = TABLE.indexes.iter().map(|index| index.attribute).chain([TABLE.hash_key]);
    let attributes: BTreeSet<_> = attributes.collect();
    let deployed = table["AttributeDefinitions"].as_sequence().unwrap().iter();
    let mut deployed: Vec<_> = deployed
        .map(|attribute| (attribute["AttributeName"].as_str().unwrap(), attribute["AttributeType"].as_str().unwrap()))
        .collect();
    deployed.sort_unstable();
    assert_eq!(deployed, attributes.into_iter().map(|name| (name, "S")).collect::<Vec<_>>());
}
