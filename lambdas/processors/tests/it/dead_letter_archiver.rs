//! Tests of dead-letter-archiver.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{Language, ids::uuid_v7};
use dynamodb_table::testing::create_table;
use events::{AccountMail, AccountMailRequest, PhoneCodeRequest, TraceParent};
use lambda_shared::testing::FunctionProcess;
use serde_json::json;

use crate::{EXECUTABLE, now};

struct TestContext {
    sqs: aws_sdk_sqs::Client,
    dynamo: aws_sdk_dynamodb::Client,
    queue_name: String,
    queue_url: String,
    table: String,
    archiver: FunctionProcess,
}

impl TestContext {
    async fn new() -> Self {
        let aws = aws_client::sdk_config().await;
        let sqs = aws_sdk_sqs::Client::new(&aws);
        let queue_name = format!("dead-{}", uuid_v7(now()));
        let created = sqs.create_queue().queue_name(&queue_name).send().await.unwrap();
        let queue_url = created.queue_url.unwrap();
        let table = create_table(&aws, &["id"]).await;
        let variables = [
            ("DEAD_LETTER_QUEUE_URLS", queue_url.as_str()),
            ("DEAD_LETTERS_TABLE", &table),
        ];
        let archiver = FunctionProcess::start(EXECUTABLE, "dead-letter-archiver", &variables)
            .await
            .unwrap();
        Self {
            dynamo: aws_sdk_dynamodb::Client::new(&aws),
            sqs,
            queue_name,
            queue_url,
            table,
            archiver,
        }
    }

    async fn send(&self, body: &str) -> String {
        let sent = self
            .sqs
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body);
        sent.send().await.unwrap().message_id.unwrap()
    }

    async fn archived(&self) -> Vec<HashMap<String, AttributeValue>> {
        let scan = self.dynamo.scan().table_name(&self.table).consistent_read(true);
        scan.send().await.unwrap().items.unwrap_or_default()
    }

    async fn visible_bodies(&self) -> Vec<String> {
        let receive = self.sqs.receive_message().queue_url(&self.queue_url);
        let received = receive
            .max_number_of_messages(10)
            .visibility_timeout(0)
            .send()
            .await
            .unwrap();
        let messages = received.messages.unwrap_or_default().into_iter();
        let mut bodies: Vec<String> = messages.map(|message| message.body.unwrap()).collect();
        bodies.sort();
        bodies
    }
}

#[tokio::test]
async fn dead_letters_are_copied_and_stay_in_the_queue() {
    let context = TestContext::new().await;
    let ids = [context.send("not JSON").await, context.send("{}").await];
    for _ in 0..2 {
        let run = context.archiver.invoke(json!({})).await.unwrap();
        assert_eq!(run, json!({"archived": 2}));
    }
    assert_eq!(context.visible_bodies().await, ["not JSON", "{}"]);

    let archived = context.archived().await;
    assert_eq!(
        archived.len(),
        2,
        "a second run writes the same items: {archived:?}"
    );
    for (id, body) in ids.iter().zip(["not JSON", "{}"]) {
        let key = AttributeValue::S(format!("{}#{id}", context.queue_name));
        let item = archived.iter().find(|item| item["id"] == key).unwrap();
        assert_eq!(item["body"], AttributeValue::S(body.to_owned()));
        assert!(
            item.contains_key("sent_at") && item.contains_key("archived_at"),
            "{item:?}"
        );
    }
}

/// They contain an e-mail address or a telephone number.
#[tokio::test]
async fn requests_for_account_mails_and_codes_are_not_copied() {
    let context = TestContext::new().await;
    let traceparent = TraceParent::root(now());
    let mail = AccountMail::PasswordChanged;
    let request = AccountMailRequest::new(mail, "hanako@example.com", "Hanako", traceparent, now());
    context.send(&serde_json::to_string(&request).unwrap()).await;
    let (number, language) = ("+819012345678", Language::En);
    let code = PhoneCodeRequest::new(number, language, "271828", now(), traceparent, now());
    context.send(&serde_json::to_string(&code).unwrap()).await;
    let run = context.archiver.invoke(json!({})).await.unwrap();
    assert_eq!(run, json!({"archived": 0}));
    assert_eq!(context.archived().await.len(), 0);
    assert_eq!(context.visible_bodies().await.len(), 2);
}
