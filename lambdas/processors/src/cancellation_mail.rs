//! Mails to customers about cancelled orders, and about refunds that followed the end of an order.
//!
//! A refund before the end of an order is part of the mail about that end, so that a customer gets one mail
//! that reports both. Only a refund after the end, of a payment that was charged too late, has a mail of its
//! own: the first mail may have said that the customer was not charged.

use orders::Order;

use crate::{
    mail::{Mail, MailError},
    order_mail::{OrderMailLink, Section, payment_notes, render},
};

/// The notification of an order that its customer has cancelled. It says whether the customer was charged and
/// refunded. `None` when the customer has opted out of order mails.
pub fn render_cancelled(order: &Order, unsubscribe_url: &str) -> Result<Option<Mail>, MailError> {
    if order.order_mails == Some(false) {
        return Ok(None);
    }
    let (english_payment_note, japanese_payment_note) = payment_notes(order);
    let english = Section {
        language: "en",
        subject: "Your Matsuri order is cancelled",
        greeting: "Your order is cancelled.",
        message: "You have cancelled your order, and we will not ship it.",
        payment_note: english_payment_note,
    };
    let japanese = Section {
        language: "ja",
        subject: "ご注文をキャンセルしました",
        greeting: "ご注文をキャンセルいたしました。",
        message: "お客様のお申し出により、ご注文をキャンセルいたしました。商品は発送されません。",
        payment_note: japanese_payment_note,
    };
    render(
        order,
        english,
        japanese,
        OrderMailLink::Unsubscribe(unsubscribe_url),
    )
    .map(Some)
}

/// The notification of a refund. `None` when the mail about the end of the order reports the refund, and when
/// the customer has opted out of order mails.
pub fn render_refunded(order: &Order, unsubscribe_url: &str) -> Result<Option<Mail>, MailError> {
    if order.order_mails == Some(false) || !order.refunded_after_end {
        return Ok(None);
    }
    let (english_payment_note, japanese_payment_note) = payment_notes(order);
    let english = Section {
        language: "en",
        subject: "We have refunded your Matsuri order",
        greeting: "We are sorry.",
        message: "Your payment was charged only after your order had ended without success.",
        payment_note: english_payment_note,
    };
    let japanese = Section {
        language: "ja",
        subject: "ご返金のお知らせ",
        greeting: "ご迷惑をおかけし、誠に申し訳ございません。",
        message: "ご注文が不成立となった後に、お支払いが処理されました。",
        payment_note: japanese_payment_note,
    };
    render(
        order,
        english,
        japanese,
        OrderMailLink::Unsubscribe(unsubscribe_url),
    )
    .map(Some)
}

#[cfg(test)]
mod tests {
    use domain::Language;
    use orders::Payment;

    use super::*;
    use crate::sample_order::{SAMPLE_UNSUBSCRIBE_URL, sample_order as order};

    #[test]
    fn mail_about_a_cancelled_order_says_that_it_was_not_charged() {
        let mut order = order(&["Paper lantern"]);
        (order.payment, order.mail_language) = (Some(Payment::Claimed), Some(Language::En));
        let mail = render_cancelled(&order, SAMPLE_UNSUBSCRIBE_URL).unwrap().unwrap();
        assert_eq!(mail.subject, "Your Matsuri order is cancelled");
        insta::assert_snapshot!(mail.text, @r"
        Your order is cancelled.

        You have cancelled your order, and we will not ship it.
        You have not been charged.

        ----------------------------------------
        Order: 019a0000-0000-7000-8000-000000000001

        Paper lantern × 2   ¥15,000

        Total: ¥15,000
        ----------------------------------------

        Matsuri

        Stop mails about orders (except receipts):
        https://api.matsuri.example/v1/unsubscribe?token=sample-token
        ");

        order.mail_language = Some(Language::Ja);
        let mail = render_cancelled(&order, SAMPLE_UNSUBSCRIBE_URL).unwrap().unwrap();
        assert_eq!(mail.subject, "ご注文をキャンセルしました");
        assert!(
            mail.html.contains("代金は請求されておりません。"),
            "{}",
            mail.html
        );
        assert!(!mail.text.contains("cancelled"), "{}", mail.text);
    }

    #[test]
    fn mail_about_a_charged_and_cancelled_order_reports_the_refund() {
        let mut order = order(&["Paper lantern"]);
        (order.payment, order.mail_language) = (Some(Payment::Refunded), None);
        let mail = render_cancelled(&order, SAMPLE_UNSUBSCRIBE_URL).unwrap().unwrap();
        assert_eq!(
            mail.subject,
            "Your Matsuri order is cancelled / ご注文をキャンセルしました"
        );
        insta::assert_snapshot!(mail.text, @r"
        Your order is cancelled.

        You have cancelled your order, and we will not ship it.
        We have refunded your payment in full. Your bank may take a few days to show the refund.

        ご注文をキャンセルいたしました。

        お客様のお申し出により、ご注文をキャンセルいたしました。商品は発送されません。
        お支払いいただいた代金は全額返金いたしました。口座への反映には数日かかることがあります。

        ----------------------------------------
        Order / ご注文番号: 019a0000-0000-7000-8000-000000000001

        Paper lantern × 2   ¥15,000

        Total / 合計: ¥15,000
        ----------------------------------------

        Matsuri

        Stop mails about orders (except receipts) / ご注文に関するメールの配信停止（ご注文確定のメールを除く）:
        https://api.matsuri.example/v1/unsubscribe?token=sample-token
        ");
        assert!(!mail.html.contains("You have not been charged"), "{}", mail.html);
    }

    #[test]
    fn only_a_refund_after_the_end_of_the_order_has_a_mail_of_its_own() {
        let mut order = order(&["Paper lantern"]);
        (order.payment, order.mail_language) = (Some(Payment::Refunded), Some(Language::En));
        assert!(render_refunded(&order, SAMPLE_UNSUBSCRIBE_URL).unwrap().is_none());
        order.refunded_after_end = true;
        let mail = render_refunded(&order, SAMPLE_UNSUBSCRIBE_URL).unwrap().unwrap();
        assert_eq!(mail.subject, "We have refunded your Matsuri order");
        insta::assert_snapshot!(mail.text, @r"
        We are sorry.

        Your payment was charged only after your order had ended without success.
        We have refunded your payment in full. Your bank may take a few days to show the refund.

        ----------------------------------------
        Order: 019a0000-0000-7000-8000-000000000001

        Paper lantern × 2   ¥15,000

        Total: ¥15,000
        ----------------------------------------

        Matsuri

        Stop mails about orders (except receipts):
        https://api.matsuri.example/v1/unsubscribe?token=sample-token
        ");
    }

    #[test]
    fn opted_out_customer_gets_neither_mail() {
        let mut order = order(&["Paper lantern"]);
        (order.payment, order.refunded_after_end) = (Some(Payment::Refunded), true);
        order.order_mails = Some(false);
        assert!(
            render_cancelled(&order, SAMPLE_UNSUBSCRIBE_URL)
                .unwrap()
                .is_none()
        );
        assert!(render_refunded(&order, SAMPLE_UNSUBSCRIBE_URL).unwrap().is_none());
    }

    #[test]
    fn product_name_is_escaped() {
        let mut order = order(&["<img src=x onerror=alert(1)>\r\nBcc: evil@example.com"]);
        (order.payment, order.refunded_after_end) = (Some(Payment::Refunded), true);
        for mail in [
            render_cancelled(&order, SAMPLE_UNSUBSCRIBE_URL),
            render_refunded(&order, SAMPLE_UNSUBSCRIBE_URL),
        ] {
            let mail = mail.unwrap().unwrap();
            assert!(!mail.html.contains("<img"), "{}", mail.html);
            assert!(mail.html.contains("&#60;img src=x"), "{}", mail.html);
            assert_eq!(mail.text.lines().filter(|line| line.contains("Bcc")).count(), 1);
        }
    }
}
