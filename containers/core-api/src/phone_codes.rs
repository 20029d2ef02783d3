//! Codes that verify telephone numbers. core-api creates them and requests the SMS from the function
//! sms-sender through its queue: it cannot reach SNS, and SNS may be away.

use aws_sdk_sqs::{Client, error::DisplayErrorContext};
use domain::{Clock, Language, Timestamp, UserId};
use events::{PhoneCodeRequest, TraceParent};
use secrecy::ExposeSecret;
use users::{NewAuditEntry, PhoneCode, PhoneCodeError, Users};

use crate::accounts::MobileNumber;

/// Creates codes and requests their SMS. Clones share the clients.
#[derive(Clone, Debug)]
pub struct PhoneCodes {
    users: Users,
    sqs: Client,
    queue_name: String,
    max_codes_per_hour: u32,
    clock: Clock,
}

/// No code was sent.
#[derive(Debug, thiserror::Error)]
pub enum SendPhoneCodeError {
    #[error(transparent)]
    Code(#[from] PhoneCodeError),
    /// Contains the whole source chain. The code is never sent, but counts.
    #[error("the queue of SMS failed: {0}")]
    Queue(String),
}

impl PhoneCodes {
    /// `queue_name` is the queue of sms-sender. All accounts together get at most `max_codes_per_hour` codes.
    #[must_use]
    pub fn new(users: Users, sqs: Client, queue_name: String, max_codes_per_hour: u32, clock: Clock) -> Self {
        Self {
            users,
            sqs,
            queue_name,
            max_codes_per_hour,
            clock,
        }
    }

    /// Sends a code to the number. Returns when it expires.
    pub async fn send(
        &self,
        user_id: UserId,
        number: &MobileNumber,
        language: Language,
        traceparent: TraceParent,
        entry: &NewAuditEntry,
    ) -> Result<Timestamp, SendPhoneCodeError> {
        let PhoneCode { code, expires_at } = self
            .users
            .create_phone_code(user_id, number.as_str(), self.max_codes_per_hour, entry)
            .await?;
        let (code, now) = (code.expose_secret(), self.clock.now());
        let request = PhoneCodeRequest::new(number.as_str(), language, code, expires_at, traceparent, now);
        let body = serde_json::to_string(&request).expect("a request has no maps");
        let found = self.sqs.get_queue_url().queue_name(&self.queue_name).send().await;
        let url = found.map_err(queue_error)?.queue_url;
        let message = self.sqs.send_message().set_queue_url(url).message_body(body);
        message.send().await.map_err(queue_error)?;
        Ok(expires_at)
    }
}

/// SDK errors carry their details only in the source chain.
fn queue_error(error: impl std::error::Error) -> SendPhoneCodeError {
    SendPhoneCodeError::Queue(DisplayErrorContext(error).to_string())
}
