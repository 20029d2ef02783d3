//! Requests for account mails, in the form in which the auth functions send them to `notification-queue`.
//!
//! These requests are not events. They contain e-mail addresses and link tokens, so they go directly to the
//! encrypted queue and never to the event bus, whose archive keeps events for a month.

use std::fmt;

use domain::{Timestamp, ids::uuid_v7};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::TraceParent;

/// A request to send one account mail.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountMailRequest {
    /// The notification sender deduplicates by this id.
    pub mail_id: Uuid,
    pub traceparent: TraceParent,
    /// The recipient's e-mail address.
    pub to: String,
    /// The recipient's name.
    pub name: String,
    #[serde(flatten)]
    pub mail: AccountMail,
}

/// The account mails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mail", rename_all = "snake_case")]
pub enum AccountMail {
    /// Sent after registration; its link verifies the e-mail address.
    Welcome {
        token: LinkToken,
    },
    /// Sent on request; its link verifies the e-mail address.
    VerifyAddress {
        token: LinkToken,
    },
    /// Sent to the owner of an address when a registration uses it again.
    RegistrationRepeated,
    /// Sent on request; its link lets the recipient choose a new password.
    ResetPassword {
        token: LinkToken,
    },
    PasswordChanged,
    /// Sent when the reuse of a refresh token ends a session: the token may have been stolen.
    SessionRevoked,
    /// Sends no mail. Requests for unknown addresses enqueue it, so that they take as long as requests for
    /// registered addresses. The wire name is older than the variant's name.
    #[serde(rename = "nothing")]
    Decoy,
}

/// The secret of a link in a mail. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkToken(pub String);

impl AccountMailRequest {
    /// Creates a request with a new id at the time `at`.
    #[must_use]
    pub fn new(mail: AccountMail, to: &str, name: &str, traceparent: TraceParent, at: Timestamp) -> Self {
        Self {
            mail_id: uuid_v7(at),
            traceparent,
            to: to.to_owned(),
            name: name.to_owned(),
            mail,
        }
    }
}

impl fmt::Debug for AccountMailRequest {
    /// Omits the recipient and the link token, so that a request may be logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailRequest")
            .field("mail_id", &self.mail_id)
            .field("mail", &self.mail)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LinkToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkToken")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(mail: AccountMail) -> AccountMailRequest {
        let at = Timestamp::UNIX_EPOCH;
        AccountMailRequest::new(mail, "hanako@example.com", "Hanako", TraceParent::root(at), at)
    }

    #[test]
    fn serialises_to_one_flat_object() {
        let sent = request(AccountMail::Welcome {
            token: LinkToken("secret".to_owned()),
        });
        let wire = serde_json::to_value(&sent).unwrap();
        assert_eq!(
            wire,
            json!({
                "mail_id": sent.mail_id,
                "traceparent": sent.traceparent,
                "to": "hanako@example.com",
                "name": "Hanako",
                "mail": "welcome",
                "token": "secret",
            })
        );
        assert_eq!(serde_json::from_value::<AccountMailRequest>(wire).unwrap(), sent);

        let plain = serde_json::to_value(request(AccountMail::PasswordChanged)).unwrap();
        assert_eq!(plain["mail"], "password_changed");
        assert!(plain.get("token").is_none());

        let decoy = serde_json::to_value(request(AccountMail::Decoy)).unwrap();
        assert_eq!(decoy["mail"], "nothing");
    }

    #[test]
    fn debug_omits_recipient_and_link_token() {
        let printed = format!(
            "{:?}",
            request(AccountMail::ResetPassword {
                token: LinkToken("secret".to_owned())
            })
        );
        assert!(
            !printed.contains("hanako") && !printed.contains("secret"),
            "{printed}"
        );
    }
}
