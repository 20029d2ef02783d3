//! `notification-sender`: sends order mails (an order has ended, or was refunded after its end) and account
//! mails with SES.
//!
//! SES does not detect duplicates, so the idempotency store makes sure that each event or request sends one
//! mail. The content of an order mail comes from the stored order; the event contains only the order's id and
//! failure reason. The content of an account mail comes from the request in the queue, which is never
//! published on the event bus because it contains secrets.
//!
//! No mail is sent to an address that `mail-feedback` has suppressed. While SES is away, messages are
//! delivered again with growing delays (`redelivery`). The function sends no faster than a configured rate
//! (`send_rate`). Its log lines and errors contain no e-mail address.

use std::{borrow::Cow, num::NonZeroU32, sync::Arc, time::Duration};

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sesv2::{
    Client as Ses,
    config::{Builder as SesConfig, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::send_email::SendEmailError,
    types::{Body, Content, Destination, EmailContent, Message as Email, MessageHeader},
};
use aws_sdk_sqs::Client as Sqs;
use domain::{OrderId, UserId};
use dynamodb_table::DynamoDbError;
use events::{
    AccountMail, AccountMailRequest, Envelope, EventBridgeEvent, EventContext, EventData,
    eventbridge::{EventHeader, EventParseError, received_detail},
    order::{OrderCancelled, OrderCompleted, OrderFailed},
    payment::PaymentRefunded,
};
use lambda_shared::{
    FunctionContext, Handler, Idempotency, InitError, idempotency::IdempotencyError, sqs, sqs::Message,
    trace_context,
};
use mail_suppressions::MailSuppressions;
use orders::{Order, Orders};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    RECORD_RETENTION,
    account_mail::{self, StorefrontLinks},
    cancellation_mail,
    mail::{Mail, MailError},
    order_mail,
    redelivery::{self, SourceQueue},
    send_rate::SendRate,
    unsubscribe_links::UnsubscribeLinks,
};

/// The number of mails that one invocation sends concurrently: the whole batch.
const CONCURRENCY: usize = 5;

/// The time limit of a call to SES. At the lowest rate, one mail per second for two invocations, the fifth
/// mail of a batch starts after eight seconds and ends before the function's timeout of twenty.
const SES_TIMEOUT: Duration = Duration::from_secs(8);

struct NotificationSender {
    orders: Orders,
    sent_mails: Idempotency,
    ses: Ses,
    /// SES reports bounces and complaints about mails of this set.
    configuration_set: String,
    suppressions: MailSuppressions,
    send_rate: SendRate,
    queue: SourceQueue,
    from_address: String,
    links: StorefrontLinks,
    unsubscribe_links: UnsubscribeLinks,
}

/// Why a message failed.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error(transparent)]
    Event(EventParseError),
    /// The parser's message is dropped, because it could quote an address.
    #[error("the message is malformed at line {line}, column {column}")]
    Malformed { line: usize, column: usize },
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
    DynamoDb(#[from] DynamoDbError),
    #[error(transparent)]
    Mail(#[from] MailError),
    /// Contains the error code. SES's message is dropped, because it can contain the recipient's address.
    #[error("SES rejected the mail ({0})")]
    Rejected(String),
    #[error("SES did not respond")]
    NoResponse,
}

/// The SNS envelope of a message in an SQS queue. Subscriptions with raw message delivery have none.
#[derive(Deserialize)]
struct SnsNotification {
    #[serde(rename = "Message")]
    message: String,
}

/// Initialises the function. `MAIL_FROM` is the sender's address, `STOREFRONT_URL` the base URL of links,
/// `ORDERS_TABLE` the order store, `IDEMPOTENCY_TABLE` the idempotency store and `NOTIFICATION_QUEUE_URL` the
/// queue of the messages. `UNSUBSCRIBE_URL` and `UNSUBSCRIBE_KEYS_SECRET` make the links with which customers
/// unsubscribe. `MAIL_CONFIGURATION_SET` is SES's configuration set, and `MAIL_SUPPRESSIONS_TABLE` the table
/// of addresses that get no mail. All `CONCURRENT_INVOCATIONS` together send at most `MAILS_PER_SECOND`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let from_address = context.environment.required("MAIL_FROM")?;
    let idempotency_table: String = context.environment.required("IDEMPOTENCY_TABLE")?;
    let orders_table: String = context.environment.required("ORDERS_TABLE")?;
    let storefront_url: String = context.environment.required("STOREFRONT_URL")?;
    let queue_url = context.environment.required("NOTIFICATION_QUEUE_URL")?;
    let mails_per_second: NonZeroU32 = context.environment.required("MAILS_PER_SECOND")?;
    let concurrent_invocations: NonZeroU32 = context.environment.required("CONCURRENT_INVOCATIONS")?;

    let dynamo = DynamoDb::new(&context.aws);
    let sent_mails = Idempotency::new(
        dynamo.clone(),
        &idempotency_table,
        "notification-sender",
        RECORD_RETENTION,
        context.clock.clone(),
    );
    sent_mails.warm_up().await?;
    let orders = Orders::new(dynamo.clone(), orders_table, context.clock.clone());
    let suppressions = MailSuppressions::new(
        dynamo,
        context.environment.required("MAIL_SUPPRESSIONS_TABLE")?,
        context.clock.clone(),
    );

    let sender = Arc::new(NotificationSender {
        orders,
        sent_mails,
        ses: Ses::from_conf(
            SesConfig::from(&context.aws)
                // The SDK's retries would exceed the rate. The queue delivers the message again.
                .retry_config(RetryConfig::disabled())
                .build(),
        ),
        configuration_set: context.environment.required("MAIL_CONFIGURATION_SET")?,
        suppressions,
        send_rate: SendRate::new(mails_per_second, concurrent_invocations),
        queue: SourceQueue::new(Sqs::new(&context.aws), queue_url),
        from_address,
        links: StorefrontLinks::new(&storefront_url),
        unsubscribe_links: UnsubscribeLinks::from_context(&context).await?,
    });
    Ok(sqs::handler(context.clock, CONCURRENCY, move |message| {
        let sender = Arc::clone(&sender);
        async move { sender.process_message(message).await }
    }))
}

impl NotificationSender {
    /// Processes a message. If it fails, delays its next delivery.
    async fn process_message(&self, message: Message) -> Result<(), NotifyError> {
        let result = self.send_mail_for(&message).await;
        if let Err(error) = &result
            && let Some(receipt_handle) = &message.receipt_handle
            && let Some(delay) = error.redelivery_delay(&message)
        {
            self.queue.delay_redelivery(receipt_handle, delay).await;
        }
        result
    }

    async fn send_mail_for(&self, message: &Message) -> Result<(), NotifyError> {
        // Account mail requests are accepted only without an SNS envelope: SNS delivers events from the event
        // bus, and requests must not be published there.
        if let Ok(request) = serde_json::from_str(&message.body) {
            let received = serde_json::from_str(&message.body)?;
            return self.send_account_mail(&request, received, message.deadline).await;
        }
        let body = unwrap_sns_envelope(&message.body);
        let header: EventHeader = serde_json::from_str(&body)?;
        match header.detail_type.as_str() {
            OrderCompleted::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderCompleted>::parse(&body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                let render =
                    |order: &Order, _: &str| order_mail::render_completed(order, &self.links).map(Some);
                self.send_order_mail(message, &body, &event, order_key, render)
                    .await
            }
            OrderFailed::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderFailed>::parse(&body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                let reason = event.data.reason;
                let render = |order: &Order, url: &str| order_mail::render_failed(order, reason, url);
                self.send_order_mail(message, &body, &event, order_key, render)
                    .await
            }
            OrderCancelled::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderCancelled>::parse(&body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                self.send_order_mail(
                    message,
                    &body,
                    &event,
                    order_key,
                    cancellation_mail::render_cancelled,
                )
                .await
            }
            PaymentRefunded::DETAIL_TYPE => {
                let event = EventBridgeEvent::<PaymentRefunded>::parse(&body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                self.send_order_mail(
                    message,
                    &body,
                    &event,
                    order_key,
                    cancellation_mail::render_refunded,
                )
                .await
            }
            _ => Err(NotifyError::UnsupportedEvent(header.detail_type)),
        }
    }

    /// Sends the mail about `event`, which is in `body`. `render` gets the order and the customer's
    /// unsubscribe link.
    async fn send_order_mail<D: EventData>(
        &self,
        message: &Message,
        body: &str,
        event: &Envelope<D>,
        (user_id, order_id): (UserId, OrderId),
        render: impl Fn(&Order, &str) -> Result<Option<Mail>, MailError>,
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
            let unsubscribe_url = self.unsubscribe_links.for_user(user_id).await;
            match render(&order, &unsubscribe_url)? {
                Some(mail) => self.send(mail).await,
                None => Ok(None),
            }
        };
        let key = event.event_id.to_string();
        let message_id = self
            .sent_mails
            .run_once(&key, received_detail(body)?, message.deadline, send)
            .await?;
        match message_id {
            Some(message_id) => tracing::info!(message_id, "the order mail was sent"),
            None => {
                tracing::info!(
                    "no order mail was sent: the customer has opted out or deleted the account, the address is \
                     suppressed, or the mail about the end of the order reports the refund"
                )
            }
        }
        Ok(())
    }

    async fn send_account_mail(
        &self,
        request: &AccountMailRequest,
        received: Value,
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
        let send = async || -> Result<Option<String>, SendError> {
            match account_mail::render(request, &self.links)? {
                Some(mail) => self.send(mail).await,
                None => Ok(None),
            }
        };
        let message_id = self
            .sent_mails
            .run_once(&request.mail_id.to_string(), received, deadline, send)
            .await?;
        match message_id {
            Some(message_id) => tracing::info!(message_id, "the account mail was sent"),
            None => tracing::info!("no account mail was sent: the address is suppressed"),
        }
        Ok(())
    }

    /// Sends a mail and returns its SES message id. Sends none and returns `None` if the recipient's address
    /// is suppressed.
    async fn send(&self, mail: Mail) -> Result<Option<String>, SendError> {
        if self.suppressions.find(&mail.to).await?.is_some() {
            return Ok(None);
        }
        let content = |data: String| {
            let content = Content::builder().data(data).charset("UTF-8").build();
            content.expect("the data is set")
        };
        let body = Body::builder().text(content(mail.text)).html(content(mail.html));
        let headers = mail.unsubscribe_url.as_deref().map(unsubscribe_headers);
        let email = Email::builder()
            .subject(content(mail.subject))
            .body(body.build())
            .set_headers(headers.map(Vec::from));
        let call = self
            .ses
            .send_email()
            .from_email_address(&self.from_address)
            .configuration_set_name(&self.configuration_set)
            .destination(Destination::builder().to_addresses(mail.to).build())
            .content(EmailContent::builder().simple(email.build()).build())
            .send();
        let response = self.send_rate.run(timeout(SES_TIMEOUT, call)).await;
        let response = response.map_err(|_elapsed| SendError::NoResponse)??;
        // SES returns an id with every accepted mail; it is only logged.
        Ok(Some(response.message_id.unwrap_or_default()))
    }
}

impl NotifyError {
    /// How long the queue waits before the next delivery. `None` when the queue's own visibility timeout is
    /// right: another delivery is in progress and ends before it.
    fn redelivery_delay(&self, message: &Message) -> Option<Duration> {
        match self {
            Self::Idempotency(
                IdempotencyError::Store(_)
                | IdempotencyError::Operation(
                    SendError::DynamoDb(_) | SendError::Rejected(_) | SendError::NoResponse,
                ),
            ) => Some(redelivery::retry_delay(message)),
            Self::Idempotency(IdempotencyError::InProgress) => None,
            Self::Event(_)
            | Self::Malformed { .. }
            | Self::UnsupportedEvent(_)
            | Self::Idempotency(
                IdempotencyError::PayloadMismatch
                | IdempotencyError::Operation(SendError::OrderNotFound(_) | SendError::Mail(_)),
            ) => Some(redelivery::PERMANENT_FAILURE_DELAY),
        }
    }
}

impl From<serde_json::Error> for NotifyError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed {
            line: error.line(),
            column: error.column(),
        }
    }
}

impl From<EventParseError> for NotifyError {
    fn from(error: EventParseError) -> Self {
        match error {
            EventParseError::Malformed { source, .. } => source.into(),
            error => Self::Event(error),
        }
    }
}

impl From<SdkError<SendEmailError>> for SendError {
    fn from(error: SdkError<SendEmailError>) -> Self {
        match error.code() {
            Some(code) => Self::Rejected(code.to_owned()),
            None => Self::NoResponse,
        }
    }
}

/// The headers with which a mail program offers to unsubscribe with one click (RFC 8058).
fn unsubscribe_headers(url: &str) -> [MessageHeader; 2] {
    let header = |name: &str, value: String| {
        let header = MessageHeader::builder().name(name).value(value).build();
        header.expect("the name and the value are set")
    };
    [
        header("List-Unsubscribe", format!("<{url}>")),
        header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
    ]
}

/// The event in a message body, with or without an SNS envelope.
fn unwrap_sns_envelope(body: &str) -> Cow<'_, str> {
    match serde_json::from_str::<SnsNotification>(body) {
        Ok(notification) => Cow::Owned(notification.message),
        Err(_) => Cow::Borrowed(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwraps_the_sns_envelope() {
        let event = r#"{"detail-type":"OrderCompleted"}"#;
        let wrapped = serde_json::json!({"Type": "Notification", "MessageId": "1", "Message": event});
        assert_eq!(unwrap_sns_envelope(&wrapped.to_string()), event);
        assert_eq!(unwrap_sns_envelope(event), event);
        assert_eq!(unwrap_sns_envelope("not JSON"), "not JSON");
    }
}
