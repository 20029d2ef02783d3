//! The orders table of a test.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client as DynamoDb,
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
        ProjectionType, ScalarAttributeType,
    },
};
use domain::ids::uuid_v7;
use orders::OPEN_ORDERS_INDEX;

use crate::now;

/// Creates an orders table with the index of open orders.
pub async fn create_orders_table(aws: &SdkConfig) -> String {
    let name = format!("test-{}", uuid_v7(now()));
    let text = |name: &str| {
        let definition = AttributeDefinition::builder().attribute_name(name);
        definition.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key = |name: &str, kind| {
        let element = KeySchemaElement::builder().attribute_name(name);
        element.key_type(kind).build().unwrap()
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name(OPEN_ORDERS_INDEX)
        .key_schema(key("open", KeyType::Hash))
        .key_schema(key("order_id", KeyType::Range))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::Include)
                .non_key_attributes("waits_until")
                .build(),
        );
    let table = DynamoDb::new(aws)
        .create_table()
        .table_name(&name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(["user_id", "order_id", "open"].map(text).into()))
        .key_schema(key("user_id", KeyType::Hash))
        .key_schema(key("order_id", KeyType::Range))
        .global_secondary_indexes(index.build().unwrap());
    table.send().await.unwrap();
    name
}
