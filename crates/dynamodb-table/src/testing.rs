//! Tables for tests.

use aws_client::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
        ProjectionType, ScalarAttributeType,
    },
};
use domain::{Clock, ids::uuid_v7};

/// A global secondary index of a test's table.
#[derive(Clone, Copy, Debug)]
pub struct TestIndex<'a> {
    pub name: &'a str,
    /// The partition key and optionally the sort key, both strings.
    pub keys: &'a [&'a str],
    /// The attributes that the index contains, beside the keys. `None`: all attributes.
    pub attributes: Option<&'a [&'a str]>,
}

/// Creates a table with the string keys `keys` (a partition key and optionally a sort key) and returns its
/// name, which is unique.
///
/// # Panics
///
/// When `AWS_ENDPOINT_URL` is not set (the test would use a real AWS account), or when DynamoDB returns an
/// error.
pub async fn create_table(aws: &SdkConfig, keys: &[&str]) -> String {
    create_table_with_indexes(aws, keys, &[]).await
}

/// [`create_table`], with indexes.
pub async fn create_table_with_indexes(aws: &SdkConfig, keys: &[&str], indexes: &[TestIndex<'_>]) -> String {
    assert!(
        aws.endpoint_url().is_some(),
        "AWS_ENDPOINT_URL is not set: run the tests with `cargo xtask test`, or set it to an AWS emulator"
    );
    let name = format!("test-{}", uuid_v7(Clock::system().now()));
    let indexes_of_table: Vec<GlobalSecondaryIndex> = indexes.iter().map(index).collect();
    let mut attributes: Vec<&str> = keys.to_vec();
    attributes.extend(indexes.iter().flat_map(|index| index.keys));
    attributes.sort_unstable();
    attributes.dedup();
    Client::new(aws)
        .create_table()
        .table_name(&name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(attributes.into_iter().map(string_attribute).collect()))
        .set_key_schema(Some(key_schema(keys)))
        .set_global_secondary_indexes(Some(indexes_of_table).filter(|indexes| !indexes.is_empty()))
        .send()
        .await
        .expect("the local AWS emulator creates the table");
    name
}

fn index(index: &TestIndex<'_>) -> GlobalSecondaryIndex {
    let projection = match index.attributes {
        None => Projection::builder().projection_type(ProjectionType::All),
        Some(attributes) => Projection::builder()
            .projection_type(ProjectionType::Include)
            .set_non_key_attributes(Some(attributes.iter().map(|name| (*name).to_owned()).collect())),
    };
    GlobalSecondaryIndex::builder()
        .index_name(index.name)
        .set_key_schema(Some(key_schema(index.keys)))
        .projection(projection.build())
        .build()
        .expect("the name and the keys are set")
}

fn key_schema(keys: &[&str]) -> Vec<KeySchemaElement> {
    let elements = keys.iter().zip([KeyType::Hash, KeyType::Range]);
    elements
        .map(|(key, key_type)| {
            let element = KeySchemaElement::builder().attribute_name(*key);
            let element = element.key_type(key_type).build();
            element.expect("the name and the key type are set")
        })
        .collect()
}

fn string_attribute(name: &str) -> AttributeDefinition {
    let definition = AttributeDefinition::builder().attribute_name(name);
    let definition = definition.attribute_type(ScalarAttributeType::S).build();
    definition.expect("the name and the type are set")
}
