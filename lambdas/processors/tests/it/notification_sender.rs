//! Each end of an order is told in one mail.

use aws_config::SdkConfig;
use domain::{Clock, Currency, FailureReason, Money, OrderId, ProductId, Quantity, UserId, ids::uuid_v7};
use events::{
    AccountMail, AccountMailRequest, LinkToken, TraceParent,
    order::{OrderCompleted, OrderFailed},
};
use lambda_shared::testing::{FunctionProcess, create_table};
use orders::{NewOrder, Order, OrderItem, Orders, Tables};
use serde_json::{Value, json};

use crate::{EXECUTABLE, batch_item_failures, eventbridge_event, now, sqs_event};

struct TestContext {
    aws: SdkConfig,
    orders: Orders,
    sender: FunctionProcess,
    from_address: String,
}

impl TestContext {
    /// With a sender's address that SES has verified.
    async fn new() -> Self {
        let world = Self::with_unverified_sender().await;
        world.verify_sender().await;
        world
    }

    async fn with_unverified_sender() -> Self {
        let aws = aws_client::sdk_config().await;
        let tables = Tables {
            orders: create_table(&aws, &["user_id", "order_id"]).await,
            outbox: create_table(&aws, &["event_id"]).await,
            idempotency: create_table(&aws, &["id"]).await,
        };
        let from = format!("{}@matsuri.example", uuid_v7(now()));
        let variables = [
            ("ORDERS_TABLE", tables.orders.as_str()),
            ("IDEMPOTENCY_TABLE", &tables.idempotency),
            ("MAIL_FROM", &from),
            ("STOREFRONT_URL", "https://shop.test"),
        ];
        let sender = FunctionProcess::start(EXECUTABLE, "notification-sender", &variables)
            .await
            .unwrap();
        let orders = Orders::new(aws_sdk_dynamodb::Client::new(&aws), tables, Clock::system());
        Self {
            aws,
            orders,
            sender,
            from_address: from,
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

    async fn place_order(&self, contact_email: &str) -> Order {
        let item = OrderItem {
            product_id: ProductId::new(now()),
            product_name: "Lantern <red> & small".to_owned(),
            quantity: Quantity::new(2).unwrap(),
            price: 7_500,
        };
        let new = NewOrder {
            user_id: UserId::new(now()),
            contact_email: contact_email.to_owned(),
            items: vec![item],
            total: Money::new(15_000, Currency::JPY).unwrap(),
            payment_method: "pm_card_visa".to_owned(),
            idempotency_key: "key".to_owned(),
            traceparent: TraceParent::root(now()),
        };
        self.orders.place(&new).await.unwrap().0
    }

    async fn deliver(&self, event: &Value) -> Value {
        self.sender
            .invoke(sqs_event(&[sns_notification(event)]))
            .await
            .unwrap()
    }

    /// What was sent from this world's address.
    async fn sent_mails(&self) -> Vec<Value> {
        let url = format!("{}/_ministack/ses/messages", self.aws.endpoint_url().unwrap());
        let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let accounts = answer["messages"].as_object().unwrap().values();
        let mails = accounts.flat_map(|mails| mails.as_array().unwrap().clone());
        mails.filter(|mail| mail["Source"] == self.from_address).collect()
    }
}

/// A message as SNS delivers it to a queue.
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

fn order_completed(order: &Order) -> Value {
    let data = OrderCompleted {
        order_id: order.order_id,
        user_id: order.user_id,
        currency: order.currency,
        total_amount: order.total_amount,
        completed_at: now(),
    };
    eventbridge_event(data, order.order_id.0)
}

fn order_failed(order: &Order, reason: FailureReason) -> Value {
    let data = OrderFailed {
        order_id: order.order_id,
        user_id: order.user_id,
        reason,
        failed_at: now(),
    };
    eventbridge_event(data, order.order_id.0)
}

#[tokio::test]
async fn a_completed_order_is_told_once() {
    let world = TestContext::new().await;
    let order = world.place_order("hanako@example.com").await;
    let event = order_completed(&order);
    assert_eq!(world.deliver(&event).await, batch_item_failures(&[]));
    assert_eq!(world.deliver(&event).await, batch_item_failures(&[]));

    let mails = world.sent_mails().await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!(mail["To"], json!(["hanako@example.com"]));
    assert_eq!(
        mail["Subject"],
        "Your Matsuri order is complete / ご注文が確定しました"
    );
    let (text, html) = (
        mail["BodyText"].as_str().unwrap(),
        mail["BodyHtml"].as_str().unwrap(),
    );
    assert!(text.contains("Lantern <red> & small × 2   ¥15,000"), "{text}");
    assert!(text.contains(&order.order_id.to_string()), "{text}");
    assert!(html.contains("Lantern &#60;red&#62; &#38; small"), "{html}");
}

#[tokio::test]
async fn a_failed_order_is_told_with_its_reason() {
    let world = TestContext::new().await;
    let order = world.place_order("taro@example.com").await;
    assert_eq!(
        world
            .deliver(&order_failed(&order, FailureReason::PaymentDeclined))
            .await,
        batch_item_failures(&[])
    );
    let mails = world.sent_mails().await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!(
        mail["Subject"],
        "About your Matsuri order / ご注文についてのお知らせ"
    );
    let text = mail["BodyText"].as_str().unwrap();
    assert!(
        text.contains("Your payment was declined") && text.contains("You have not been charged."),
        "{text}"
    );
}

#[tokio::test]
async fn deliveries_at_once_send_one_mail() {
    let world = TestContext::new().await;
    let message = sns_notification(&order_completed(&world.place_order("hanako@example.com").await));
    world
        .sender
        .invoke(sqs_event(&[message.clone(), message.clone(), message.clone()]))
        .await
        .unwrap();
    assert_eq!(
        world.sender.invoke(sqs_event(&[message])).await.unwrap(),
        batch_item_failures(&[])
    );
    assert_eq!(world.sent_mails().await.len(), 1);
}

#[tokio::test]
async fn a_bare_event_is_as_good_as_one_in_an_envelope() {
    let world = TestContext::new().await;
    let event = order_completed(&world.place_order("hanako@example.com").await);
    let answer = world
        .sender
        .invoke(sqs_event(&[event.to_string()]))
        .await
        .unwrap();
    assert_eq!(answer, batch_item_failures(&[]));
    assert_eq!(world.sent_mails().await.len(), 1);
}

/// Their account was deleted while the mail was on its way.
#[tokio::test]
async fn a_customer_who_is_gone_is_told_nothing() {
    let world = TestContext::new().await;
    let order = world.place_order("").await;
    for event in [
        order_completed(&order),
        order_failed(&order, FailureReason::PaymentDeclined),
    ] {
        assert_eq!(world.deliver(&event).await, batch_item_failures(&[]));
    }
    assert_eq!(world.sent_mails().await.len(), 0);
}

#[tokio::test]
async fn what_cannot_be_told_fails_for_itself() {
    let world = TestContext::new().await;
    let mut nowhere = world.place_order("hanako@example.com").await;
    nowhere.order_id = OrderId::new(now());
    let two_addresses = world.place_order("a@example.com,b@example.com").await;
    let good = world.place_order("hanako@example.com").await;
    let bodies = [
        sns_notification(&order_completed(&nowhere)),
        sns_notification(&order_completed(&two_addresses)),
        sns_notification(&order_completed(&good)),
        sns_notification(&json!({"detail-type": "OrderPondered", "source": "nobody", "detail": {}})),
        "not JSON".to_owned(),
    ];
    let answer = world.sender.invoke(sqs_event(&bodies)).await.unwrap();
    let named = answer["batchItemFailures"].as_array().unwrap().len();
    assert_eq!(named, 4, "{answer}");
    assert!(!answer.to_string().contains("\"2\""), "{answer}");
    assert_eq!(world.sent_mails().await.len(), 1);
}

#[tokio::test]
async fn what_ses_does_not_take_now_it_takes_later() {
    let world = TestContext::with_unverified_sender().await;
    let event = order_completed(&world.place_order("hanako@example.com").await);
    assert_eq!(world.deliver(&event).await, batch_item_failures(&["0"]));
    let line = world
        .sender
        .wait_for_log("SES does not take the mail")
        .await
        .concat();
    assert!(!line.contains("hanako"), "addresses stay out of the logs: {line}");

    world.verify_sender().await;
    assert_eq!(world.deliver(&event).await, batch_item_failures(&[]));
    assert_eq!(world.sent_mails().await.len(), 1);
}

fn mail_request(mail: AccountMail, to: &str) -> String {
    let request = AccountMailRequest::new(mail, to, "Hanako", TraceParent::root(now()), now());
    serde_json::to_string(&request).unwrap()
}

#[tokio::test]
async fn a_person_is_told_once_about_their_account() {
    let world = TestContext::new().await;
    let token = LinkToken("a-secret".to_owned());
    let message = mail_request(AccountMail::ResetPassword { token }, "hanako@example.com");
    for _ in 0..2 {
        let answer = world
            .sender
            .invoke(sqs_event(std::slice::from_ref(&message)))
            .await;
        assert_eq!(answer.unwrap(), batch_item_failures(&[]));
    }
    let mails = world.sent_mails().await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!(mail["To"], json!(["hanako@example.com"]));
    assert_eq!(mail["Subject"], "Choose a new password / パスワードの再設定");
    let text = mail["BodyText"].as_str().unwrap();
    assert!(
        text.contains("https://shop.test/reset?token=a-secret\n"),
        "{text}"
    );
    let lines = world.sender.wait_for_log("").await.concat();
    assert!(
        !lines.contains("a-secret") && !lines.contains("hanako@"),
        "secrets and addresses stay out of the logs: {lines}"
    );
}

#[tokio::test]
async fn a_mail_of_nothing_and_one_that_came_over_the_bus_are_not_sent() {
    let world = TestContext::new().await;
    let nothing = mail_request(AccountMail::Decoy, "");
    let answer = world.sender.invoke(sqs_event(&[nothing])).await.unwrap();
    assert_eq!(answer, batch_item_failures(&[]));

    let changed = mail_request(AccountMail::PasswordChanged, "hanako@example.com");
    let by_bus = json!({"Type": "Notification", "MessageId": "1", "Message": changed}).to_string();
    let answer = world.sender.invoke(sqs_event(&[by_bus])).await.unwrap();
    assert_eq!(answer, batch_item_failures(&["0"]));
    assert_eq!(world.sent_mails().await.len(), 0);
}
