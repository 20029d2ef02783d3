//! Mails, as far as `notification-queue`.

use aws_sdk_sqs::{Client, error::DisplayErrorContext};
use events::{AccountMail, AccountMailRequest};
use users::User;

use crate::api_gateway::Request;
use domain::Clock;

/// Puts mails into the queue. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Mailer {
    client: Client,
    queue_url: String,
    clock: Clock,
}

impl Mailer {
    /// Puts them into the queue at `queue_url`.
    #[must_use]
    pub fn new(client: Client, queue_url: String, clock: Clock) -> Self {
        Self {
            client,
            queue_url,
            clock,
        }
    }

    /// Has a mail sent. One that cannot be is logged: what it tells of has happened, and a link can be asked for
    /// again.
    pub async fn send(&self, user: &User, mail: AccountMail, request: &Request) {
        self.enqueue(&user.email, &user.name, mail, request).await;
    }

    /// Does what [`Self::tell`] does, for nobody.
    pub async fn send_decoy(&self, request: &Request) {
        self.enqueue("", "", AccountMail::Decoy, request).await;
    }

    async fn enqueue(&self, to: &str, name: &str, mail: AccountMail, request: &Request) {
        let mail = AccountMailRequest::new(mail, to, name, request.traceparent, self.clock.now());
        let body = serde_json::to_string(&mail).expect("a mail has string keys");
        let sent = self
            .client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body)
            .send()
            .await;
        if let Err(error) = sent {
            let reason = DisplayErrorContext(error).to_string();
            tracing::error!(reason, ?mail, "a mail is lost");
        }
    }
}
