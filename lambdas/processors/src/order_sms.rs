//! Texts of SMS: about the end of an order or a refund after it, and the code that verifies a number.
//!
//! A text is one segment: 160 characters of the GSM alphabet in English, 70 of UCS-2 in Japanese. It contains
//! no personal data, because others see it on a locked screen: the order's short number and its total only.
//! The same outcomes have an SMS as have a mail, see `cancellation_mail`.

use domain::{FailureReason, Language, OrderId, money::MoneyError};
use orders::{Order, Payment};

/// What an SMS reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Failed(FailureReason),
    Cancelled,
    Refunded,
}

/// The text about an outcome. `None` when the SMS about the end of the order reports the refund.
pub fn render(order: &Order, outcome: Outcome) -> Result<Option<String>, MoneyError> {
    let (number, total) = (short_number(order.order_id), order.total()?.to_display());
    let is_refunded = order.payment == Some(Payment::Refunded);
    let text = match (order.mail_language.unwrap_or_default(), outcome) {
        (_, Outcome::Refunded) if !order.refunded_after_end => return Ok(None),
        (Language::En, Outcome::Completed) => {
            format!("Matsuri: your order {number} ({total}) is complete. Thank you!")
        }
        (Language::En, Outcome::Failed(reason)) => {
            let reason = match reason {
                FailureReason::InsufficientStock => "an item sold out",
                FailureReason::PaymentDeclined => "the payment was declined",
                FailureReason::AuthenticationTimeout => "the payment was not confirmed in time",
                FailureReason::InternalError => "a technical problem",
            };
            let note = english_payment_note(is_refunded);
            format!("Matsuri: your order {number} ({total}) could not be completed: {reason}. {note}")
        }
        (Language::En, Outcome::Cancelled) => {
            let note = english_payment_note(is_refunded);
            format!("Matsuri: your order {number} ({total}) is cancelled. {note}")
        }
        (Language::En, Outcome::Refunded) => {
            format!("Matsuri: your payment for order {number} ({total}) was refunded in full.")
        }
        (Language::Ja, Outcome::Completed) => {
            format!("【Matsuri】ご注文{number}（{total}）が確定しました。")
        }
        (Language::Ja, Outcome::Failed(_)) => {
            let note = japanese_payment_note(is_refunded);
            format!("【Matsuri】ご注文{number}（{total}）は承れませんでした。{note}")
        }
        (Language::Ja, Outcome::Cancelled) => {
            let note = japanese_payment_note(is_refunded);
            format!("【Matsuri】ご注文{number}（{total}）をキャンセルしました。{note}")
        }
        (Language::Ja, Outcome::Refunded) => {
            format!("【Matsuri】ご注文{number}の代金（{total}）を全額返金しました。")
        }
    };
    Ok(Some(text))
}

/// The text with a code. Telephones offer to fill it in.
pub fn render_code(language: Language, code: &str) -> String {
    match language {
        Language::En => {
            format!("Matsuri: your code is {code}. It is valid for 10 minutes. Do not share it.")
        }
        Language::Ja => format!("【Matsuri】認証コード：{code}（10分間有効）。他人に教えないでください。"),
    }
}

fn english_payment_note(is_refunded: bool) -> &'static str {
    if is_refunded {
        "Your payment was refunded."
    } else {
        "You have not been charged."
    }
}

fn japanese_payment_note(is_refunded: bool) -> &'static str {
    if is_refunded {
        "代金は全額返金しました。"
    } else {
        "代金は請求されません。"
    }
}

/// The last eight digits of the order's id. The first ones are the time, and equal for orders of a day.
fn short_number(order_id: OrderId) -> String {
    let digits = order_id.0.simple().to_string();
    digits[digits.len() - 8..].to_uppercase()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use domain::{Currency, Money};

    use super::*;
    use crate::sample_order::sample_order;

    const OUTCOMES: [Outcome; 7] = [
        Outcome::Completed,
        Outcome::Failed(FailureReason::InsufficientStock),
        Outcome::Failed(FailureReason::PaymentDeclined),
        Outcome::Failed(FailureReason::AuthenticationTimeout),
        Outcome::Failed(FailureReason::InternalError),
        Outcome::Cancelled,
        Outcome::Refunded,
    ];

    fn order(language: Language, payment: Payment) -> Order {
        let mut order = sample_order(&["Paper lantern"]);
        (order.mail_language, order.payment) = (Some(language), Some(payment));
        order.refunded_after_end = payment == Payment::Refunded;
        order
    }

    #[test]
    fn texts_of_every_outcome_in_every_language() {
        let mut texts = String::new();
        for language in [Language::En, Language::Ja] {
            for payment in [Payment::Claimed, Payment::Refunded] {
                for outcome in OUTCOMES {
                    if let Some(text) = render(&order(language, payment), outcome).unwrap() {
                        writeln!(texts, "{text}").unwrap();
                    }
                }
            }
            writeln!(texts, "{}", render_code(language, "271828")).unwrap();
        }
        insta::assert_snapshot!(texts, @"
        Matsuri: your order 00000001 (¥15,000) is complete. Thank you!
        Matsuri: your order 00000001 (¥15,000) could not be completed: an item sold out. You have not been charged.
        Matsuri: your order 00000001 (¥15,000) could not be completed: the payment was declined. You have not been charged.
        Matsuri: your order 00000001 (¥15,000) could not be completed: the payment was not confirmed in time. You have not been charged.
        Matsuri: your order 00000001 (¥15,000) could not be completed: a technical problem. You have not been charged.
        Matsuri: your order 00000001 (¥15,000) is cancelled. You have not been charged.
        Matsuri: your order 00000001 (¥15,000) is complete. Thank you!
        Matsuri: your order 00000001 (¥15,000) could not be completed: an item sold out. Your payment was refunded.
        Matsuri: your order 00000001 (¥15,000) could not be completed: the payment was declined. Your payment was refunded.
        Matsuri: your order 00000001 (¥15,000) could not be completed: the payment was not confirmed in time. Your payment was refunded.
        Matsuri: your order 00000001 (¥15,000) could not be completed: a technical problem. Your payment was refunded.
        Matsuri: your order 00000001 (¥15,000) is cancelled. Your payment was refunded.
        Matsuri: your payment for order 00000001 (¥15,000) was refunded in full.
        Matsuri: your code is 271828. It is valid for 10 minutes. Do not share it.
        【Matsuri】ご注文00000001（¥15,000）が確定しました。
        【Matsuri】ご注文00000001（¥15,000）は承れませんでした。代金は請求されません。
        【Matsuri】ご注文00000001（¥15,000）は承れませんでした。代金は請求されません。
        【Matsuri】ご注文00000001（¥15,000）は承れませんでした。代金は請求されません。
        【Matsuri】ご注文00000001（¥15,000）は承れませんでした。代金は請求されません。
        【Matsuri】ご注文00000001（¥15,000）をキャンセルしました。代金は請求されません。
        【Matsuri】ご注文00000001（¥15,000）が確定しました。
        【Matsuri】ご注文00000001（¥15,000）は承れませんでした。代金は全額返金しました。
        【Matsuri】ご注文00000001（¥15,000）は承れませんでした。代金は全額返金しました。
        【Matsuri】ご注文00000001（¥15,000）は承れませんでした。代金は全額返金しました。
        【Matsuri】ご注文00000001（¥15,000）は承れませんでした。代金は全額返金しました。
        【Matsuri】ご注文00000001（¥15,000）をキャンセルしました。代金は全額返金しました。
        【Matsuri】ご注文00000001の代金（¥15,000）を全額返金しました。
        【Matsuri】認証コード：271828（10分間有効）。他人に教えないでください。
        ");
    }

    /// The characters of GSM 03.38 that take one place, as far as the texts use them.
    fn is_gsm(c: char) -> bool {
        c.is_ascii_alphanumeric() || " .,:!()¥".contains(c)
    }

    #[test]
    fn every_text_is_one_segment() {
        for language in [Language::En, Language::Ja] {
            for payment in [Payment::Claimed, Payment::Refunded] {
                let mut order = order(language, payment);
                order.total_amount = Money::MAX_CHARGE;
                let texts = OUTCOMES.map(|outcome| render(&order, outcome).unwrap());
                let code = Some(render_code(language, "271828"));
                for text in texts.into_iter().chain([code]).flatten() {
                    let units = text.encode_utf16().count();
                    match language {
                        Language::En => {
                            assert!(units <= 160 && text.chars().all(is_gsm), "{units}: {text}");
                        }
                        Language::Ja => assert!(units <= 70, "{units}: {text}"),
                    }
                }
            }
        }
        assert_eq!(
            Currency::JPY.to_string(),
            "JPY",
            "other currencies have other signs"
        );
    }

    #[test]
    fn refund_before_the_end_has_no_sms_of_its_own() {
        let mut order = order(Language::En, Payment::Refunded);
        order.refunded_after_end = false;
        assert_eq!(render(&order, Outcome::Refunded).unwrap(), None);
        let cancelled = render(&order, Outcome::Cancelled).unwrap().unwrap();
        assert!(cancelled.ends_with("Your payment was refunded."), "{cancelled}");
    }

    #[test]
    fn text_contains_no_personal_data() {
        let order = order(Language::En, Payment::Captured);
        let text = render(&order, Outcome::Completed).unwrap().unwrap();
        for secret in ["hanako", "lantern", "visa", &order.order_id.to_string()] {
            assert!(!text.to_lowercase().contains(secret), "{text}");
        }
    }
}
