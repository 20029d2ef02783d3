//! Tests of notification-sender: one mail per final order event and account mail request.

use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use domain::{Clock, FailureReason, Language, OrderId, UserId, ids::uuid_v7};
use dynamodb_table::testing::create_table;
use events::{AccountMail, AccountMailRequest, LinkToken, TraceParent};
use lambda_shared::testing::FunctionProcess;
use mail_suppressions::MailSuppressions;
use orders::{
    NewOrder, Order, OrderPlacement, Orders, OrdersWithOutbox,
    testing::{OrderStores, OrderTables, new_order_of_two},
};
use serde_json::{Value, json};

use crate::{
    EXECUTABLE, batch_item_failures,
    mail_services::{MailServices, SesBehaviour},
    now,
    order_events::{order_completed, order_failed},
    sqs_event,
};

pub struct TestContext {
    aws: SdkConfig,
    pub orders: Orders,
    pub store: OrdersWithOutbox,
    placement: OrderPlacement,
    pub sender: FunctionProcess,
    pub mail_services: MailServices,
    pub suppressions: MailSuppressions,
    from_address: String,
}

impl TestContext {
    /// A context whose sender address is verified at SES.
    pub async fn new() -> Self {
        let context = Self::with_unverified_sender().await;
        context.verify_sender().await;
        context
    }

    async fn with_unverified_sender() -> Self {
        Self::with_rate("1000").await
    }

    /// A context whose sender shares `mails_per_second` with another invocation.
    async fn with_rate(mails_per_second: &str) -> Self {
        let aws = aws_client::sdk_config().await;
        let tables = OrderTables::create(&aws).await;
        let from_address = format!("{}@matsuri.example", uuid_v7(now()));
        let mail_services = MailServices::start(aws.endpoint_url().unwrap()).await;
        let unsubscribe_keys = create_unsubscribe_keys(&aws).await;
        let suppressions_table = create_table(&aws, &["address_digest"]).await;
        let variables = [
            ("AWS_ENDPOINT_URL", mail_services.url.as_str()),
            ("NOTIFICATION_QUEUE_URL", "http://sqs.test/notification-queue"),
            ("MAILS_PER_SECOND", mails_per_second),
            ("CONCURRENT_INVOCATIONS", "2"),
            ("ORDERS_TABLE", tables.orders.as_str()),
            ("IDEMPOTENCY_TABLE", &tables.idempotency),
            ("MAIL_FROM", &from_address),
            ("STOREFRONT_URL", "https://shop.test"),
            ("MAIL_CONFIGURATION_SET", "matsuri-mails"),
            ("MAIL_SUPPRESSIONS_TABLE", &suppressions_table),
            ("UNSUBSCRIBE_KEYS_SECRET", &unsubscribe_keys),
            ("UNSUBSCRIBE_URL", "https://api.test/v1/unsubscribe"),
        ];
        let sender = FunctionProcess::start(EXECUTABLE, "notification-sender", &variables)
            .await
            .unwrap();
        let dynamo = aws_sdk_dynamodb::Client::new(&aws);
        let OrderStores {
            orders,
            store,
            placement,
        } = tables.open(dynamo.clone(), Clock::system());
        Self {
            orders,
            store,
            placement,
            suppressions: MailSuppressions::new(dynamo, suppressions_table, Clock::system()),
            aws,
            sender,
            mail_services,
            from_address,
        }
    }

    async fn verify_sender(&self) {
        let ses = aws_sdk_sesv2::Client::new(&self.aws);
        ses.create_email_identity()
            .email_identity(&self.from_address)
            .send()
            .await
            .unwrap();
    }

    /// Places an order with order mails in English.
    pub async fn place_order(&self, contact_email: &str) -> Order {
        self.place_order_with(contact_email, true, Language::En).await
    }

    pub async fn place_order_with(
        &self,
        contact_email: &str,
        order_mails: bool,
        mail_language: Language,
    ) -> Order {
        let new = NewOrder {
            contact_email: contact_email.to_owned(),
            order_mails,
            mail_language,
            ..new_order_of_two("Lantern <red> & small", 7_500, UserId::new(now()), now())
        };
        self.placement.place(&new).await.unwrap().0
    }

    pub async fn deliver(&self, event: &Value) -> Value {
        self.sender
            .invoke(sqs_event(&[sns_notification(event)]))
            .await
            .unwrap()
    }

    /// The mails sent from this context's address.
    pub async fn sent_mails(&self) -> Vec<Value> {
        let url = format!("{}/_ministack/ses/messages", self.aws.endpoint_url().unwrap());
        let response: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let accounts = response["messages"].as_object().unwrap().values();
        let mails = accounts.flat_map(|mails| mails.as_array().unwrap().clone());
        mails.filter(|mail| mail["Source"] == self.from_address).collect()
    }
}

/// The key that signs unsubscribe links.
pub const UNSUBSCRIBE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Creates a secret with the key and returns its name.
async fn create_unsubscribe_keys(aws: &SdkConfig) -> String {
    let name = format!("unsubscribe-keys-{}", uuid_v7(now()));
    let secrets = aws_sdk_secretsmanager::Client::new(aws);
    let secret = secrets.create_secret().name(&name).secret_string(UNSUBSCRIBE_KEY);
    secret.send().await.unwrap();
    name
}

/// An SQS message body as SNS delivers it.
fn sns_notification(event: &Value) -> String {
    json!({
        "Type": "Notification",
        "MessageId": uuid_v7(now()),
        "TopicArn": "arn:aws:sns:ap-northeast-1:000000000000:order-notifications",
        "Message": event.to_string(),
        "Timestamp": now(),
    })
    .to_string()
}

#[tokio::test]
async fn completed_order_sends_one_mail() {
    let context = TestContext::new().await;
    let order = context.place_order("hanako@example.com").await;
    let event = order_completed(&order);
    assert_eq!(context.deliver(&event).await, batch_item_failures(&[]));
    assert_eq!(context.deliver(&event).await, batch_item_failures(&[]));

    let mails = context.sent_mails().await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!(mail["To"], json!(["hanako@example.com"]));
    assert_eq!(mail["Subject"], "Your Matsuri order is complete");
    let (text, html) = (
        mail["BodyText"].as_str().unwrap(),
        mail["BodyHtml"].as_str().unwrap(),
    );
    assert!(text.contains("Lantern <red> & small × 2   ¥15,000"), "{text}");
    assert!(text.contains(&order.order_id.to_string()), "{text}");
    assert!(html.contains("Lantern &#60;red&#62; &#38; small"), "{html}");
}

#[tokio::test]
async fn failed_order_mail_states_the_reason() {
    let context = TestContext::new().await;
    let order = context.place_order("taro@example.com").await;
    assert_eq!(
        context
            .deliver(&order_failed(&order, FailureReason::PaymentDeclined))
            .await,
        batch_item_failures(&[])
    );
    let mails = context.sent_mails().await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!(mail["Subject"], "About your Matsuri order");
    let text = mail["BodyText"].as_str().unwrap();
    assert!(
        text.contains("Your payment was declined") && text.contains("You have not been charged."),
        "{text}"
    );
}

#[tokio::test]
async fn order_mail_is_in_the_language_of_the_order() {
    let context = TestContext::new().await;
    let order = context
        .place_order_with("hanako@example.com", true, Language::Ja)
        .await;
    assert_eq!(
        context.deliver(&order_completed(&order)).await,
        batch_item_failures(&[])
    );
    let mails = context.sent_mails().await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!(mail["Subject"], "ご注文が確定しました");
    let text = mail["BodyText"].as_str().unwrap();
    assert!(!text.contains("Thank you"), "{text}");
}

#[tokio::test]
async fn opted_out_customer_gets_only_the_receipt() {
    let context = TestContext::new().await;
    let failed = context
        .place_order_with("hanako@example.com", false, Language::En)
        .await;
    assert_eq!(
        context
            .deliver(&order_failed(&failed, FailureReason::PaymentDeclined))
            .await,
        batch_item_failures(&[])
    );
    assert_eq!(context.sent_mails().await.len(), 0);

    let completed = context
        .place_order_with("hanako@example.com", false, Language::En)
        .await;
    assert_eq!(
        context.deliver(&order_completed(&completed)).await,
        batch_item_failures(&[])
    );
    assert_eq!(context.sent_mails().await.len(), 1);
}

#[tokio::test]
async fn concurrent_deliveries_send_one_mail() {
    let context = TestContext::new().await;
    let message = sns_notification(&order_completed(&context.place_order("hanako@example.com").await));
    context
        .sender
        .invoke(sqs_event(&[message.clone(), message.clone(), message.clone()]))
        .await
        .unwrap();
    assert_eq!(
        context.sender.invoke(sqs_event(&[message])).await.unwrap(),
        batch_item_failures(&[])
    );
    assert_eq!(context.sent_mails().await.len(), 1);
}

#[tokio::test]
async fn accepts_event_without_sns_envelope() {
    let context = TestContext::new().await;
    let event = order_completed(&context.place_order("hanako@example.com").await);
    let response = context
        .sender
        .invoke(sqs_event(&[event.to_string()]))
        .await
        .unwrap();
    assert_eq!(response, batch_item_failures(&[]));
    assert_eq!(context.sent_mails().await.len(), 1);
}

/// The account was deleted before the mail was sent.
#[tokio::test]
async fn deleted_customer_gets_no_mail() {
    let context = TestContext::new().await;
    let order = context.place_order("").await;
    for event in [
        order_completed(&order),
        order_failed(&order, FailureReason::PaymentDeclined),
    ] {
        assert_eq!(context.deliver(&event).await, batch_item_failures(&[]));
    }
    assert_eq!(context.sent_mails().await.len(), 0);
}

#[tokio::test]
async fn invalid_messages_fail_individually() {
    let context = TestContext::new().await;
    let mut nonexistent = context.place_order("hanako@example.com").await;
    nonexistent.order_id = OrderId::new(now());
    let two_addresses = context.place_order("a@example.com,b@example.com").await;
    let valid = context.place_order("hanako@example.com").await;
    let bodies = [
        sns_notification(&order_completed(&nonexistent)),
        sns_notification(&order_completed(&two_addresses)),
        sns_notification(&order_completed(&valid)),
        sns_notification(&json!({"detail-type": "UnknownEvent", "source": "unknown", "detail": {}})),
        "not JSON".to_owned(),
    ];
    let response = context.sender.invoke(sqs_event(&bodies)).await.unwrap();
    let failed = response["batchItemFailures"].as_array().unwrap().len();
    assert_eq!(failed, 4, "{response}");
    assert!(!response.to_string().contains("\"2\""), "{response}");
    assert_eq!(context.sent_mails().await.len(), 1);
}

#[tokio::test]
async fn mail_rejected_by_ses_is_sent_on_retry() {
    let context = TestContext::with_unverified_sender().await;
    let event = order_completed(&context.place_order("hanako@example.com").await);
    assert_eq!(context.deliver(&event).await, batch_item_failures(&["0"]));
    let line = context
        .sender
        .wait_for_log("SES rejected the mail")
        .await
        .concat();
    assert!(
        !line.contains("hanako"),
        "e-mail addresses must not be logged: {line}"
    );

    context.verify_sender().await;
    assert_eq!(context.deliver(&event).await, batch_item_failures(&[]));
    assert_eq!(context.sent_mails().await.len(), 1);
}

#[tokio::test]
async fn redeliveries_are_delayed_longer_and_longer_while_ses_is_away() {
    let context = TestContext::new().await;
    let event = order_completed(&context.place_order("hanako@example.com").await);
    let mut messages = sqs_event(&[sns_notification(&event)]);
    context.mail_services.set_ses(SesBehaviour::Away);
    for (receive_count, delay) in [("1", 30), ("2", 60), ("6", 900)] {
        messages["Records"][0]["attributes"]["ApproximateReceiveCount"] = json!(receive_count);
        let response = context.sender.invoke(messages.clone()).await.unwrap();
        assert_eq!(response, batch_item_failures(&["0"]));
        assert_eq!(context.mail_services.take_redelivery_delays(), [delay]);
    }
    context.mail_services.set_ses(SesBehaviour::Normal);
    assert_eq!(context.deliver(&event).await, batch_item_failures(&[]));
    assert_eq!(context.mail_services.take_redelivery_delays(), [0; 0]);
    assert_eq!(context.sent_mails().await.len(), 1);
}

#[tokio::test]
async fn message_that_can_never_succeed_is_not_delayed_for_long() {
    let context = TestContext::new().await;
    let response = context.sender.invoke(sqs_event(&["not JSON".to_owned()])).await;
    assert_eq!(response.unwrap(), batch_item_failures(&["0"]));
    assert_eq!(context.mail_services.take_redelivery_delays(), [10]);
}

/// Two invocations share two mails per second, so each sends one per second and keeps the last second.
#[tokio::test]
async fn mails_are_sent_no_faster_than_the_configured_rate() {
    let context = TestContext::with_rate("2").await;
    context.verify_sender().await;
    let message = async || sns_notification(&order_completed(&context.place_order("a@example.com").await));
    let messages = [message().await, message().await, message().await];
    let started = Instant::now();
    let response = context.sender.invoke(sqs_event(&messages)).await.unwrap();
    assert_eq!(response, batch_item_failures(&[]));
    assert!(
        started.elapsed() >= Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(context.sent_mails().await.len(), 3);
}

/// A deployment may add a member to an event. A message that was delivered before it, and is delivered again
/// after it, is the same message.
#[tokio::test]
async fn unknown_member_of_an_event_is_part_of_the_message() {
    let context = TestContext::new().await;
    let event = order_completed(&context.place_order("hanako@example.com").await);
    let mut newer = event.clone();
    newer["detail"]["data"]["member_of_a_newer_version"] = json!({"b": 1, "a": [2]});
    assert_eq!(context.deliver(&newer).await, batch_item_failures(&[]));
    // EventBridge keeps neither the envelope nor white space when it replays an event.
    let mut replayed = newer.clone();
    replayed["replay-name"] = json!("replay");
    let text = serde_json::to_string_pretty(&replayed).unwrap();
    let response = context.sender.invoke(sqs_event(&[text])).await.unwrap();
    assert_eq!(response, batch_item_failures(&[]));
    assert_eq!(context.sent_mails().await.len(), 1);

    assert_eq!(
        context.deliver(&event).await,
        batch_item_failures(&["0"]),
        "another payload with the same event id is refused"
    );
}

#[tokio::test]
async fn addresses_are_not_logged() {
    let context = TestContext::new().await;
    context.mail_services.set_ses(SesBehaviour::RejectsRecipient);
    let order = context.place_order("hanako@example.com").await;
    let messages = [
        sns_notification(&order_completed(&order)),
        mail_request(AccountMail::PasswordChanged, "hanako@example.com"),
        json!("hanako@example.com").to_string(),
        json!({"detail-type": "OrderCompleted", "detail": "hanako@example.com"}).to_string(),
    ];
    context.sender.invoke(sqs_event(&messages)).await.unwrap();
    let rejected = context
        .sender
        .wait_for_log("SES rejected the mail (MessageRejected)")
        .await;
    assert_eq!(rejected.len(), 2, "{rejected:?}");
    let malformed = context
        .sender
        .wait_for_log("the message is malformed at line 1")
        .await;
    assert_eq!(malformed.len(), 2, "{malformed:?}");
    let lines = context.sender.wait_for_log("").await.concat();
    assert!(!lines.contains("hanako"), "{lines}");
}

pub fn mail_request(mail: AccountMail, to: &str) -> String {
    let request = AccountMailRequest::new(mail, to, "Hanako", TraceParent::root(now()), now());
    serde_json::to_string(&request).unwrap()
}

#[tokio::test]
async fn account_mail_request_sends_one_mail() {
    let context = TestContext::new().await;
    let token = LinkToken("a-secret".to_owned());
    let message = mail_request(AccountMail::ResetPassword { token }, "hanako@example.com");
    for _ in 0..2 {
        let response = context
            .sender
            .invoke(sqs_event(std::slice::from_ref(&message)))
            .await;
        assert_eq!(response.unwrap(), batch_item_failures(&[]));
    }
    let mails = context.sent_mails().await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!(mail["To"], json!(["hanako@example.com"]));
    assert_eq!(mail["Subject"], "Choose a new password / パスワードの再設定");
    let text = mail["BodyText"].as_str().unwrap();
    assert!(
        text.contains("https://shop.test/reset?token=a-secret\n"),
        "{text}"
    );
    let lines = context.sender.wait_for_log("").await.concat();
    assert!(
        !lines.contains("a-secret") && !lines.contains("hanako@"),
        "secrets and e-mail addresses must not be logged: {lines}"
    );
}

#[tokio::test]
async fn decoy_and_account_mail_from_sns_are_not_sent() {
    let context = TestContext::new().await;
    let decoy = mail_request(AccountMail::Decoy, "");
    let response = context.sender.invoke(sqs_event(&[decoy])).await.unwrap();
    assert_eq!(response, batch_item_failures(&[]));

    let changed = mail_request(AccountMail::PasswordChanged, "hanako@example.com");
    let from_sns = json!({"Type": "Notification", "MessageId": "1", "Message": changed}).to_string();
    let response = context.sender.invoke(sqs_event(&[from_sns])).await.unwrap();
    assert_eq!(response, batch_item_failures(&["0"]));
    assert_eq!(context.sent_mails().await.len(), 0);
}
