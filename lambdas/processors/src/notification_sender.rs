//! `notification-sender`: sends order mails (an order has completed or failed) and account mails with SES.
//!
//! SES does not detect duplicates, so the idempotency store makes sure that each event or request sends one
//! mail. The content of an order mail comes from the stored order; the event contains only the order's id and
//! failure reason. The content of an account mail comes from the request in the queue, which is never
//! published on the event bus because it contains secrets.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sesv2::{
    Client as Ses,
    error::DisplayErrorContext,
    types::{Body, Content, Destination, EmailContent, Message as Email},
};
use domain::{OrderId, UserId};
use events::{
    AccountMail, AccountMailRequest, Envelope, EventBridgeEvent, EventContext, EventData,
    eventbridge::{EventHeader, EventParseError},
    order::{OrderCompleted, OrderFailed},
};
use lambda_shared::{
    FunctionContext, Handler, Idempotency, InitError, idempotency::IdempotencyError, sqs, sqs::Message,
    trace_context,
};
use orders::{Order, Orders, StoreError, Tables};
use serde::Deserialize;

use crate::{
    RECORD_RETENTION,
    account_mail::{self, StorefrontLinks},
    mail::{Mail, MailError},
    order_mail,
};

/// The number of mails that one invocation sends concurrently. SES limits the sending rate per account.
const CONCURRENCY: usize = 5;

struct NotificationSender {
    orders: Orders,
    sent_mails: Idempotency,
    ses: Ses,
    from_address: String,
    links: StorefrontLinks,
}

/// Why a message failed.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error(transparent)]
    Event(#[from] EventParseError),
    #[error("the message is not JSON")]
    InvalidJson(#[source] serde_json::Error),
    #[error("the event type {0} has no mail")]
    UnsupportedEvent(String),
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError<SendError>),
}

/// Why a mail was not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the order {0} does not exist")]
    OrderNotFound(OrderId),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error("SES rejected the mail: {0}")]
    Ses(String),
}

/// The SNS envelope of a message in an SQS queue. Subscriptions with raw message delivery have none.
#[derive(Deserialize)]
struct SnsNotification {
    #[serde(rename = "Message")]
    message: String,
}

/// Initialises the function. `MAIL_FROM` is the sender's address, `STOREFRONT_URL` the base URL of links,
/// `ORDERS_TABLE` the order store and `IDEMPOTENCY_TABLE` the idempotency store.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let from_address = context.environment.required("MAIL_FROM")?;
    let idempotency_table: String = context.environment.required("IDEMPOTENCY_TABLE")?;
    let orders_table = context.environment.required("ORDERS_TABLE")?;
    let storefront_url: String = context.environment.required("STOREFRONT_URL")?;

    let dynamo = DynamoDb::new(&context.aws);
    let sent_mails = Idempotency::new(
        dynamo.clone(),
        &idempotency_table,
        "notification-sender",
        RECORD_RETENTION,
        context.clock.clone(),
    );
    sent_mails.warm_up().await?;
    // The function only reads orders.
    let tables = Tables {
        orders: orders_table,
        outbox: String::new(),
        idempotency: idempotency_table,
    };
    let orders = Orders::new(dynamo, tables, context.clock.clone());

    let sender = Arc::new(NotificationSender {
        orders,
        sent_mails,
        ses: Ses::new(&context.aws),
        from_address,
        links: StorefrontLinks::new(&storefront_url),
    });
    Ok(sqs::handler(context.clock, CONCURRENCY, move |message| {
        let sender = Arc::clone(&sender);
        async move { sender.process_message(message).await }
    }))
}

impl NotificationSender {
    async fn process_message(&self, message: Message) -> Result<(), NotifyError> {
        // Account mail requests are accepted only without an SNS envelope: SNS delivers events from the event
        // bus, and requests must not be published there.
        if let Ok(request) = serde_json::from_str(&message.body) {
            return self.send_account_mail(&request, message.deadline).await;
        }
        let body = unwrap_sns_envelope(message.body);
        let header: EventHeader = serde_json::from_str(&body).map_err(NotifyError::InvalidJson)?;
        match header.detail_type.as_str() {
            OrderCompleted::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderCompleted>::parse(&body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                let render = |order: &Order| order_mail::render_completed(order).map(Some);
                self.send_order_mail(&event, order_key, message.deadline, render)
                    .await
            }
            OrderFailed::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderFailed>::parse(&body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                let render = |order: &Order| order_mail::render_failed(order, event.data.reason);
                self.send_order_mail(&event, order_key, message.deadline, render)
                    .await
            }
            _ => Err(NotifyError::UnsupportedEvent(header.detail_type)),
        }
    }

    async fn send_order_mail<D: EventData>(
        &self,
        event: &Envelope<D>,
        (user_id, order_id): (UserId, OrderId),
        deadline: domain::Timestamp,
        render: impl Fn(&Order) -> Result<Option<Mail>, MailError>,
    ) -> Result<(), NotifyError> {
        trace_context::attach(&event.follow_up_context());
        let send = async || -> Result<Option<String>, SendError> {
            let order = self
                .orders
                .find(user_id, order_id)
                .await?
                .ok_or(SendError::OrderNotFound(order_id))?;
            // The customer's account was deleted, which removed the address from the order.
            if order.contact_email.is_empty() {
                return Ok(None);
            }
            match render(&order)? {
                Some(mail) => self.send(mail).await.map(Some),
                None => Ok(None),
            }
        };
        let message_id = self
            .sent_mails
            .run_once(&event.event_id.to_string(), event, deadline, send)
            .await?;
        match message_id {
            Some(message_id) => tracing::info!(message_id, "the order mail was sent"),
            None => {
                tracing::info!("no order mail was sent: the customer has opted out or deleted the account")
            }
        }
        Ok(())
    }

    async fn send_account_mail(
        &self,
        request: &AccountMailRequest,
        deadline: domain::Timestamp,
    ) -> Result<(), NotifyError> {
        trace_context::attach(&EventContext {
            correlation_id: request.mail_id,
            causation_id: None,
            traceparent: request.traceparent,
        });
        if request.mail == AccountMail::Decoy {
            return Ok(());
        }
        let send = async || -> Result<String, SendError> {
            match account_mail::render(request, &self.links)? {
                Some(mail) => self.send(mail).await,
                None => Ok(String::new()),
            }
        };
        let message_id = self
            .sent_mails
            .run_once(&request.mail_id.to_string(), request, deadline, send)
            .await?;
        tracing::info!(message_id, "the account mail was sent");
        Ok(())
    }

    /// Sends a mail and returns its SES message id.
    async fn send(&self, mail: Mail) -> Result<String, SendError> {
        let ses_failed =
            |error: &dyn std::error::Error| SendError::Ses(DisplayErrorContext(error).to_string());
        let content = |data: String| Content::builder().data(data).charset("UTF-8").build();
        let body = Body::builder()
            .text(content(mail.text).map_err(|error| ses_failed(&error))?)
            .html(content(mail.html).map_err(|error| ses_failed(&error))?)
            .build();
        let subject = content(mail.subject).map_err(|error| ses_failed(&error))?;
        let response = self
            .ses
            .send_email()
            .from_email_address(&self.from_address)
            .destination(Destination::builder().to_addresses(mail.to).build())
            .content(
                EmailContent::builder()
                    .simple(Email::builder().subject(subject).body(body).build())
                    .build(),
            )
            .send()
            .await
            .map_err(|error| ses_failed(&error))?;
        // SES returns an id with every accepted mail; it is only logged.
        Ok(response.message_id.unwrap_or_default())
    }
}

/// The event in a message body, with or without an SNS envelope.
fn unwrap_sns_envelope(body: String) -> String {
    match serde_json::from_str::<SnsNotification>(&body) {
        Ok(notification) => notification.message,
        Err(_) => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwraps_the_sns_envelope() {
        let event = r#"{"detail-type":"OrderCompleted"}"#;
        let wrapped = serde_json::json!({"Type": "Notification", "MessageId": "1", "Message": event});
        assert_eq!(unwrap_sns_envelope(wrapped.to_string()), event);
        assert_eq!(unwrap_sns_envelope(event.to_owned()), event);
        assert_eq!(unwrap_sns_envelope("not JSON".to_owned()), "not JSON");
    }
}
