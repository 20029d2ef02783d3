//! DynamoDB tables for tests.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use domain::{Clock, ids::uuid_v7};

/// Creates a table with the string keys `keys` (a partition key and optionally a sort key) and returns its
/// name, which is unique.
///
/// # Panics
///
/// When `AWS_ENDPOINT_URL` is not set (the test would use a real AWS account), or when DynamoDB returns an
/// error.
pub async fn create_table(aws: &SdkConfig, keys: &[&str]) -> String {
    assert!(
        aws.endpoint_url().is_some(),
        "AWS_ENDPOINT_URL is not set: run the tests with `cargo xtask test`, or set it to an AWS emulator"
    );
    let name = format!("test-{}", uuid_v7(Clock::system().now()));
    let mut table = Client::new(aws)
        .create_table()
        .table_name(&name)
        .billing_mode(BillingMode::PayPerRequest);
    for (key, key_type) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
        let definition = AttributeDefinition::builder()
            .attribute_name(*key)
            .attribute_type(ScalarAttributeType::S);
        let element = KeySchemaElement::builder()
            .attribute_name(*key)
            .key_type(key_type);
        table = table
            .attribute_definitions(definition.build().expect("the name and the type are set"))
            .key_schema(element.build().expect("the name and the key type are set"));
    }
    table
        .send()
        .await
        .expect("the local AWS emulator creates the table");
    name
}
