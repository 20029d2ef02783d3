//! Tests of the unsubscribe links in the mails of notification-sender.

use domain::FailureReason;
use serde_json::{Value, json};
use unsubscribe::UnsubscribeKeys;

use crate::{
    batch_item_failures,
    notification_sender::{TestContext, UNSUBSCRIBE_KEY},
    order_events::{order_completed, order_failed},
};

/// The headers of the only mail that was sent since the last call.
fn take_headers(context: &TestContext) -> Value {
    let mails = context.mail_services.take_mails();
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    mail["Content"]["Simple"]["Headers"].clone()
}

#[tokio::test]
async fn optional_mail_has_the_headers_of_one_click_unsubscribe() {
    let context = TestContext::new().await;
    let order = context.place_order("hanako@example.com").await;
    let event = order_failed(&order, FailureReason::PaymentDeclined);
    assert_eq!(context.deliver(&event).await, batch_item_failures(&[]));

    let keys = UnsubscribeKeys::parse(&UNSUBSCRIBE_KEY.to_owned().into()).unwrap();
    let url = format!(
        "https://api.test/v1/unsubscribe?token={}",
        keys.sign(order.user_id)
    );
    assert_eq!(
        take_headers(&context),
        json!([
            {"Name": "List-Unsubscribe", "Value": format!("<{url}>")},
            {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
        ])
    );
    let mails = context.sent_mails().await;
    let text = mails[0]["BodyText"].as_str().unwrap();
    assert!(text.lines().any(|line| line == url), "{text}");
    assert!(!url.contains(&order.user_id.to_string()), "{url}");
    let html = mails[0]["BodyHtml"].as_str().unwrap();
    assert!(html.contains(&format!("href=\"{url}\"")), "{html}");
    let lines = context.sender.wait_for_log("").await.concat();
    assert!(!lines.contains("token="), "links must not be logged: {lines}");
}

/// The customer cannot opt out of it.
#[tokio::test]
async fn receipt_has_no_unsubscribe_link() {
    let context = TestContext::new().await;
    let order = context.place_order("hanako@example.com").await;
    assert_eq!(
        context.deliver(&order_completed(&order)).await,
        batch_item_failures(&[])
    );
    assert_eq!(take_headers(&context), Value::Null);
    let mails = context.sent_mails().await;
    assert!(!mails[0].to_string().contains("unsubscribe"), "{mails:?}");
}
