//! Tests against the local AWS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use aws_sdk_dynamodb::{
    Client,
    types::{Put, TransactWriteItem},
};
use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use dynamodb_table::{DynamoDbError, Table, all_items, applied, number, testing::create_table, text, write};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Item {
    id: String,
    part: String,
    count: i64,
    ttl: i64,
}

fn now() -> Timestamp {
    Clock::system().now()
}

async fn new_table() -> Table<2> {
    let aws = aws_client::sdk_config().await;
    let name = create_table(&aws, &["id", "part"]).await;
    Table::new(Client::new(&aws), name, ["id", "part"])
}

fn item(id: &str, part: &str) -> Item {
    Item {
        id: id.to_owned(),
        part: part.to_owned(),
        count: 1,
        ttl: (now() + TimeDelta::hours(1)).timestamp(),
    }
}

fn key(item: &Item) -> [String; 2] {
    [item.id.clone(), item.part.clone()]
}

#[tokio::test]
async fn item_is_written_read_and_deleted() {
    let table = new_table().await;
    table.check().await.unwrap();
    let stored = item("a", "1");
    assert!(table.put_if_absent(&stored).await.unwrap());
    let other = Item {
        count: 2,
        ..stored.clone()
    };
    assert!(!table.put_if_absent(&other).await.unwrap(), "there is one");
    assert_eq!(table.get(key(&stored)).await.unwrap(), Some(stored.clone()));
    table.put(&other).await.unwrap();
    assert_eq!(table.get(key(&stored)).await.unwrap(), Some(other));
    table.delete(key(&stored)).await.unwrap();
    assert_eq!(table.get::<Item>(key(&stored)).await.unwrap(), None);
}

#[tokio::test]
async fn expired_item_is_not_found_before_dynamodb_deletes_it() {
    let table = new_table().await;
    let stored = item("a", "1");
    table.put(&stored).await.unwrap();
    let expiry = Timestamp::from_timestamp(stored.ttl, 0).unwrap();
    let before = expiry - TimeDelta::milliseconds(1);
    let found: Option<Item> = table.get_unexpired(key(&stored), expiry).await.unwrap();
    assert_eq!(found, None);
    let found = table.get_unexpired(key(&stored), before).await.unwrap();
    assert_eq!(found, Some(stored.clone()));
    let taken = table.take_unexpired(key(&stored), before).await.unwrap();
    assert_eq!(taken, Some(stored.clone()));
    let taken: Option<Item> = table.take_unexpired(key(&stored), before).await.unwrap();
    assert_eq!(taken, None, "only one call gets the item");
}

#[tokio::test]
async fn query_returns_the_items_of_all_pages() {
    let table = new_table().await;
    let stored: BTreeSet<Item> = (0..7).map(|part| item("a", &part.to_string())).collect();
    for item in &stored {
        table.put(item).await.unwrap();
    }
    table.put(&item("b", "0")).await.unwrap();
    let query = table
        .start_query()
        .key_condition_expression("id = :id")
        .expression_attribute_values(":id", text("a"))
        .limit(3);
    let found: Vec<Item> = all_items(query).await.unwrap();
    assert_eq!(BTreeSet::from_iter(found), stored);
}

#[tokio::test]
async fn condition_decides_whether_a_write_is_applied() {
    let table = new_table().await;
    let stored = item("a", "1");
    table.put(&stored).await.unwrap();
    let increment = async |expected| {
        let update = table
            .start_update(key(&stored))
            .update_expression("ADD #count :one")
            .condition_expression("#count = :expected")
            .expression_attribute_names("#count", "count")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":expected", number(expected));
        applied(update.send().await).unwrap()
    };
    assert!(increment(1).await);
    assert!(!increment(1).await);
    let found: Item = table.get(key(&stored)).await.unwrap().unwrap();
    assert_eq!(found.count, 2);
}

#[tokio::test]
async fn writes_are_applied_together_or_not_at_all() {
    let table = new_table().await;
    let put = |part: &str| -> Put {
        let put = table.put_write(&item("a", part)).unwrap();
        put.condition_expression("attribute_not_exists(id)")
            .build()
            .unwrap()
    };
    let writes = |parts: &[&str]| -> Vec<TransactWriteItem> {
        let puts = parts.iter().map(|part| put(part));
        puts.map(|put| TransactWriteItem::builder().put(put).build())
            .collect()
    };
    let client = table.client();
    write(client, &writes(&["1"])).await.unwrap();
    let single = write(client, &writes(&["1"])).await;
    assert!(matches!(single, Err(DynamoDbError::ConditionsFailed(failed)) if failed == [0]));
    let several = write(client, &writes(&["0", "1", "2"])).await;
    assert!(matches!(several, Err(DynamoDbError::ConditionsFailed(failed)) if failed == [1]));
    let absent = ["a".to_owned(), "0".to_owned()];
    assert_eq!(table.get::<Item>(absent).await.unwrap(), None);
    write(client, &writes(&["0", "2"])).await.unwrap();
}

#[tokio::test]
async fn missing_table_and_invalid_item_are_different_errors() {
    let table = new_table().await;
    table.put(&item("a", "1")).await.unwrap();
    #[derive(Debug, Deserialize)]
    struct Other {
        #[expect(dead_code, reason = "only its type matters")]
        count: String,
    }
    let key = ["a".to_owned(), "1".to_owned()];
    let invalid = table.get::<Other>(key.clone()).await;
    assert!(
        matches!(invalid, Err(DynamoDbError::InvalidItem(_))),
        "{invalid:?}"
    );

    let missing = Table::new(table.client().clone(), "no-such-table", ["id", "part"]);
    let error = missing.get::<Item>(key).await.unwrap_err();
    assert!(error.to_string().contains("ResourceNotFoundException"), "{error}");
    assert!(missing.check().await.is_err());
}
