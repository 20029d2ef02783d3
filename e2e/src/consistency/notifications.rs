//! Recognises the outcome that a mail or an SMS in English reports.

use super::NotificationKind;

impl NotificationKind {
    pub(super) fn of_mail(subject: &str, text: &str) -> Self {
        let is_refunded = !text.contains("You have not been charged");
        Self::of_phrase(subject, "We have refunded", is_refunded)
    }

    pub(super) fn of_sms(text: &str) -> Self {
        Self::of_phrase(text, "your payment for order", text.contains("was refunded"))
    }

    /// `late_refund` is what only the notification of a refund after the end contains.
    fn of_phrase(phrase: &str, late_refund: &str, is_refunded: bool) -> Self {
        if phrase.contains("is complete") {
            return Self::Completed;
        }
        if phrase.contains(late_refund) {
            return Self::RefundedAfterEnd;
        }
        match (phrase.contains("is cancelled"), is_refunded) {
            (true, true) => Self::CancelledAndRefunded,
            (true, false) => Self::Cancelled,
            (false, true) => Self::FailedAndRefunded,
            (false, false) => Self::Failed,
        }
    }
}
