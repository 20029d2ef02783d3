//! Mails to customers about the end of their orders, in English and Japanese.
//!
//! Product names are untrusted input. They appear only in the bodies, each on one line, and are escaped in
//! HTML. Subjects are fixed texts.

use askama::Template;
use domain::{FailureReason, Language, text::breaks_line};
use orders::{Order, OrderItem, Payment};

use crate::{
    account_mail::StorefrontLinks,
    mail::{Mail, MailError, validate_address},
};

#[derive(Template)]
#[template(path = "order.txt")]
struct TextBody<'a>(&'a MailContent);

#[derive(Template)]
#[template(path = "order.html")]
struct HtmlBody<'a>(&'a MailContent);

/// The template variables of both bodies.
struct MailContent {
    sections: Vec<Section>,
    order_label: &'static str,
    order_id: String,
    lines: Vec<LineItem>,
    total_label: &'static str,
    total: String,
    receipt: Option<Link>,
    unsubscribe: Option<Link>,
}

struct Link {
    label: &'static str,
    url: String,
}

/// The link in a mail.
pub enum OrderMailLink<'a> {
    /// The page of a completed order, where its customer gets the receipt. A direct link to the receipt would
    /// expire.
    OrderPage(String),
    /// The link with which the customer unsubscribes from this mail and others.
    Unsubscribe(&'a str),
}

/// The text of a mail in one language.
pub struct Section {
    /// The value of the HTML attribute `lang`.
    pub language: &'static str,
    pub subject: &'static str,
    pub greeting: &'static str,
    /// What happened to the order.
    pub message: &'static str,
    /// Whether the customer was charged or refunded.
    pub payment_note: &'static str,
}

struct LineItem {
    name: String,
    quantity: u32,
    price: String,
}

/// The confirmation of a completed, that is paid, order, with a link to its receipt. It ignores the
/// customer's preference `order_mails`, because the receipt is required by law.
pub fn render_completed(order: &Order, links: &StorefrontLinks) -> Result<Mail, MailError> {
    let english = Section {
        language: "en",
        subject: "Your Matsuri order is complete",
        greeting: "Thank you for your order!",
        message: "Your order is complete, and your items are secured.",
        payment_note: "We have received your payment.",
    };
    let japanese = Section {
        language: "ja",
        subject: "ご注文が確定しました",
        greeting: "ご注文ありがとうございます。",
        message: "ご注文が確定し、商品を確保いたしました。",
        payment_note: "お支払いも確認いたしました。",
    };
    let link = OrderMailLink::OrderPage(links.order_url(order.order_id));
    render(order, english, japanese, link)
}

/// The notification of a failed order. `None` when the customer has opted out of order mails.
pub fn render_failed(
    order: &Order,
    reason: FailureReason,
    unsubscribe_url: &str,
) -> Result<Option<Mail>, MailError> {
    if order.order_mails == Some(false) {
        return Ok(None);
    }
    let (english_message, japanese_message) = match reason {
        FailureReason::InsufficientStock => (
            "An item of your order sold out before we could reserve it, so we could not complete your order.",
            "ご注文の順番が来る前に売り切れた商品があったため、ご注文を承ることができませんでした。",
        ),
        FailureReason::PaymentDeclined => (
            "Your payment was declined, so we could not complete your order. Please order again with another \
             payment method.",
            "お支払いが承認されなかったため、ご注文を承ることができませんでした。\
             別のお支払い方法で、あらためてご注文いただけます。",
        ),
        FailureReason::AuthenticationTimeout => (
            "Your bank asked you to confirm the payment, and we received no confirmation in time, so we could \
             not complete your order. Please order again.",
            "カード会社の本人認証がお時間内に完了しなかったため、ご注文を承ることができませんでした。\
             お手数ですが、あらためてご注文ください。",
        ),
        FailureReason::InternalError => (
            "We could not complete your order because of a technical problem. Please order again.",
            "当店側の不具合により、ご注文を承ることができませんでした。お手数ですが、あらためてご注文ください。",
        ),
    };
    let (english_payment_note, japanese_payment_note) = payment_notes(order);
    let english = Section {
        language: "en",
        subject: "About your Matsuri order",
        greeting: "We are sorry.",
        message: english_message,
        payment_note: english_payment_note,
    };
    let japanese = Section {
        language: "ja",
        subject: "ご注文についてのお知らせ",
        greeting: "誠に申し訳ございません。",
        message: japanese_message,
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

/// The payment notes in English and Japanese of an order that was not completed. The order's present state
/// counts, so a mail that is sent late does not deny a charge that was refunded meanwhile.
pub fn payment_notes(order: &Order) -> (&'static str, &'static str) {
    if order.payment == Some(Payment::Refunded) {
        (
            "We have refunded your payment in full. Your bank may take a few days to show the refund.",
            "お支払いいただいた代金は全額返金いたしました。口座への反映には数日かかることがあります。",
        )
    } else {
        ("You have not been charged.", "代金は請求されておりません。")
    }
}

/// Renders the mail in the language of the order. An order without a language gets both.
pub fn render(
    order: &Order,
    english: Section,
    japanese: Section,
    link: OrderMailLink<'_>,
) -> Result<Mail, MailError> {
    let (sections, order_label, total_label, receipt_label, unsubscribe_label) = match order.mail_language {
        Some(Language::En) => (
            vec![english],
            "Order",
            "Total",
            "Receipt",
            "Stop mails about orders (except receipts)",
        ),
        Some(Language::Ja) => (
            vec![japanese],
            "ご注文番号",
            "合計",
            "領収書",
            "ご注文に関するメールの配信停止（ご注文確定のメールを除く）",
        ),
        None => (
            vec![english, japanese],
            "Order / ご注文番号",
            "Total / 合計",
            "Receipt / 領収書",
            "Stop mails about orders (except receipts) / ご注文に関するメールの配信停止（ご注文確定のメールを除く）",
        ),
    };
    let (receipt, unsubscribe) = match link {
        OrderMailLink::OrderPage(url) => (
            Some(Link {
                label: receipt_label,
                url,
            }),
            None,
        ),
        OrderMailLink::Unsubscribe(url) => (
            None,
            Some(Link {
                label: unsubscribe_label,
                url: url.to_owned(),
            }),
        ),
    };
    let subjects: Vec<&str> = sections.iter().map(|section| section.subject).collect();
    let subject = subjects.join(" / ");
    let line = |item: &OrderItem| -> Result<LineItem, MailError> {
        Ok(LineItem {
            name: single_line(&item.product_name),
            quantity: item.quantity.get(),
            price: item.total(order.currency)?.to_display(),
        })
    };
    let content = MailContent {
        sections,
        order_label,
        order_id: order.order_id.to_string(),
        lines: order.items.iter().map(line).collect::<Result<_, _>>()?,
        total_label,
        total: order.total()?.to_display(),
        receipt,
        unsubscribe,
    };
    Ok(Mail {
        to: validate_address(&order.contact_email)?,
        subject,
        text: TextBody(&content).render()?,
        html: HtmlBody(&content).render()?,
        unsubscribe_url: content.unsubscribe.map(|link| link.url),
    })
}

/// Replaces line breaks and control characters in untrusted text.
fn single_line(text: &str) -> String {
    text.replace(breaks_line, " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_order::{SAMPLE_UNSUBSCRIBE_URL, sample_order as order};

    fn render_completed(order: &Order) -> Result<Mail, MailError> {
        super::render_completed(order, &StorefrontLinks::new("https://shop.test"))
    }

    #[test]
    fn mail_without_language_has_both_languages() {
        let mail = render_completed(&order(&["Paper lantern", "Yukata"])).unwrap();
        assert_eq!(mail.to, "hanako@example.com");
        assert_eq!(
            mail.subject,
            "Your Matsuri order is complete / ご注文が確定しました"
        );
        insta::assert_snapshot!(mail.text, @r"
        Thank you for your order!

        Your order is complete, and your items are secured.
        We have received your payment.

        ご注文ありがとうございます。

        ご注文が確定し、商品を確保いたしました。
        お支払いも確認いたしました。

        ----------------------------------------
        Order / ご注文番号: 019a0000-0000-7000-8000-000000000001

        Paper lantern × 2   ¥15,000
        Yukata × 2   ¥15,000

        Total / 合計: ¥30,000
        Receipt / 領収書: https://shop.test/orders/019a0000-0000-7000-8000-000000000001
        ----------------------------------------

        Matsuri
        ");
    }

    #[test]
    fn failed_order_mail_states_the_reason_and_the_refund() {
        let mut order = order(&["Paper lantern"]);
        order.payment = Some(Payment::Refunded);
        let mail = render_failed(&order, FailureReason::InternalError, SAMPLE_UNSUBSCRIBE_URL)
            .unwrap()
            .unwrap();
        insta::assert_snapshot!(mail.text, @r"
        We are sorry.

        We could not complete your order because of a technical problem. Please order again.
        We have refunded your payment in full. Your bank may take a few days to show the refund.

        誠に申し訳ございません。

        当店側の不具合により、ご注文を承ることができませんでした。お手数ですが、あらためてご注文ください。
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

        order.payment = Some(Payment::Claimed);
        for reason in [
            FailureReason::InsufficientStock,
            FailureReason::PaymentDeclined,
            FailureReason::AuthenticationTimeout,
        ] {
            let mail = render_failed(&order, reason, SAMPLE_UNSUBSCRIBE_URL)
                .unwrap()
                .unwrap();
            assert!(mail.text.contains("You have not been charged."), "{}", mail.text);
            assert!(
                mail.html.contains("代金は請求されておりません。"),
                "{}",
                mail.html
            );
        }
    }

    #[test]
    fn mail_is_in_the_language_of_the_order() {
        let mut order = order(&["Yukata"]);
        order.mail_language = Some(Language::Ja);
        let mail = render_completed(&order).unwrap();
        assert_eq!(mail.subject, "ご注文が確定しました");
        insta::assert_snapshot!(mail.text, @r"
        ご注文ありがとうございます。

        ご注文が確定し、商品を確保いたしました。
        お支払いも確認いたしました。

        ----------------------------------------
        ご注文番号: 019a0000-0000-7000-8000-000000000001

        Yukata × 2   ¥15,000

        合計: ¥15,000
        領収書: https://shop.test/orders/019a0000-0000-7000-8000-000000000001
        ----------------------------------------

        Matsuri
        ");
        assert!(!mail.html.contains("lang=\"en\""), "{}", mail.html);

        order.mail_language = Some(Language::En);
        let mail = render_completed(&order).unwrap();
        assert_eq!(mail.subject, "Your Matsuri order is complete");
        assert!(
            mail.text.contains("We have received your payment.\n\n-----"),
            "{}",
            mail.text
        );
        assert!(mail.text.contains("\nTotal: ¥15,000\n"), "{}", mail.text);
        assert!(!mail.html.contains("lang=\"ja\""), "{}", mail.html);
    }

    #[test]
    fn opted_out_customer_gets_only_the_receipt() {
        let mut order = order(&["Yukata"]);
        order.order_mails = Some(false);
        assert!(render_completed(&order).is_ok());
        for payment in [Payment::Claimed, Payment::Refunded] {
            order.payment = Some(payment);
            let mail = render_failed(&order, FailureReason::InternalError, SAMPLE_UNSUBSCRIBE_URL).unwrap();
            assert!(mail.is_none(), "{mail:?}");
        }
        order.order_mails = Some(true);
        let mail = render_failed(&order, FailureReason::InternalError, SAMPLE_UNSUBSCRIBE_URL).unwrap();
        assert!(mail.is_some());
    }

    #[test]
    fn product_name_is_escaped_and_stays_on_one_line() {
        let mail = render_completed(&order(&[
            "<script>alert(1)</script>\r\nBcc: evil@example.com\u{2028}x",
        ]))
        .unwrap();
        assert!(!mail.html.contains("<script>"), "{}", mail.html);
        let lines: Vec<&str> = mail.text.lines().filter(|line| line.contains("Bcc")).collect();
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].contains("<script>alert(1)</script>"),
            "the whole name must be on the product's line"
        );
    }

    #[test]
    fn invalid_contact_address_is_rejected() {
        let mut order = order(&["Yukata"]);
        order.contact_email = "a@example.com,b@example.com".to_owned();
        assert!(matches!(render_completed(&order), Err(MailError::InvalidAddress)));
    }
}
