//! Mails that people are sent about their accounts: what is put into `notification-queue` for them.
//!
//! These are no events. They carry addresses and the secrets of links, so they go straight into the encrypted
//! queue and never over the bus, which keeps what it has seen for a month.

use std::fmt;

use domain::{Timestamp, ids::uuid_v7};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::TraceParent;

/// A mail that is to be sent, once for each id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountMailRequest {
    /// By which a second delivery is recognised.
    pub mail_id: Uuid,
    /// The request that led to it.
    pub traceparent: TraceParent,
    /// Whom to.
    pub to: String,
    /// How they want to be called.
    pub name: String,
    /// What to tell them.
    #[serde(flatten)]
    pub mail: AccountMail,
}

/// What people are told about their accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mail", rename_all = "snake_case")]
pub enum AccountMail {
    /// They have registered, and are asked to follow a link so that their address is known to be theirs.
    Welcome {
        /// What the link proves.
        token: LinkToken,
    },
    /// They have asked for such a link once more.
    VerifyAddress {
        /// What the link proves.
        token: LinkToken,
    },
    /// Somebody tried to register with the address that they have registered with before.
    RegistrationRepeated,
    /// Somebody asked for a new password; the link lets its reader choose one.
    ResetPassword {
        /// What the link proves.
        token: LinkToken,
    },
    /// The password is another one now.
    PasswordChanged,
    /// A refresh token was used a second time: the session was ended, because two had it.
    SessionRevoked,
    /// No mail at all. It goes the same way as the others, so that asking about an address that nobody has takes
    /// as long as asking about one that somebody has.
    Decoy,
}

/// The secret of a link in a mail. It is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkToken(pub String);

impl AccountMailRequest {
    /// A new request, made at `at`.
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
    /// Neither whom to, nor the link's secret: it may stand in a log.
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
    fn on_the_wire_it_is_one_flat_object() {
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
    }

    #[test]
    fn debug_shows_neither_the_address_nor_the_secret() {
        let shown = format!(
            "{:?}",
            request(AccountMail::ResetPassword {
                token: LinkToken("secret".to_owned())
            })
        );
        assert!(!shown.contains("hanako") && !shown.contains("secret"), "{shown}");
    }
}
