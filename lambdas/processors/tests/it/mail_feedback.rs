//! Tests of mail-feedback, and of notification-sender with addresses that it has suppressed.

use aws_config::SdkConfig;
use domain::{Clock, FailureReason};
use dynamodb_table::testing::create_table;
use events::AccountMail;
use lambda_shared::testing::FunctionProcess;
use mail_suppressions::{MailSuppressions, SuppressionReason};
use serde_json::{Value, json};

use crate::{
    EXECUTABLE, batch_item_failures,
    notification_sender::{TestContext, mail_request},
    order_events::{order_completed, order_failed},
    sqs_event,
};

const ADDRESS: &str = "hanako@example.com";

struct Feedback {
    function: FunctionProcess,
    suppressions: MailSuppressions,
}

impl Feedback {
    async fn start() -> Self {
        let aws: SdkConfig = aws_client::sdk_config().await;
        let table = create_table(&aws, &["address_digest"]).await;
        let variables = [
            ("AWS_ENDPOINT_URL", aws.endpoint_url().unwrap()),
            ("MAIL_SUPPRESSIONS_TABLE", &table),
        ];
        let function = FunctionProcess::start(EXECUTABLE, "mail-feedback", &variables)
            .await
            .unwrap();
        let dynamo = aws_sdk_dynamodb::Client::new(&aws);
        Self {
            function,
            suppressions: MailSuppressions::new(dynamo, table, Clock::system()),
        }
    }

    async fn deliver(&self, events: &[Value]) -> Value {
        let bodies: Vec<String> = events.iter().map(Value::to_string).collect();
        self.function.invoke(sqs_event(&bodies)).await.unwrap()
    }

    async fn reason(&self, address: &str) -> Option<SuppressionReason> {
        let found = self.suppressions.find(address).await.unwrap();
        found.map(|entry| entry.reason)
    }
}

/// A bounce event as the documentation of SES shows it.
fn bounce(bounce_type: &str, address: &str) -> Value {
    json!({
        "eventType": "Bounce",
        "bounce": {
            "bounceType": bounce_type,
            "bounceSubType": "General",
            "bouncedRecipients": [{
                "emailAddress": address,
                "action": "failed",
                "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown",
            }],
            "timestamp": "2026-11-29T00:41:02.669Z",
            "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
            "reportingMTA": "dsn; mta.example.com",
        },
        "mail": {
            "timestamp": "2026-11-29T00:40:02.012Z",
            "source": "orders@matsuri.example",
            "messageId": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
            "destination": [address],
        },
    })
}

/// A complaint event as the documentation of SES shows it.
fn complaint(kind: Option<&str>, address: &str) -> Value {
    let mut event = json!({
        "eventType": "Complaint",
        "complaint": {
            "complainedRecipients": [{"emailAddress": address}],
            "timestamp": "2026-11-29T00:41:02.669Z",
            "feedbackId": "01000157c44f053b-61b59c11-9236-11e6-8f96-7be8aexample-000000",
            "userAgent": "Amazon SES Mailbox Simulator",
            "arrivalDate": "2026-11-29T00:41:02.669Z",
        },
        "mail": {"destination": [address]},
    });
    if let Some(kind) = kind {
        event["complaint"]["complaintFeedbackType"] = json!(kind);
    }
    event
}

#[tokio::test]
async fn permanent_bounces_and_complaints_suppress_the_address() {
    use SuppressionReason::{Bounce, Complaint};
    let feedback = Feedback::start().await;
    for (address, event, expected) in [
        (
            "a@example.com",
            bounce("Permanent", "A@example.com"),
            Some(Bounce),
        ),
        ("b@example.com", bounce("Transient", "b@example.com"), None),
        ("c@example.com", bounce("Undetermined", "c@example.com"), None),
        (
            "d@example.com",
            complaint(Some("abuse"), "d@example.com"),
            Some(Complaint),
        ),
        ("e@example.com", complaint(None, "e@example.com"), Some(Complaint)),
        (
            "f@example.com",
            complaint(Some("not-spam"), "f@example.com"),
            None,
        ),
        (
            "g@example.com",
            json!({"eventType": "Delivery", "delivery": {}}),
            None,
        ),
    ] {
        assert_eq!(feedback.deliver(&[event]).await, batch_item_failures(&[]));
        assert_eq!(feedback.reason(address).await, expected, "{address}");
    }
}

#[tokio::test]
async fn repeated_report_keeps_the_first_reason() {
    let feedback = Feedback::start().await;
    let events = [bounce("Permanent", ADDRESS), complaint(None, ADDRESS)];
    for event in [&events[0], &events[1], &events[0]] {
        let response = feedback.deliver(std::slice::from_ref(event)).await;
        assert_eq!(response, batch_item_failures(&[]));
    }
    assert_eq!(feedback.reason(ADDRESS).await, Some(SuppressionReason::Bounce));
}

#[tokio::test]
async fn malformed_report_fails_alone_and_is_logged_without_the_address() {
    let feedback = Feedback::start().await;
    let mut malformed = bounce("Permanent", ADDRESS);
    malformed["bounce"]["bouncedRecipients"] = json!(ADDRESS);
    let valid = bounce("Permanent", "taro@example.com");
    assert_eq!(
        feedback.deliver(&[malformed, valid, json!(ADDRESS)]).await,
        batch_item_failures(&["0", "2"])
    );
    assert_eq!(
        feedback.reason("taro@example.com").await,
        Some(SuppressionReason::Bounce)
    );
    let lines = feedback
        .function
        .wait_for_log("the message is not an event of SES")
        .await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    let all = feedback.function.wait_for_log("").await.concat();
    assert!(!all.contains("hanako") && !all.contains("taro"), "{all}");
}

#[tokio::test]
async fn suppressed_address_gets_neither_order_mails_nor_account_mails() {
    let context = TestContext::new().await;
    let order = context.place_order(ADDRESS).await;
    let suppress = context.suppressions.add(ADDRESS, SuppressionReason::Complaint);
    suppress.await.unwrap();
    for event in [
        order_completed(&order),
        order_failed(&order, FailureReason::PaymentDeclined),
    ] {
        assert_eq!(context.deliver(&event).await, batch_item_failures(&[]));
    }
    let request = mail_request(AccountMail::PasswordChanged, "Hanako@example.com");
    let response = context.sender.invoke(sqs_event(&[request])).await;
    assert_eq!(response.unwrap(), batch_item_failures(&[]));
    assert_eq!(context.sent_mails().await.len(), 0);

    context.suppressions.remove(ADDRESS).await.unwrap();
    let later = context.place_order(ADDRESS).await;
    assert_eq!(
        context.deliver(&order_completed(&later)).await,
        batch_item_failures(&[])
    );
    assert_eq!(context.sent_mails().await.len(), 1);
    let mails = context.mail_services.take_mails();
    assert_eq!(mails[0]["ConfigurationSetName"], "matsuri-mails");
}

/// A mail is late rather than sent to an address that may be suppressed.
#[tokio::test]
async fn mail_waits_while_suppressions_cannot_be_read() {
    let context = TestContext::new().await;
    let event = order_completed(&context.place_order(ADDRESS).await);
    context.mail_services.set_suppressions_away(true);
    assert_eq!(context.deliver(&event).await, batch_item_failures(&["0"]));
    assert_eq!(context.mail_services.take_redelivery_delays(), [30]);
    assert_eq!(context.sent_mails().await.len(), 0);
    context.mail_services.set_suppressions_away(false);
    assert_eq!(context.deliver(&event).await, batch_item_failures(&[]));
    assert_eq!(context.sent_mails().await.len(), 1);
}
