//! An idempotency table for tests, and access to its stored records.

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use dynamodb_table::testing::create_table;

pub struct TestTable {
    pub client: Client,
    pub name: String,
}

impl TestTable {
    pub async fn create() -> Self {
        let aws = aws_client::sdk_config().await;
        Self {
            name: create_table(&aws, &["id"]).await,
            client: Client::new(&aws),
        }
    }

    /// An attribute of the record `id`, as text.
    pub async fn attribute(&self, id: &str, attribute: &str) -> Option<String> {
        let key = AttributeValue::S(id.into());
        let request = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("id", key)
            .consistent_read(true);
        match request.send().await.unwrap().item?.remove(attribute)? {
            AttributeValue::S(text) | AttributeValue::N(text) => Some(text),
            other => panic!("{attribute} is {other:?}"),
        }
    }
}
