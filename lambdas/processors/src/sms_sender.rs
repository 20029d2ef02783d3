//! `sms-sender`: sends SMS with SNS about the end of orders, and the codes that verify telephone numbers.
//!
//! SNS does not detect duplicates, so the idempotency store makes sure that each event or request sends one
//! SMS. The content comes from the stored order, as for mails. A message about an order waits in the queue
//! until the customer's quiet hours end, and then reports the order's state of that time. While SNS is away,
//! messages are delivered again with growing delays (`redelivery`). A code that has expired is not sent.
//!
//! An SMS that SNS refuses because of its recipient is not sent again. Log lines and errors contain no
//! telephone number.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sns::{
    Client as Sns,
    config::{Builder as SnsConfig, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::publish::PublishError,
    types::MessageAttributeValue,
};
use aws_sdk_sqs::Client as Sqs;
use domain::{Clock, OrderId, Timestamp, UserId, money::MoneyError};
use dynamodb_table::DynamoDbError;
use events::{
    Envelope, EventBridgeEvent, EventContext, EventData, PhoneCodeRequest,
    eventbridge::{EventHeader, EventParseError, received_detail},
    order::{OrderCancelled, OrderCompleted, OrderFailed},
    payment::PaymentRefunded,
};
use lambda_shared::{
    FunctionContext, Handler, Idempotency, InitError,
    idempotency::IdempotencyError,
    sqs::{self, Disposition, Message},
    trace_context,
};
use orders::Orders;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    RECORD_RETENTION,
    order_sms::{self, Outcome},
    redelivery::{self, SourceQueue},
    send_rate::SendRate,
};

/// The number of SMS that one invocation sends concurrently: the whole batch.
const CONCURRENCY: usize = 5;

/// The time limit of a call to SNS. At the lowest rate, one SMS per second for two invocations, the fifth SMS
/// of a batch starts after eight seconds and ends before the function's timeout of twenty.
const SNS_TIMEOUT: Duration = Duration::from_secs(8);

struct SmsSender {
    orders: Orders,
    sent_sms: Idempotency,
    sns: Sns,
    /// The name that recipients see instead of a number, where their network shows it.
    sender_id: String,
    send_rate: SendRate,
    queue: SourceQueue,
    clock: Clock,
}

/// What became of an SMS. The idempotency record contains it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SmsResult {
    /// SNS has accepted the SMS.
    Sent { message_id: String },
    /// SNS sends no SMS to this number, for example because its owner has opted out. Contains the error code.
    Undeliverable { code: String },
}

/// Why a message failed.
#[derive(Debug, thiserror::Error)]
enum SmsError {
    #[error(transparent)]
    Event(EventParseError),
    /// The parser's message is dropped, because it could quote a telephone number.
    #[error("the message is malformed at line {line}, column {column}")]
    Malformed { line: usize, column: usize },
    #[error("the event type {0} has no SMS")]
    UnsupportedEvent(String),
    #[error("the order {0} does not exist")]
    OrderNotFound(OrderId),
    #[error("the total of the order is out of range")]
    TotalOutOfRange(#[from] MoneyError),
    #[error(transparent)]
    Orders(#[from] DynamoDbError),
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError<SendError>),
}

/// Why an SMS was not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    /// Contains the error code. SNS's message is dropped, because it can contain the recipient's number.
    #[error("SNS rejected the SMS ({0})")]
    Rejected(String),
    #[error("SNS did not respond")]
    NoResponse,
}

/// Initialises the function. `ORDERS_TABLE` is the order store, `IDEMPOTENCY_TABLE` the idempotency store,
/// `SMS_QUEUE_URL` the queue of the messages and `SMS_SENDER_ID` the sender's name. All
/// `CONCURRENT_INVOCATIONS` together send at most `SMS_PER_SECOND`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let idempotency_table: String = context.environment.required("IDEMPOTENCY_TABLE")?;
    let sms_per_second: NonZeroU32 = context.environment.required("SMS_PER_SECOND")?;
    let concurrent_invocations: NonZeroU32 = context.environment.required("CONCURRENT_INVOCATIONS")?;

    let dynamo = DynamoDb::new(&context.aws);
    let sent_sms = Idempotency::new(
        dynamo.clone(),
        &idempotency_table,
        "sms-sender",
        RECORD_RETENTION,
        context.clock.clone(),
    );
    sent_sms.warm_up().await?;
    let orders_table: String = context.environment.required("ORDERS_TABLE")?;
    let sender = Arc::new(SmsSender {
        orders: Orders::new(dynamo, orders_table, context.clock.clone()),
        sent_sms,
        sns: Sns::from_conf(
            SnsConfig::from(&context.aws)
                // A retry of a request whose response was lost would send the SMS twice. The queue delivers
                // the message again, later.
                .retry_config(RetryConfig::disabled())
                .build(),
        ),
        sender_id: context.environment.required("SMS_SENDER_ID")?,
        send_rate: SendRate::new(sms_per_second, concurrent_invocations),
        queue: SourceQueue::new(
            Sqs::new(&context.aws),
            context.environment.required("SMS_QUEUE_URL")?,
        ),
        clock: context.clock.clone(),
    });
    Ok(sqs::handler(context.clock, CONCURRENCY, move |message| {
        let sender = Arc::clone(&sender);
        async move { sender.process_message(message).await }
    }))
}

impl SmsSender {
    /// Processes a message. If it fails, delays its next delivery.
    async fn process_message(&self, message: Message) -> Result<Disposition, SmsError> {
        let result = self.send_sms_for(&message).await;
        if let Err(error) = &result
            && let Some(delay) = error.redelivery_delay(&message)
        {
            self.delay_redelivery(&message, delay).await;
        }
        result
    }

    async fn send_sms_for(&self, message: &Message) -> Result<Disposition, SmsError> {
        let body = &message.body;
        if let Ok(request) = serde_json::from_str(body) {
            let received = serde_json::from_str(body)?;
            self.send_code(&request, received, message.deadline).await?;
            return Ok(Disposition::Processed);
        }
        let header: EventHeader = serde_json::from_str(body)?;
        match header.detail_type.as_str() {
            OrderCompleted::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderCompleted>::parse(body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                self.send_order_sms(message, &event, order_key, Outcome::Completed)
                    .await
            }
            OrderFailed::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderFailed>::parse(body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                let outcome = Outcome::Failed(event.data.reason);
                self.send_order_sms(message, &event, order_key, outcome).await
            }
            OrderCancelled::DETAIL_TYPE => {
                let event = EventBridgeEvent::<OrderCancelled>::parse(body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                self.send_order_sms(message, &event, order_key, Outcome::Cancelled)
                    .await
            }
            PaymentRefunded::DETAIL_TYPE => {
                let event = EventBridgeEvent::<PaymentRefunded>::parse(body)?.detail;
                let order_key = (event.data.user_id, event.data.order_id);
                self.send_order_sms(message, &event, order_key, Outcome::Refunded)
                    .await
            }
            _ => Err(SmsError::UnsupportedEvent(header.detail_type)),
        }
    }

    /// Sends the SMS about `event`, which is in the body of `message`, unless the customer wants none or has
    /// quiet hours.
    async fn send_order_sms<D: EventData>(
        &self,
        message: &Message,
        event: &Envelope<D>,
        (user_id, order_id): (UserId, OrderId),
        outcome: Outcome,
    ) -> Result<Disposition, SmsError> {
        trace_context::attach(&event.follow_up_context());
        let order = self.orders.find(user_id, order_id).await?;
        let order = order.ok_or(SmsError::OrderNotFound(order_id))?;
        // Most customers want no SMS. Their orders need no idempotency record.
        let Some(contact) = &order.sms_contact else {
            return Ok(Disposition::Processed);
        };
        let Some(text) = order_sms::render(&order, outcome)? else {
            tracing::info!("no SMS was sent: the one about the end of the order reports the refund");
            return Ok(Disposition::Processed);
        };
        let now = self.clock.now();
        let quiet_until = contact.quiet_hours.and_then(|hours| hours.end_after(now));
        if let Some(quiet_until) = quiet_until {
            tracing::info!(%quiet_until, "the SMS waits until the customer's quiet hours end");
            self.delay_redelivery(message, redelivery::deferral(now, quiet_until))
                .await;
            return Ok(Disposition::Deferred);
        }
        let key = event.event_id.to_string();
        let received = received_detail(&message.body)?;
        self.send_once(&key, received, message.deadline, &contact.phone_number, text)
            .await?;
        Ok(Disposition::Processed)
    }

    async fn send_code(
        &self,
        request: &PhoneCodeRequest,
        received: Value,
        deadline: Timestamp,
    ) -> Result<(), SmsError> {
        trace_context::attach(&EventContext {
            correlation_id: request.sms_id,
            causation_id: None,
            traceparent: request.traceparent,
        });
        if request.expires_at <= self.clock.now() {
            tracing::warn!("a code was not sent, because it has expired");
            return Ok(());
        }
        let text = order_sms::render_code(request.language, &request.code);
        let key = request.sms_id.to_string();
        self.send_once(&key, received, deadline, &request.phone_number, text)
            .await
    }

    /// Sends an SMS once per `key`, and logs what became of it.
    async fn send_once(
        &self,
        key: &str,
        received: Value,
        deadline: Timestamp,
        phone_number: &str,
        text: String,
    ) -> Result<(), SmsError> {
        let send = || self.send(phone_number, text);
        match self.sent_sms.run_once(key, received, deadline, send).await? {
            SmsResult::Sent { message_id } => tracing::info!(message_id, "the SMS was sent"),
            SmsResult::Undeliverable { code } => {
                tracing::warn!(code, "the SMS was not sent: SNS accepts none to this number");
            }
        }
        Ok(())
    }

    async fn send(&self, phone_number: &str, text: String) -> Result<SmsResult, SendError> {
        let attribute = |value: &str| {
            let attribute = MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value);
            attribute.build().expect("the type is set")
        };
        let call = self
            .sns
            .publish()
            .phone_number(phone_number)
            .message(text)
            // Networks deliver it with priority over advertisements.
            .message_attributes("AWS.SNS.SMS.SMSType", attribute("Transactional"))
            .message_attributes("AWS.SNS.SMS.SenderID", attribute(&self.sender_id))
            .send();
        let response = self.send_rate.run(timeout(SNS_TIMEOUT, call)).await;
        match response.map_err(|_elapsed| SendError::NoResponse)? {
            Ok(response) => Ok(SmsResult::Sent {
                // SNS returns an id with every accepted SMS; it is only logged.
                message_id: response.message_id.unwrap_or_default(),
            }),
            Err(error) => match (error.code(), refuses_recipient(&error)) {
                (Some(code), true) => Ok(SmsResult::Undeliverable {
                    code: code.to_owned(),
                }),
                (Some(code), false) => Err(SendError::Rejected(code.to_owned())),
                (None, _) => Err(SendError::NoResponse),
            },
        }
    }

    async fn delay_redelivery(&self, message: &Message, delay: Duration) {
        // Only a manual invocation may have none.
        if let Some(receipt_handle) = &message.receipt_handle {
            self.queue.delay_redelivery(receipt_handle, delay).await;
        }
    }
}

/// Whether SNS refuses the recipient, and not another part of the request: a mistake in the configuration
/// must end in the dead-letter queue.
fn refuses_recipient(error: &SdkError<PublishError>) -> bool {
    match error.code() {
        Some("OptedOut") => true,
        Some("InvalidParameter" | "InvalidParameterValue") => {
            let message = error.message().unwrap_or_default().to_lowercase();
            message.contains("phonenumber") || message.contains("phone number")
        }
        _ => false,
    }
}

impl SmsError {
    /// How long the queue waits before the next delivery. `None` when the queue's own visibility timeout is
    /// right: another delivery is in progress and ends before it.
    fn redelivery_delay(&self, message: &Message) -> Option<Duration> {
        match self {
            Self::Orders(_)
            | Self::Idempotency(IdempotencyError::Store(_) | IdempotencyError::Operation(_)) => {
                Some(redelivery::retry_delay(message))
            }
            Self::Idempotency(IdempotencyError::InProgress) => None,
            Self::Event(_)
            | Self::Malformed { .. }
            | Self::UnsupportedEvent(_)
            | Self::OrderNotFound(_)
            | Self::TotalOutOfRange(_)
            | Self::Idempotency(IdempotencyError::PayloadMismatch) => {
                Some(redelivery::PERMANENT_FAILURE_DELAY)
            }
        }
    }
}

impl From<serde_json::Error> for SmsError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed {
            line: error.line(),
            column: error.column(),
        }
    }
}

impl From<EventParseError> for SmsError {
    fn from(error: EventParseError) -> Self {
        match error {
            EventParseError::Malformed { source, .. } => source.into(),
            error => Self::Event(error),
        }
    }
}
