//! Tests of sms-sender: one SMS per outcome of an order and per code, quiet hours, and faults of SNS.

use std::sync::{Arc, Mutex};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client as DynamoDb;
use chrono::TimeDelta;
use domain::{Clock, FailureReason, Language, OrderId, QuietHours, Timestamp, UserId, ids::uuid_v7};
use events::{PhoneCodeRequest, TraceParent};
use lambda_shared::{Environment, FunctionContext, Handler, Invocation, testing::FunctionProcess};
use orders::{
    NewOrder, Order, OrderPlacement, Orders, OrdersWithOutbox, SmsContact,
    testing::{OrderStores, OrderTables, new_order_of_two},
};
use processors::sms_sender;
use serde_json::{Value, json};

use crate::{
    EXECUTABLE, batch_item_failures, now,
    order_events::{order_cancelled, order_completed, order_failed, payment_id, payment_refunded},
    sms_services::{SmsServices, SnsBehaviour},
    sqs_event,
};

struct TestContext {
    aws: SdkConfig,
    orders: Orders,
    store: OrdersWithOutbox,
    placement: OrderPlacement,
    tables: OrderTables,
    /// The function with the test's clock.
    sender: Handler,
    services: SmsServices,
    time: Arc<Mutex<Timestamp>>,
    /// Each test has numbers of its own, because the local AWS keeps the SMS of all tests.
    phone_number: String,
}

impl TestContext {
    async fn new() -> Self {
        let aws = aws_client::sdk_config().await;
        let tables = OrderTables::create(&aws).await;
        let services = SmsServices::start(aws.endpoint_url().unwrap()).await;
        let time = Arc::new(Mutex::new(now()));
        let clock = {
            let time = Arc::clone(&time);
            Clock::from_fn(move || *time.lock().unwrap())
        };
        let sender = sms_sender::init(FunctionContext {
            environment: Environment::from(variables(&tables)),
            aws: aws_client::lambda_sdk_config(None, Some(services.url.clone())),
            clock,
        });
        let digits = uuid_v7(now()).as_u128() % 100_000_000;
        let OrderStores {
            orders,
            store,
            placement,
        } = tables.open(DynamoDb::new(&aws), Clock::system());
        Self {
            orders,
            store,
            placement,
            sender: sender.await.unwrap(),
            aws,
            tables,
            services,
            time,
            phone_number: format!("+8190{digits:08}"),
        }
    }

    fn set_time(&self, time: &str) {
        *self.time.lock().unwrap() = time.parse().unwrap();
    }

    fn contact(&self, quiet_hours: Option<QuietHours>) -> Option<SmsContact> {
        Some(SmsContact {
            phone_number: self.phone_number.clone(),
            quiet_hours,
        })
    }

    async fn place_order(&self) -> Order {
        self.place_order_with(Language::En, self.contact(None)).await
    }

    async fn place_order_with(&self, mail_language: Language, sms_contact: Option<SmsContact>) -> Order {
        let new = NewOrder {
            mail_language,
            sms_contact,
            ..new_order_of_two("Lantern", 7_500, UserId::new(now()), now())
        };
        self.placement.place(&new).await.unwrap().0
    }

    async fn invoke(&self, payload: Value) -> Value {
        let deadline = *self.time.lock().unwrap() + TimeDelta::seconds(20);
        let response = self.sender.call(Invocation { payload, deadline }).await;
        response.unwrap()
    }

    async fn deliver(&self, event: &Value) -> Value {
        self.invoke(sqs_event(&[event.to_string()])).await
    }

    async fn deliver_once(&self, event: &Value) {
        assert_eq!(self.deliver(event).await, batch_item_failures(&[]));
    }

    /// The SMS to this context's number.
    async fn sent_sms(&self) -> Vec<Value> {
        let url = format!("{}/_ministack/sns/sms-messages", self.aws.endpoint_url().unwrap());
        let response: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let sent = response["sms_messages"].get(&self.phone_number);
        sent.map_or_else(Vec::new, |sent| sent.as_array().unwrap().clone())
    }

    async fn sent_texts(&self) -> Vec<String> {
        let text = |sms: Value| sms["Message"].as_str().unwrap().to_owned();
        self.sent_sms().await.into_iter().map(text).collect()
    }

    fn code_request(&self, expires_at: Timestamp) -> PhoneCodeRequest {
        let trace = TraceParent::root(now());
        PhoneCodeRequest::new(
            &self.phone_number,
            Language::En,
            "271828",
            expires_at,
            trace,
            now(),
        )
    }
}

fn variables(tables: &OrderTables) -> [(&'static str, &str); 6] {
    [
        ("ORDERS_TABLE", tables.orders.as_str()),
        ("IDEMPOTENCY_TABLE", &tables.idempotency),
        ("SMS_QUEUE_URL", "http://sqs.test/sms-queue"),
        ("SMS_SENDER_ID", "Matsuri"),
        ("SMS_PER_SECOND", "1000"),
        ("CONCURRENT_INVOCATIONS", "2"),
    ]
}

#[tokio::test]
async fn completed_order_sends_one_sms() {
    let context = TestContext::new().await;
    let order = context.place_order().await;
    let event = order_completed(&order);
    for _ in 0..2 {
        context.deliver_once(&event).await;
    }
    let sent = context.sent_sms().await;
    let [sms] = &sent[..] else { panic!("{sent:#?}") };
    let id = order.order_id.0.simple().to_string().to_uppercase();
    assert_eq!(
        sms["Message"],
        format!(
            "Matsuri: your order {} (¥15,000) is complete. Thank you!",
            &id[24..]
        )
    );
    let attributes = sms["MessageAttributes"].to_string();
    for value in [
        "AWS.SNS.SMS.SMSType",
        "Transactional",
        "AWS.SNS.SMS.SenderID",
        "Matsuri",
    ] {
        assert!(attributes.contains(value), "{attributes}");
    }
}

#[tokio::test]
async fn concurrent_deliveries_send_one_sms() {
    let context = TestContext::new().await;
    let message = order_completed(&context.place_order().await).to_string();
    context
        .invoke(sqs_event(&[message.clone(), message.clone(), message.clone()]))
        .await;
    assert_eq!(
        context.invoke(sqs_event(&[message])).await,
        batch_item_failures(&[])
    );
    assert_eq!(context.sent_sms().await.len(), 1);
}

#[tokio::test]
async fn every_outcome_has_an_sms_in_the_language_of_the_order() {
    let context = TestContext::new().await;
    let order = context
        .place_order_with(Language::Ja, context.contact(None))
        .await;
    context
        .deliver_once(&order_failed(&order, FailureReason::PaymentDeclined))
        .await;
    context.deliver_once(&order_cancelled(&order)).await;
    let texts = context.sent_texts().await;
    assert!(
        texts[0].contains("は承れませんでした。代金は請求されません。"),
        "{texts:?}"
    );
    assert!(
        texts[1].contains("をキャンセルしました。代金は請求されません。"),
        "{texts:?}"
    );
}

#[tokio::test]
async fn only_a_refund_after_the_end_has_an_sms() {
    let context = TestContext::new().await;
    for (refund_first, expected) in [(true, 0), (false, 1)] {
        let order = context.place_order().await;
        let (user_id, order_id) = (order.user_id, order.order_id);
        let (payment_id, trace) = (payment_id(order.order_id), order.event_context());
        let claim = context.orders.claim_for_payment(user_id, order_id, &payment_id);
        claim.await.unwrap();
        context.orders.close_to_payment(user_id, order_id).await.unwrap();
        let refund = async || {
            let total = order.total().unwrap();
            let store = &context.store;
            let refund = store.record_refund(user_id, order_id, &payment_id, total, &trace);
            refund.await.unwrap().unwrap();
        };
        if refund_first {
            refund().await;
        }
        let reason = FailureReason::InternalError;
        context
            .store
            .fail(user_id, order_id, reason, &trace)
            .await
            .unwrap()
            .unwrap();
        if !refund_first {
            refund().await;
        }
        context.deliver_once(&payment_refunded(&order)).await;
        assert_eq!(context.sent_sms().await.len(), expected);
    }
}

#[tokio::test]
async fn customer_without_number_gets_no_sms_and_no_record() {
    let context = TestContext::new().await;
    let order = context.place_order_with(Language::En, None).await;
    context.deliver_once(&order_completed(&order)).await;
    assert_eq!(context.services.take_request_count(), 0);
    let scan = DynamoDb::new(&context.aws).scan();
    let records = scan.table_name(&context.tables.idempotency).send().await.unwrap();
    let ids = records.items.unwrap_or_default();
    assert!(
        !ids.iter()
            .any(|item| item["id"].as_s().unwrap().starts_with("sms-sender#")),
        "{ids:?}"
    );

    // The customer removes the number before the message arrives.
    let order = context.place_order().await;
    let removed = context.orders.change_phone_number(order.user_id, None);
    removed.await.unwrap();
    context.deliver_once(&order_completed(&order)).await;
    assert_eq!(context.services.take_request_count(), 0);
}

#[tokio::test]
async fn sms_waits_until_quiet_hours_end() {
    let context = TestContext::new().await;
    let night = QuietHours::new("22:00", "08:00", "Asia/Tokyo").unwrap();
    let order = context
        .place_order_with(Language::En, context.contact(Some(night)))
        .await;
    let event = order_completed(&order);
    context.set_time("2026-11-29T23:00:00+09:00");
    assert_eq!(context.deliver(&event).await, batch_item_failures(&["0"]));
    assert_eq!(context.services.take_redelivery_delays(), [9 * 3600 + 1]);
    assert_eq!(context.services.take_request_count(), 0);

    context.set_time("2026-11-30T08:00:01+09:00");
    for _ in 0..2 {
        context.deliver_once(&event).await;
    }
    assert_eq!(context.sent_sms().await.len(), 1);

    // Longer than SQS can delay a message: two deliveries.
    let half_day = QuietHours::new("20:00", "08:00", "Asia/Tokyo").unwrap();
    let order = context
        .place_order_with(Language::En, context.contact(Some(half_day)))
        .await;
    let event = order_completed(&order);
    for (time, delay) in [
        ("2026-11-29T20:00:00+09:00", 11 * 3600),
        ("2026-11-30T07:00:00+09:00", 3601),
    ] {
        context.set_time(time);
        assert_eq!(context.deliver(&event).await, batch_item_failures(&["0"]));
        assert_eq!(context.services.take_redelivery_delays(), [delay]);
    }
    assert_eq!(context.sent_sms().await.len(), 1);
}

#[tokio::test]
async fn redeliveries_are_delayed_longer_and_longer_while_sns_is_away() {
    let context = TestContext::new().await;
    let event = order_completed(&context.place_order().await);
    let mut messages = sqs_event(&[event.to_string()]);
    for behaviour in [
        SnsBehaviour::Away,
        SnsBehaviour::Rejects("Throttled", "Rate exceeded"),
        SnsBehaviour::Rejects(
            "AuthorizationError",
            "not authorized to perform: SNS:Publish on PhoneNumber",
        ),
        // A mistake in the configuration, not of the recipient.
        SnsBehaviour::Rejects(
            "InvalidParameter",
            "Invalid parameter: AWS.SNS.SMS.SenderID Reason: x",
        ),
    ] {
        context.services.set_sns(behaviour);
        for (receive_count, delay) in [("1", 30), ("2", 60), ("6", 900)] {
            messages["Records"][0]["attributes"]["ApproximateReceiveCount"] = json!(receive_count);
            assert_eq!(
                context.invoke(messages.clone()).await,
                batch_item_failures(&["0"])
            );
            assert_eq!(context.services.take_redelivery_delays(), [delay]);
            assert_eq!(context.services.take_request_count(), 1, "the SDK does not retry");
        }
    }
    context.services.set_sns(SnsBehaviour::Normal);
    context.deliver_once(&event).await;
    assert_eq!(context.services.take_redelivery_delays(), [0; 0]);
    assert_eq!(context.sent_sms().await.len(), 1);
}

#[tokio::test]
async fn refused_recipient_is_recorded_and_not_tried_again() {
    for (code, message) in [
        ("OptedOut", "Phone number is opted out"),
        (
            "InvalidParameter",
            "Invalid parameter: PhoneNumber Reason: +819012345678 is not valid to publish to",
        ),
    ] {
        let context = TestContext::new().await;
        context.services.set_sns(SnsBehaviour::Rejects(code, message));
        let event = order_completed(&context.place_order().await);
        context.deliver_once(&event).await;
        assert_eq!(context.services.take_request_count(), 1, "{code}");
        context.services.set_sns(SnsBehaviour::Normal);
        context.deliver_once(&event).await;
        assert_eq!(context.services.take_request_count(), 0, "{code}");
        assert_eq!(context.sent_sms().await.len(), 0, "{code}");
    }
}

#[tokio::test]
async fn code_is_sent_once_and_not_after_its_expiry() {
    let context = TestContext::new().await;
    let request = context.code_request(now() + TimeDelta::minutes(10));
    let message = serde_json::to_value(&request).unwrap();
    for _ in 0..2 {
        context.deliver_once(&message).await;
    }
    assert_eq!(
        context.sent_texts().await,
        ["Matsuri: your code is 271828. It is valid for 10 minutes. Do not share it."]
    );
    let expired = context.code_request(now() - TimeDelta::seconds(1));
    context
        .deliver_once(&serde_json::to_value(&expired).unwrap())
        .await;
    assert_eq!(context.sent_texts().await.len(), 1);
}

#[tokio::test]
async fn invalid_messages_fail_individually() {
    let context = TestContext::new().await;
    let mut nonexistent = context.place_order().await;
    nonexistent.order_id = OrderId::new(now());
    let valid = context.place_order().await;
    let bodies = [
        order_completed(&nonexistent).to_string(),
        order_completed(&valid).to_string(),
        json!({"detail-type": "UnknownEvent", "source": "unknown", "detail": {}}).to_string(),
        "not JSON".to_owned(),
    ];
    let response = context.invoke(sqs_event(&bodies)).await;
    assert_eq!(
        response["batchItemFailures"].as_array().unwrap().len(),
        3,
        "{response}"
    );
    assert!(!response.to_string().contains("\"1\""), "{response}");
    assert_eq!(context.services.take_redelivery_delays(), [10, 10, 10]);
    assert_eq!(context.sent_sms().await.len(), 1);
}

/// As the deployed executable.
#[tokio::test]
async fn neither_numbers_nor_codes_are_logged() {
    let context = TestContext::new().await;
    let aws = [("AWS_ENDPOINT_URL", context.services.url.as_str())];
    let variables: Vec<_> = aws.into_iter().chain(variables(&context.tables)).collect();
    let process = FunctionProcess::start(EXECUTABLE, "sms-sender", &variables)
        .await
        .unwrap();
    let invoke = async |body: String| process.invoke(sqs_event(&[body])).await.unwrap();
    let order = context.place_order().await;
    assert_eq!(
        invoke(order_completed(&order).to_string()).await,
        batch_item_failures(&[])
    );
    let request = context.code_request(now() + TimeDelta::minutes(10));
    let request = serde_json::to_string(&request).unwrap();
    assert_eq!(invoke(request).await, batch_item_failures(&[]));
    let message = "Invalid parameter: PhoneNumber Reason: +819012345678 is not valid";
    context
        .services
        .set_sns(SnsBehaviour::Rejects("InvalidParameter", message));
    invoke(order_cancelled(&order).to_string()).await;
    context
        .services
        .set_sns(SnsBehaviour::Rejects("Throttled", message));
    invoke(order_failed(&order, FailureReason::InternalError).to_string()).await;
    invoke(json!({"detail-type": "OrderCompleted", "detail": "+819012345678"}).to_string()).await;

    process.wait_for_log("the message is malformed at line 1").await;
    process.wait_for_log("SNS rejected the SMS (Throttled)").await;
    process.wait_for_log("SNS accepts none to this number").await;
    let lines = process.wait_for_log("").await.concat();
    assert!(
        !lines.contains("+8190") && !lines.contains("271828"),
        "telephone numbers and codes must not be logged: {lines}"
    );
}
