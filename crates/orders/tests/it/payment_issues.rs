//! Flags on orders whose payment an operator has to examine.

use orders::PaymentIssue;

use crate::support::TestContext;

#[tokio::test]
async fn the_last_flag_stays_until_it_is_resolved() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    let order = context.order(&placed).await;
    assert_eq!(order.payment_issue, None);

    context
        .orders
        .flag_payment_issue(&order, PaymentIssue::RefundFailed)
        .await
        .unwrap();
    context
        .orders
        .flag_payment_issue(&order, PaymentIssue::Disputed)
        .await
        .unwrap();
    context
        .orders
        .resolve_payment_issue(&order, PaymentIssue::RefundFailed)
        .await
        .unwrap();
    assert_eq!(
        context.order(&placed).await.payment_issue,
        Some(PaymentIssue::Disputed)
    );

    context
        .orders
        .resolve_payment_issue(&order, PaymentIssue::Disputed)
        .await
        .unwrap();
    assert_eq!(context.order(&placed).await, order);
}

#[tokio::test]
async fn a_flag_does_not_create_an_order() {
    let context = TestContext::new().await;
    let order = context.order(&context.place().await).await;
    let missing = orders::Order {
        order_id: domain::OrderId::new(context.clock.now()),
        ..order
    };
    context
        .orders
        .flag_payment_issue(&missing, PaymentIssue::Disputed)
        .await
        .unwrap();
    let found = context.orders.find(missing.user_id, missing.order_id).await;
    assert_eq!(found.unwrap(), None);
}
