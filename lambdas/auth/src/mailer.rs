//! Sends account mails: it puts requests into `notification-queue`, from which the function
//! `notification-sender` takes them.

use aws_sdk_sqs::{Client, error::DisplayErrorContext};
use domain::Clock;
use events::{AccountMail, AccountMailRequest};
use users::User;

use crate::http::RequestContext;

#[derive(Clone, Debug)]
pub struct Mailer {
    client: Client,
    queue_url: String,
    clock: Clock,
}

impl Mailer {
    #[must_use]
    pub fn new(client: Client, queue_url: String, clock: Clock) -> Self {
        Self {
            client,
            queue_url,
            clock,
        }
    }

    /// Requests a mail. A failure is logged only: the action that the mail describes has succeeded already,
    /// and a user can request a link again.
    pub async fn send(&self, user: &User, mail: AccountMail, context: &RequestContext) {
        self.enqueue(&user.email, &user.name, mail, context).await;
    }

    /// Takes as long as [`Self::send`] but causes no mail. Functions call it for e-mail addresses without an
    /// account.
    pub async fn send_decoy(&self, context: &RequestContext) {
        self.enqueue("", "", AccountMail::Decoy, context).await;
    }

    async fn enqueue(&self, to: &str, name: &str, mail: AccountMail, context: &RequestContext) {
        let mail = AccountMailRequest::new(mail, to, name, context.traceparent, self.clock.now());
        let body = serde_json::to_string(&mail).expect("all map keys of a mail request are strings");
        let sent = self
            .client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body)
            .send()
            .await;
        if let Err(error) = sent {
            let reason = DisplayErrorContext(error).to_string();
            tracing::error!(reason, ?mail, "an account mail could not be enqueued and is lost");
        }
    }
}
