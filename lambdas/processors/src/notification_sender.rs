//! `notification-sender`: tells customers by e-mail how their orders ended, and what happens to their accounts.
//!
//! One mail per event or request, by a record of ours, because SES knows no repetitions. What the mail says of an
//! order comes from the order as it is stored; the event only says that it has ended, and why. What it says of an
//! account comes in the request, which never travels over the bus.

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
    order_mail::{self, Mail, MailError},
};

/// How many mails one invocation sends at once. SES gives an account so many a second.
const CONCURRENCY: usize = 5;

struct NotificationSender {
    orders: Orders,
    sent_mails: Idempotency,
    ses: Ses,
    from_address: String,
    links: StorefrontLinks,
}

/// Why no mail was sent.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error(transparent)]
    Event(#[from] EventParseError),
    #[error("the message is not JSON")]
    InvalidJson(#[source] serde_json::Error),
    #[error("no mail is sent for {0}")]
    UnsupportedEvent(String),
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError<SendError>),
}

/// Why a mail that should be sent was not.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the order {0} is not there")]
    OrderNotFound(OrderId),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mail(#[from] MailError),
    #[error("SES does not take the mail: {0}")]
    Ses(String),
}

/// The envelope in which SNS puts what it delivers to a queue, unless it is asked for the bare message.
#[derive(Deserialize)]
struct SnsNotification {
    #[serde(rename = "Message")]
    message: String,
}

/// Makes the function: mail comes from `MAIL_FROM`, its links lead to `STOREFRONT_URL`, orders are read from
/// `ORDERS_TABLE`, and what was sent is recorded in `IDEMPOTENCY_TABLE`.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let from = init.environment.required("MAIL_FROM")?;
    let idempotency: String = init.environment.required("IDEMPOTENCY_TABLE")?;
    let orders = init.environment.required("ORDERS_TABLE")?;
    let shop: String = init.environment.required("STOREFRONT_URL")?;

    let dynamo = DynamoDb::new(&init.aws);
    let sent = Idempotency::new(
        dynamo.clone(),
        &idempotency,
        "notification-sender",
        RECORD_RETENTION,
        init.clock.clone(),
    );
    sent.warm_up().await?;
    // It only reads orders.
    let tables = Tables {
        orders,
        outbox: String::new(),
        idempotency,
    };
    let orders = Orders::new(dynamo, tables, init.clock.clone());

    let sender = Arc::new(NotificationSender {
        orders,
        sent_mails: sent,
        ses: Ses::new(&init.aws),
        from_address: from,
        links: StorefrontLinks::new(&shop),
    });
    Ok(sqs::handler(init.clock, CONCURRENCY, move |message| {
        let sender = Arc::clone(&sender);
        async move { sender.process_message(message).await }
    }))
}

impl NotificationSender {
    async fn process_message(&self, message: Message) -> Result<(), NotifyError> {
        // Only as it was sent: SNS delivers what came over the bus, which is no place for these.
        if let Ok(request) = serde_json::from_str(&message.body) {
            return self.send_account_mail(&request, message.deadline).await;
        }
        let body = unwrap_sns_envelope(message.body);
        let kind: EventHeader = serde_json::from_str(&body).map_err(NotifyError::InvalidJson)?;
        match kind.detail_type.as_str() {
            OrderCompleted::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderCompleted>::parse(&body)?.detail;
                let of = (event.data.user_id, event.data.order_id);
                self.send_order_mail(&event, of, message.deadline, order_mail::render_completed)
                    .await
            }
            OrderFailed::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderFailed>::parse(&body)?.detail;
                let of = (event.data.user_id, event.data.order_id);
                let write = |order: &Order| order_mail::render_failed(order, event.data.reason);
                self.send_order_mail(&event, of, message.deadline, write).await
            }
            _ => Err(NotifyError::UnsupportedEvent(kind.detail_type)),
        }
    }

    async fn send_order_mail<D: EventData>(
        &self,
        event: &Envelope<D>,
        (user_id, order_id): (UserId, OrderId),
        deadline: domain::Timestamp,
        write: impl Fn(&Order) -> Result<Mail, MailError>,
    ) -> Result<(), NotifyError> {
        trace_context::attach(&event.follow_up_context());
        let send = async || -> Result<Option<String>, SendError> {
            let order = self
                .orders
                .find(user_id, order_id)
                .await?
                .ok_or(SendError::OrderNotFound(order_id))?;
            // The customer's account is deleted, and their address with it.
            if order.contact_email.is_empty() {
                return Ok(None);
            }
            self.send(write(&order)?).await.map(Some)
        };
        let message_id = self
            .sent_mails
            .run_once(&event.event_id.to_string(), event, deadline, send)
            .await?;
        match message_id {
            Some(message_id) => tracing::info!(message_id, "the customer knows how the order ended"),
            None => tracing::info!("the customer is gone, and is told nothing"),
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
        tracing::info!(message_id, "the person knows what happened to their account");
        Ok(())
    }

    /// Gives SES's id of the message.
    async fn send(&self, mail: Mail) -> Result<String, SendError> {
        let ses_failed =
            |error: &dyn std::error::Error| SendError::Ses(DisplayErrorContext(error).to_string());
        let content = |data: String| Content::builder().data(data).charset("UTF-8").build();
        let body = Body::builder()
            .text(content(mail.text).map_err(|error| ses_failed(&error))?)
            .html(content(mail.html).map_err(|error| ses_failed(&error))?)
            .build();
        let subject = content(mail.subject.to_owned()).map_err(|error| ses_failed(&error))?;
        let sent = self
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
        Ok(sent.message_id.unwrap_or_default())
    }
}

/// The event in a message, with SNS's envelope around it or without.
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
    fn an_envelope_of_sns_is_taken_off() {
        let event = r#"{"detail-type":"OrderCompleted"}"#;
        let wrapped = serde_json::json!({"Type": "Notification", "MessageId": "1", "Message": event});
        assert_eq!(unwrap_sns_envelope(wrapped.to_string()), event);
        assert_eq!(unwrap_sns_envelope(event.to_owned()), event);
        assert_eq!(unwrap_sns_envelope("not JSON".to_owned()), "not JSON");
    }
}
