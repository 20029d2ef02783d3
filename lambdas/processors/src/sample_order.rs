//! An order for previews and tests of mails.

use domain::{Currency, OrderId, OrderStatus, ProductId, Quantity, TaxRate, Timestamp, UserId};
use events::TraceParent;
use orders::{Order, OrderItem, Payment};

/// A completed order over two units of each product, in both languages.
#[must_use]
pub fn sample_order(product_names: &[&str]) -> Order {
    let at = Timestamp::UNIX_EPOCH;
    let item = |name: &&str| OrderItem {
        product_id: ProductId::new(at),
        product_name: (*name).to_owned(),
        quantity: Quantity::new(2).expect("the value is valid"),
        price: 7_500,
        tax_rate: TaxRate::Standard,
    };
    Order {
        user_id: UserId::new(at),
        order_id: OrderId(
            "019a0000-0000-7000-8000-000000000001"
                .parse()
                .expect("the value is valid"),
        ),
        status: OrderStatus::Completed,
        currency: Currency::JPY,
        total_amount: 15_000 * i64::try_from(product_names.len()).expect("the value is valid"),
        items: product_names.iter().map(item).collect(),
        payment_method: "pm_card_visa".to_owned(),
        contact_email: "hanako@example.com".to_owned(),
        created_at: at,
        updated_at: at,
        history: Vec::new(),
        reason: None,
        payment_id: None,
        payment: Some(Payment::Captured),
        payment_action: None,
        payment_action_expires_at: None,
        waits_until: None,
        payment_closed: false,
        cancellation_requested: false,
        final_event_id: None,
        created_event_id: None,
        open: None,
        restarts: 0,
        restarted_at: None,
        restart_limit: None,
        parked_at: None,
        traceparent: TraceParent::root(at),
        ttl: 0,
        order_mails: None,
        mail_language: None,
        sms_contact: None,
        refunded_after_end: false,
        payment_issue: None,
    }
}

/// An unsubscribe link as order mails contain it.
pub const SAMPLE_UNSUBSCRIBE_URL: &str = "https://api.matsuri.example/v1/unsubscribe?token=sample-token";
