//! Every mail with sample data, for `cargo xtask mail`.

use domain::{FailureReason, Language, Timestamp};
use events::{AccountMail, AccountMailRequest, LinkToken, TraceParent};
use orders::{Order, Payment};
use serde::Serialize;

use crate::{
    account_mail::{self, StorefrontLinks},
    cancellation_mail::{render_cancelled, render_refunded},
    mail::{Mail, MailError},
    order_mail::{render_completed, render_failed},
    sample_order::{SAMPLE_UNSUBSCRIBE_URL as UNSUBSCRIBE_URL, sample_order},
};

/// A rendered mail.
#[derive(Debug, Serialize)]
pub struct MailPreview {
    /// The name of the mail, and its language if it has only one: `order-completed.ja`.
    pub name: String,
    pub subject: String,
    /// The plain text body.
    pub text: String,
    /// The HTML body.
    pub html: String,
}

/// Renders every mail, order mails in each language.
pub fn render_all() -> Result<Vec<MailPreview>, MailError> {
    let links = StorefrontLinks::new("https://matsuri.example");
    let mut previews = Vec::new();
    for (language, suffix) in [(Language::En, "en"), (Language::Ja, "ja")] {
        for (name, mail) in order_mails(language, &links)? {
            previews.extend(mail.map(|mail| MailPreview::new(format!("{name}.{suffix}"), mail)));
        }
    }
    for mail in account_mails() {
        let name = account_mail_name(&mail);
        let at = Timestamp::UNIX_EPOCH;
        let request = AccountMailRequest::new(mail, "hanako@example.com", "花子", TraceParent::root(at), at);
        let mail = account_mail::render(&request, &links)?;
        previews.extend(mail.map(|mail| MailPreview::new(name.to_owned(), mail)));
    }
    Ok(previews)
}

type NamedMail = (&'static str, Option<Mail>);

fn order_mails(language: Language, links: &StorefrontLinks) -> Result<Vec<NamedMail>, MailError> {
    let paid = Order {
        mail_language: Some(language),
        ..sample_order(&["Paper lantern, red", "本藍染め手ぬぐい <祭>"])
    };
    let unpaid = Order {
        payment: Some(Payment::Claimed),
        ..paid.clone()
    };
    let refunded = Order {
        payment: Some(Payment::Refunded),
        ..paid.clone()
    };
    let refunded_after_end = Order {
        refunded_after_end: true,
        ..refunded.clone()
    };
    let failed = |reason| render_failed(&unpaid, reason, UNSUBSCRIBE_URL);
    Ok(vec![
        ("order-completed", Some(render_completed(&paid, links)?)),
        (
            "order-failed-insufficient-stock",
            failed(FailureReason::InsufficientStock)?,
        ),
        (
            "order-failed-payment-declined",
            failed(FailureReason::PaymentDeclined)?,
        ),
        (
            "order-failed-authentication-timeout",
            failed(FailureReason::AuthenticationTimeout)?,
        ),
        (
            "order-failed-internal-error",
            failed(FailureReason::InternalError)?,
        ),
        (
            "order-failed-and-refunded",
            render_failed(&refunded, FailureReason::InternalError, UNSUBSCRIBE_URL)?,
        ),
        ("order-cancelled", render_cancelled(&unpaid, UNSUBSCRIBE_URL)?),
        (
            "order-cancelled-and-refunded",
            render_cancelled(&refunded, UNSUBSCRIBE_URL)?,
        ),
        (
            "order-refunded-after-end",
            render_refunded(&refunded_after_end, UNSUBSCRIBE_URL)?,
        ),
    ])
}

fn account_mails() -> [AccountMail; 6] {
    let token = || LinkToken("sample-token".to_owned());
    [
        AccountMail::Welcome { token: token() },
        AccountMail::VerifyAddress { token: token() },
        AccountMail::RegistrationRepeated,
        AccountMail::ResetPassword { token: token() },
        AccountMail::PasswordChanged,
        AccountMail::SessionRevoked,
    ]
}

fn account_mail_name(mail: &AccountMail) -> &'static str {
    match mail {
        AccountMail::Welcome { .. } => "account-welcome",
        AccountMail::VerifyAddress { .. } => "account-verify-address",
        AccountMail::RegistrationRepeated => "account-registration-repeated",
        AccountMail::ResetPassword { .. } => "account-reset-password",
        AccountMail::PasswordChanged => "account-password-changed",
        AccountMail::SessionRevoked => "account-session-revoked",
        AccountMail::Decoy => "account-decoy",
    }
}

impl MailPreview {
    fn new(name: String, mail: Mail) -> Self {
        Self {
            name,
            subject: mail.subject,
            text: mail.text,
            html: mail.html,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_mail_is_rendered_once() {
        let previews = render_all().unwrap();
        let names: BTreeSet<&str> = previews.iter().map(|preview| preview.name.as_str()).collect();
        assert_eq!((previews.len(), names.len()), (2 * 9 + 6, 2 * 9 + 6), "{names:?}");
        let japanese = previews.iter().filter(|preview| preview.name.ends_with(".ja"));
        for preview in japanese {
            assert!(preview.html.contains("lang=\"ja\""), "{}", preview.name);
            assert!(!preview.html.contains("lang=\"en\""), "{}", preview.name);
        }
    }
}
