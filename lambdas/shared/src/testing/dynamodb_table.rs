//! A table of a test's own.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use domain::{Clock, ids::uuid_v7};

/// Makes a table with the text keys `keys` (a partition key, and perhaps a sort key) under a name that no
/// other test has, and gives the name.
///
/// # Panics
///
/// When `AWS_ENDPOINT_URL` is not set, because that would be AWS itself, and when DynamoDB refuses.
pub async fn create_table(aws: &SdkConfig, keys: &[&str]) -> String {
    assert!(
        aws.endpoint_url().is_some(),
        "set AWS_ENDPOINT_URL to a local AWS, or use `cargo xtask test`"
    );
    let name = format!("test-{}", uuid_v7(Clock::system().now()));
    let mut table = Client::new(aws)
        .create_table()
        .table_name(&name)
        .billing_mode(BillingMode::PayPerRequest);
    for (key, role) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
        let definition = AttributeDefinition::builder()
            .attribute_name(*key)
            .attribute_type(ScalarAttributeType::S);
        let element = KeySchemaElement::builder().attribute_name(*key).key_type(role);
        table = table
            .attribute_definitions(definition.build().expect("a name and a type are all it needs"))
            .key_schema(element.build().expect("a name and a role are all it needs"));
    }
    table.send().await.expect("the local AWS makes tables");
    name
}
