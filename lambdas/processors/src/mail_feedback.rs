//! `mail-feedback`: suppresses the addresses of mails that bounced permanently or that their recipients have
//! complained about.
//!
//! SES reports both through the topic and the queue `mail-feedback`. A bounce that may pass, such as a full
//! mailbox, has no effect. Idempotency: an entry that exists stays as it is. The log contains no address.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use dynamodb_table::DynamoDbError;
use lambda_shared::{FunctionContext, Handler, InitError, sqs, sqs::Message};
use mail_suppressions::{MailSuppressions, SuppressionReason};
use serde::Deserialize;

/// The number of messages that one invocation processes concurrently: the whole batch.
const CONCURRENCY: usize = 10;

/// An event of SES, see
/// <https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html>.
#[derive(Deserialize)]
#[serde(tag = "eventType")]
enum MailEvent {
    Bounce {
        bounce: Bounce,
    },
    Complaint {
        complaint: Complaint,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bounce {
    /// `Permanent`, `Transient` or `Undetermined`.
    bounce_type: String,
    bounced_recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    complained_recipients: Vec<Recipient>,
    /// `abuse`, `not-spam` and others; absent if the recipient's provider does not say.
    complaint_feedback_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    email_address: String,
}

/// Why a message failed.
#[derive(Debug, thiserror::Error)]
enum FeedbackError {
    /// The parser's message is dropped, because it could quote an address.
    #[error("the message is not an event of SES: line {line}, column {column}")]
    Malformed { line: usize, column: usize },
    #[error(transparent)]
    Store(#[from] DynamoDbError),
}

/// Initialises the function. `MAIL_SUPPRESSIONS_TABLE` is the table of suppressed addresses.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let suppressions = Arc::new(MailSuppressions::new(
        DynamoDb::new(&context.aws),
        context.environment.required("MAIL_SUPPRESSIONS_TABLE")?,
        context.clock.clone(),
    ));
    Ok(sqs::handler(
        context.clock,
        CONCURRENCY,
        move |message: Message| {
            let suppressions = Arc::clone(&suppressions);
            async move { process(&suppressions, &message.body).await }
        },
    ))
}

async fn process(suppressions: &MailSuppressions, body: &str) -> Result<(), FeedbackError> {
    let event: MailEvent = serde_json::from_str(body)?;
    let Some((reason, recipients)) = event.suppressed_recipients() else {
        tracing::info!("a report about a mail needs no action");
        return Ok(());
    };
    for recipient in recipients {
        suppressions.add(&recipient.email_address, reason).await?;
        tracing::warn!(?reason, "an address is suppressed");
    }
    Ok(())
}

impl MailEvent {
    /// Whose addresses are suppressed, and why. `None` if the event has no effect.
    fn suppressed_recipients(self) -> Option<(SuppressionReason, Vec<Recipient>)> {
        match self {
            Self::Bounce { bounce } if bounce.bounce_type == "Permanent" => {
                Some((SuppressionReason::Bounce, bounce.bounced_recipients))
            }
            // The recipient has moved the mail out of the spam folder.
            Self::Complaint { complaint }
                if complaint.complaint_feedback_type.as_deref() == Some("not-spam") =>
            {
                None
            }
            Self::Complaint { complaint } => {
                Some((SuppressionReason::Complaint, complaint.complained_recipients))
            }
            Self::Bounce { .. } | Self::Other => None,
        }
    }
}

impl From<serde_json::Error> for FeedbackError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed {
            line: error.line(),
            column: error.column(),
        }
    }
}
