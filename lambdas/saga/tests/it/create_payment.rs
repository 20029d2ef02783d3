//! Tests of create-payment, and of what the other steps do with the payment that it has created.

use domain::PaymentId;
use lambda_shared::FunctionError;
use orders::Payment;
use payment_provider::resources::IntentStatus;
use saga::{
    CreatedPayment, SagaState,
    refund_payment::{RefundOutcome, refund_payment},
};

use crate::support::TestContext;

impl TestContext {
    async fn place_order_with_payment(&self) -> (SagaState, PaymentId) {
        let state = self.place_order("pm_card_visa").await;
        let state = self.create_payment(state).await.unwrap();
        let payment_id = state.intent.clone().unwrap().payment_id;
        assert_eq!(
            self.intent(&payment_id).status,
            IntentStatus::RequiresConfirmation
        );
        (state, payment_id)
    }

    async fn compensate(&self, state: &SagaState) -> RefundOutcome {
        refund_payment(&self.store, &self.stripe, &self.publisher, state)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn invalid_payment_method_is_declined() {
    let context = TestContext::new().await;
    let state = context.place_order("pm_made_up").await;
    for _ in 0..2 {
        let declined = context.create_payment(state.clone()).await;
        assert_eq!(declined.unwrap_err().name(), "PaymentDeclined");
    }
}

#[tokio::test]
async fn created_payment_is_the_one_that_is_charged() {
    let context = TestContext::new().await;
    let (state, payment_id) = context.place_order_with_payment().await;
    let repeated = context.create_payment(state.clone()).await.unwrap();
    assert_eq!(repeated.intent, state.intent);
    assert_eq!(context.pay(&state).await.unwrap().payment_id, payment_id);
    assert_eq!(context.intent_count(), 1);
    assert_eq!(context.charged_and_refunded(), (1_500, 0));
}

#[tokio::test]
async fn payment_of_an_order_that_ends_otherwise_is_cancelled() {
    let context = TestContext::new().await;
    let (state, payment_id) = context.place_order_with_payment().await;
    context.cancel_order(&state).await;
    assert_eq!(context.pay(&state).await.unwrap_err().name(), "OrderCancelled");
    for _ in 0..2 {
        assert_eq!(context.compensate(&state).await, RefundOutcome::NothingCharged);
        assert_eq!(context.intent(&payment_id).status, IntentStatus::Canceled);
    }
    assert_eq!(context.charged_and_refunded(), (0, 0));
}

/// A later execution has created a second payment.
#[tokio::test]
async fn claimed_payment_is_refunded_and_the_other_is_cancelled() {
    let context = TestContext::new().await;
    let (state, claimed) = context.place_order_with_payment().await;
    context.pay(&state).await.unwrap();
    let (_, second) = context.place_order_with_payment().await;
    let later = SagaState {
        intent: Some(CreatedPayment {
            payment_id: second.clone(),
        }),
        ..state
    };
    assert_eq!(
        context.compensate(&later).await,
        RefundOutcome::Refunded { payment_id: claimed }
    );
    assert_eq!(context.intent(&second).status, IntentStatus::Canceled);
    assert_eq!(context.charged_and_refunded(), (1_500, 1_500));
    assert_eq!(context.load_order(&later).await.payment, Some(Payment::Refunded));
}
