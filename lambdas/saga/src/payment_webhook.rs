//! `payment-webhook`: receives Stripe's events about what happens to a payment outside the saga.
//!
//! | event | effect |
//! |---|---|
//! | `payment_intent.succeeded` | refunds the payment and flags the order if the order has failed |
//! | `payment_intent.succeeded`, `.payment_failed` | continues the saga if the order waits for 3D Secure |
//! | `refund.failed`, `refund.updated` | flags the order whose refund has failed, or removes that flag |
//! | `charge.dispute.created` | flags the order |
//! | others, such as `payment_intent.canceled` | none: the saga learns it by itself |
//!
//! A flag is the attribute `payment_issue` of the order. Operators list the flagged orders with the index
//! `payment-issues-index`, and an alarm reports each new one.
//!
//! Stripe sends events late, repeatedly and in any order, for up to three days until a response has the
//! status 200. So the function uses an event only as a hint about a payment: what it does depends on the
//! payment's present state at Stripe and on the order. It also handles each event id only once, so that a
//! repeated event does not set a flag again that an operator has removed.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use chrono::TimeDelta;
use domain::{Clock, PaymentId, Timestamp, money::MoneyError};
use dynamodb_table::DynamoDbError;
use lambda_shared::{
    FunctionContext, Handler, Idempotency, InitError,
    http::{self, Deadline},
    idempotency::IdempotencyError,
    trace_context,
};
use orders::{Order, OrdersWithOutbox, Payment, PaymentIssue};
use secrets::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::{
    OutboxPublisher, bootstrap,
    payments::{
        PaymentError, PaymentProvider, PaymentStatus,
        rotating_key::RotatingKey,
        stripe::Stripe,
        stripe_signature::{SignatureError, WebhookSecret},
    },
};

/// Above the size of every event about a payment.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Stripe sends an event again for three days, and an operator can resend it for thirty days.
const RECORD_RETENTION: TimeDelta = TimeDelta::days(45);

struct PaymentWebhook {
    secret: Secret<WebhookSecret>,
    handled_events: Idempotency,
    store: OrdersWithOutbox,
    stripe: RotatingKey<Stripe>,
    publisher: OutboxPublisher,
    clock: Clock,
}

/// The fields of a Stripe event that this function uses.
#[derive(Deserialize)]
struct StripeEvent {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    object: EventObject,
}

/// A PaymentIntent, a refund or a dispute.
#[derive(Deserialize)]
struct EventObject {
    id: Option<String>,
    payment_intent: Option<PaymentId>,
}

/// What an event tells about a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    Charged,
    Failed,
    RefundChanged,
    Disputed,
}

/// Why a request is not an event of Stripe.
#[derive(Debug, thiserror::Error)]
enum InvalidRequest {
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("the body is not an event: {0}")]
    Body(String),
}

/// Why an event was not handled. Stripe sends it again.
#[derive(Debug, thiserror::Error)]
enum WebhookError {
    #[error("the order store failed")]
    Orders(#[from] DynamoDbError),
    #[error("the payment provider failed")]
    Provider(#[from] PaymentError),
    #[error("the order's total is out of range")]
    Total(#[from] MoneyError),
}

/// Initialises the function, with the endpoint's signing secret in the secret `PAYMENT_WEBHOOK_SECRET`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let secret_name: String = context.environment.required("PAYMENT_WEBHOOK_SECRET")?;
    let idempotency_table: String = context.environment.required("IDEMPOTENCY_TABLE")?;
    let handled_events = Idempotency::new(
        DynamoDb::new(&context.aws),
        idempotency_table,
        "payment-webhook",
        RECORD_RETENTION,
        context.clock.clone(),
    );
    let (store, stripe, secret) = tokio::try_join!(
        bootstrap::orders_with_outbox(&context),
        bootstrap::payment_provider(&context),
        async { Ok(bootstrap::secret(&context, secret_name, |text| Ok(WebhookSecret::new(text))).await?) }
    )?;
    let webhook = Arc::new(PaymentWebhook {
        secret,
        handled_events,
        publisher: bootstrap::outbox_publisher(&context, &store.outbox)?,
        store,
        stripe,
        clock: context.clock,
    });
    let router = Router::new()
        .route("/v1/webhooks/payment-provider", post(receive))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(webhook);
    Ok(http::handler(router))
}

async fn receive(
    State(webhook): State<Arc<PaymentWebhook>>,
    Deadline(deadline): Deadline,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let event = match webhook.parse(&headers, &body).await {
        Ok(event) => event,
        Err(error) => {
            tracing::warn!(reason = %error, "a webhook request was rejected");
            return StatusCode::BAD_REQUEST;
        }
    };
    match webhook.handle_once(event, deadline).await {
        Ok(()) => StatusCode::OK,
        Err(IdempotencyError::InProgress) => StatusCode::CONFLICT,
        Err(error) => {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(
                error,
                "an event was not handled, and the payment provider sends it again"
            );
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

impl PaymentWebhook {
    async fn handle_once(
        &self,
        event: StripeEvent,
        deadline: Timestamp,
    ) -> Result<(), IdempotencyError<WebhookError>> {
        let Some((hint, payment)) = event.hint() else {
            return Ok(());
        };
        let handle = || self.handle(hint, &payment);
        self.handled_events
            .run_once(&event.id, json!(event.id), deadline, handle)
            .await
    }

    async fn parse(&self, headers: &HeaderMap, body: &[u8]) -> Result<StripeEvent, InvalidRequest> {
        let signature = headers
            .get("stripe-signature")
            .and_then(|value| value.to_str().ok());
        // While a secret is rotated, Stripe signs with both for longer than the cached one is used.
        let secret = self.secret.current().await;
        secret.verify(
            signature.ok_or(SignatureError::Malformed)?,
            body,
            self.clock.now(),
        )?;
        serde_json::from_slice(body).map_err(|error| InvalidRequest::Body(error.to_string()))
    }

    async fn handle(&self, hint: Hint, payment: &PaymentId) -> Result<(), WebhookError> {
        let intent = match self.stripe.describe(payment).await {
            Ok(intent) => intent,
            Err(PaymentError::NotFound) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // Other programs may use the same Stripe account.
        let Some((user_id, order_id)) = intent.order else {
            return Ok(());
        };
        let Some(order) = self.store.orders.find(user_id, order_id).await? else {
            return Ok(());
        };
        trace_context::attach(&order.event_context());
        match hint {
            Hint::Charged | Hint::Failed if order.awaits_payment_action() => self.continue_saga(&order).await,
            Hint::Charged if intent.status == PaymentStatus::Charged => {
                self.settle_late_charge(&order, payment).await
            }
            Hint::Charged | Hint::Failed => Ok(()),
            Hint::RefundChanged => self.examine_refund(&order, payment).await,
            Hint::Disputed => self.flag(&order, PaymentIssue::Disputed).await,
        }
    }

    /// Continues the saga of an order that waits for its customer. The saga's next execution looks at the
    /// payment.
    async fn continue_saga(&self, order: &Order) -> Result<(), WebhookError> {
        if let Some(event) = self.store.complete_payment_action(order).await? {
            self.publisher.publish_or_log(&event).await;
        }
        Ok(())
    }

    /// Refunds a payment that succeeded although a compensation has closed the order to payment.
    async fn settle_late_charge(&self, order: &Order, payment: &PaymentId) -> Result<(), WebhookError> {
        if !order.payment_closed || order.payment == Some(Payment::Refunded) {
            return Ok(());
        }
        // Before the end of the order, its saga may be about to refund. A second refund is impossible.
        if order.status.is_final() {
            self.flag(order, PaymentIssue::LateCharge).await?;
        }
        let total = order.total()?;
        self.stripe.refund(order.order_id, payment, total).await?;
        let event = self
            .store
            .record_refund(
                order.user_id,
                order.order_id,
                payment,
                total,
                &order.event_context(),
            )
            .await?;
        if let Some(event) = event {
            self.publisher.publish_or_log(&event).await;
        }
        Ok(())
    }

    /// Flags an order that was to be refunded and has no refund that counts.
    async fn examine_refund(&self, order: &Order, payment: &PaymentId) -> Result<(), WebhookError> {
        // An operator may refund a completed order, or a part of it, in Stripe's dashboard. A completed order
        // was never closed.
        if !order.payment_closed {
            return Ok(());
        }
        if self.stripe.is_refunded(payment, order.total()?).await? {
            Ok(self
                .store
                .orders
                .resolve_payment_issue(order, PaymentIssue::RefundFailed)
                .await?)
        } else {
            self.flag(order, PaymentIssue::RefundFailed).await
        }
    }

    async fn flag(&self, order: &Order, issue: PaymentIssue) -> Result<(), WebhookError> {
        self.store.orders.flag_payment_issue(order, issue).await?;
        // A metric filter counts these lines for the alarm.
        tracing::warn!(payment_issue = %issue, "an operator has to examine the order's payment");
        Ok(())
    }
}

impl StripeEvent {
    /// What the event tells about which payment. Returns `None` for an event that needs no action.
    fn hint(&self) -> Option<(Hint, PaymentId)> {
        let object = &self.data.object;
        match self.kind.as_str() {
            "payment_intent.succeeded" => Some((Hint::Charged, PaymentId(object.id.clone()?))),
            "payment_intent.payment_failed" => Some((Hint::Failed, PaymentId(object.id.clone()?))),
            "refund.failed" | "refund.updated" => Some((Hint::RefundChanged, object.payment_intent.clone()?)),
            "charge.dispute.created" => Some((Hint::Disputed, object.payment_intent.clone()?)),
            _ => None,
        }
    }
}
