//! What customers are told, in English and in Japanese: nobody has asked them yet which they read.
//!
//! Names of products come from outside. They stand in the bodies only, each on one line, escaped where it is
//! HTML; subjects are ours, word for word, and an address that is not plainly one is refused.

use askama::Template;
use domain::{Currency, FailureReason, Money};
use orders::{Order, OrderItem, Payment};

/// A mail, ready to be sent.
#[derive(Debug)]
pub struct Mail {
    /// Whom to.
    pub to: String,
    /// In both languages.
    pub subject: &'static str,
    /// For those who read plain text.
    pub text: String,
    /// The same, to look at.
    pub html: String,
}

/// Why there is no mail.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The address is none that mail may be sent to.
    #[error("the mail's address is not one")]
    InvalidAddress,
    /// The secret of its link cannot stand in one.
    #[error("the mail's link cannot be made")]
    InvalidLinkToken,
    /// A line costs more than amounts can say.
    #[error("the order's prices are out of range")]
    PriceOutOfRange(#[from] domain::money::MoneyError),
    /// A template failed.
    #[error("the mail cannot be written")]
    Template(#[from] askama::Error),
}

#[derive(Template)]
#[template(path = "order.txt")]
struct TextBody<'a>(&'a MailContent);

#[derive(Template)]
#[template(path = "order.html")]
struct HtmlBody<'a>(&'a MailContent);

/// What both forms of a mail say.
struct MailContent {
    english: MailCopy,
    japanese: MailCopy,
    order_id: String,
    lines: Vec<LineItem>,
    total: String,
}

struct MailCopy {
    /// The first sentence, for itself.
    greeting: &'static str,
    /// What happened.
    news: &'static str,
    /// What became of the money.
    money: &'static str,
}

struct LineItem {
    name: String,
    quantity: u32,
    price: String,
}

/// The order is paid and its goods are the customer's.
pub fn render_completed(order: &Order) -> Result<Mail, MailError> {
    let english = MailCopy {
        greeting: "Thank you for your order!",
        news: "Your order is complete, and its goods are yours.",
        money: "We have received your payment.",
    };
    let japanese = MailCopy {
        greeting: "ご注文ありがとうございます。",
        news: "ご注文が確定し、商品を確保いたしました。",
        money: "お支払いも確認いたしました。",
    };
    render(
        order,
        "Your Matsuri order is complete / ご注文が確定しました",
        english,
        japanese,
    )
}

/// The order could not be carried out.
pub fn render_failed(order: &Order, reason: FailureReason) -> Result<Mail, MailError> {
    let (english_news, japanese_news) = match reason {
        FailureReason::InsufficientStock => (
            "Something that you ordered sold out before your order's turn came, so we could not carry it out.",
            "ご注文の順番が来る前に売り切れた商品があったため、ご注文を承ることができませんでした。",
        ),
        FailureReason::PaymentDeclined => (
            "Your payment was declined, so we could not carry out your order. You are welcome to order again with \
             another payment method.",
            "お支払いが承認されなかったため、ご注文を承ることができませんでした。\
             別のお支払い方法で、あらためてご注文いただけます。",
        ),
        FailureReason::InternalError => (
            "Internal server error, and we could not carry out your order. You are welcome to order again.",
            "当店側の不具合により、ご注文を承ることができませんでした。お手数ですが、あらためてご注文ください。",
        ),
    };
    let (english_money, japanese_money) = if order.payment == Some(Payment::Refunded) {
        (
            "We have refunded your payment in full. It may take your bank a few days to show it.",
            "お支払いいただいた代金は全額返金いたしました。口座への反映には数日かかることがあります。",
        )
    } else {
        ("You have not been charged.", "代金は請求されておりません。")
    };
    let english = MailCopy {
        greeting: "We are sorry.",
        news: english_news,
        money: english_money,
    };
    let japanese = MailCopy {
        greeting: "誠に申し訳ございません。",
        news: japanese_news,
        money: japanese_money,
    };
    render(
        order,
        "About your Matsuri order / ご注文についてのお知らせ",
        english,
        japanese,
    )
}

fn render(
    order: &Order,
    subject: &'static str,
    english: MailCopy,
    japanese: MailCopy,
) -> Result<Mail, MailError> {
    let line = |item: &OrderItem| -> Result<LineItem, MailError> {
        let price = Money::new(item.price, order.currency)?.checked_mul(item.quantity)?;
        Ok(LineItem {
            name: single_line(&item.product_name),
            quantity: item.quantity.get(),
            price: format_amount(price),
        })
    };
    let content = MailContent {
        english,
        japanese,
        order_id: order.order_id.to_string(),
        lines: order.items.iter().map(line).collect::<Result<_, _>>()?,
        total: format_amount(Money::new(order.total_amount, order.currency)?),
    };
    Ok(Mail {
        to: validate_address(&order.contact_email)?,
        subject,
        text: TextBody(&content).render()?,
        html: HtmlBody(&content).render()?,
    })
}

/// Text from outside, without what would begin another line or is not to be seen.
fn single_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.replace(breaks, " ").trim().to_owned()
}

/// One mail address and nothing else: no list, no display name, no header.
pub fn validate_address(text: &str) -> Result<String, MailError> {
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_graphic() && !"@,;:<>()[]\\\"".contains(c))
    };
    match text.split_once('@') {
        Some((local, host)) if plain(local) && plain(host) => Ok(text.to_owned()),
        _ => Err(MailError::InvalidAddress),
    }
}

/// An amount as it is written for people: `¥15,000`.
fn format_amount(money: Money) -> String {
    let digits = money.amount().to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match money.currency() {
        Currency::JPY => format!("¥{grouped}"),
        other => format!("{grouped} {other}"),
    }
}

#[cfg(test)]
mod tests {
    use domain::{OrderId, OrderStatus, ProductId, Quantity, Timestamp, UserId};
    use events::TraceParent;

    use super::*;

    fn order(names: &[&str]) -> Order {
        let at = Timestamp::UNIX_EPOCH;
        let item = |name: &&str| OrderItem {
            product_id: ProductId::new(at),
            product_name: (*name).to_owned(),
            quantity: Quantity::new(2).unwrap(),
            price: 7_500,
        };
        Order {
            user_id: UserId::new(at),
            order_id: OrderId("019a0000-0000-7000-8000-000000000001".parse().unwrap()),
            status: OrderStatus::Completed,
            currency: Currency::JPY,
            total_amount: 15_000 * i64::try_from(names.len()).unwrap(),
            items: names.iter().map(item).collect(),
            payment_method: "pm_card_visa".to_owned(),
            contact_email: "hanako@example.com".to_owned(),
            created_at: at,
            updated_at: at,
            history: Vec::new(),
            reason: None,
            payment_id: None,
            payment: Some(Payment::Captured),
            payment_closed: false,
            final_event_id: None,
            created_event_id: None,
            open: None,
            restarts: 0,
            restarted_at: None,
            traceparent: TraceParent::root(at),
            ttl: 0,
        }
    }

    #[test]
    fn a_completed_order_reads_well() {
        let mail = render_completed(&order(&["Paper lantern", "Yukata"])).unwrap();
        assert_eq!(mail.to, "hanako@example.com");
        insta::assert_snapshot!(mail.text, @r"
        Thank you for your order!

        Your order is complete, and its goods are yours.
        We have received your payment.

        ご注文ありがとうございます。

        ご注文が確定し、商品を確保いたしました。
        お支払いも確認いたしました。

        ----------------------------------------
        Order / ご注文番号: 019a0000-0000-7000-8000-000000000001

        Paper lantern × 2   ¥15,000
        Yukata × 2   ¥15,000

        Total / 合計: ¥30,000
        ----------------------------------------

        Matsuri
        ");
    }

    #[test]
    fn a_failed_order_says_why_and_what_became_of_the_money() {
        let mut order = order(&["Paper lantern"]);
        order.payment = Some(Payment::Refunded);
        insta::assert_snapshot!(render_failed(&order, FailureReason::InternalError).unwrap().text, @r"
        We are sorry.

        Internal server error, and we could not carry out your order. You are welcome to order again.
        We have refunded your payment in full. It may take your bank a few days to show it.

        誠に申し訳ございません。

        当店側の不具合により、ご注文を承ることができませんでした。お手数ですが、あらためてご注文ください。
        お支払いいただいた代金は全額返金いたしました。口座への反映には数日かかることがあります。

        ----------------------------------------
        Order / ご注文番号: 019a0000-0000-7000-8000-000000000001

        Paper lantern × 2   ¥15,000

        Total / 合計: ¥15,000
        ----------------------------------------

        Matsuri
        ");

        order.payment = Some(Payment::Claimed);
        for reason in [FailureReason::InsufficientStock, FailureReason::PaymentDeclined] {
            let mail = render_failed(&order, reason).unwrap();
            assert!(mail.text.contains("You have not been charged."), "{}", mail.text);
            assert!(
                mail.html.contains("代金は請求されておりません。"),
                "{}",
                mail.html
            );
        }
    }

    #[test]
    fn a_product_s_name_is_only_ever_a_name() {
        let mail = render_completed(&order(&[
            "<script>alert(1)</script>\r\nBcc: evil@example.com\u{2028}x",
        ]))
        .unwrap();
        assert!(!mail.html.contains("<script>"), "{}", mail.html);
        let lines: Vec<&str> = mail.text.lines().filter(|line| line.contains("Bcc")).collect();
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].contains("<script>alert(1)</script>"),
            "it all stands on the line of the product"
        );
    }

    #[test]
    fn only_an_address_is_an_address() {
        for wrong in [
            "",
            "hanako",
            "@example.com",
            "hanako@",
            "a@example.com,b@example.com",
            "a@b@example.com",
            "Hanako <hanako@example.com>",
            "hanako@example.com\r\nBcc: evil@example.com",
            "花子@example.com",
        ] {
            let mut order = order(&["Yukata"]);
            order.contact_email = wrong.to_owned();
            assert!(
                matches!(render_completed(&order), Err(MailError::InvalidAddress)),
                "{wrong}"
            );
        }
    }

    #[test]
    fn amounts_are_grouped_by_thousands() {
        let yen = |yen| format_amount(Money::new(yen, Currency::JPY).unwrap());
        assert_eq!(
            [0, 999, 1_000, 15_000, 1_234_567].map(yen),
            ["¥0", "¥999", "¥1,000", "¥15,000", "¥1,234,567"]
        );
    }
}
