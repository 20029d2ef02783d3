//! Orders, their receipts, and the text of a PDF.

use std::fs;

use lopdf::Document;
use orders::Order;
use receipts::{Issuer, Receipt, ReceiptError};
use serde_json::{Value, json};

pub const ORDER_ID: &str = "019a0000-0000-7000-8000-000000000001";

/// A line of an order.
pub fn line(name: &str, price: i64, quantity: u32, tax_rate: &str) -> Value {
    json!({
        "product_id": "019a0000-0000-7000-8000-000000000002", "product_name": name,
        "quantity": quantity, "price": price, "tax_rate": tax_rate,
    })
}

/// An order with these lines that was completed on 31 December at 15:30 UTC: on 1 January in Japan.
pub fn order(lines: &[Value]) -> Order {
    let sum = |line: &Value| line["price"].as_i64().unwrap() * line["quantity"].as_i64().unwrap();
    let at = |status: &str, at: &str| json!({"status": status, "at": at});
    serde_json::from_value(json!({
        "user_id": "019a0000-0000-7000-8000-000000000003",
        "order_id": ORDER_ID,
        "status": "completed",
        "currency": "JPY",
        "total_amount": lines.iter().map(sum).sum::<i64>(),
        "items": lines,
        "payment_method": "pm_card_visa",
        "contact_email": "hanako@example.com",
        "created_at": "2026-12-30T00:00:00Z",
        "updated_at": "2027-01-05T00:00:00Z",
        "history": [
            at("pending", "2026-12-30T00:00:00Z"),
            at("processing", "2026-12-30T00:00:01Z"),
            at("completed", "2026-12-31T15:30:00Z"),
        ],
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ttl": 0,
    }))
    .unwrap()
}

pub fn issuer() -> Issuer {
    let number = "T1234567890123".parse().unwrap();
    Issuer::new(
        "株式会社まつり",
        "〒111-0032 東京都台東区浅草二丁目3番1号 まつりビル5階",
        number,
    )
    .unwrap()
}

pub fn receipt(order: &Order) -> Result<Receipt, ReceiptError> {
    Receipt::new(&issuer(), order)
}

/// The PDF of a receipt with these lines, which is also written to the file `name`.
pub fn render(name: &str, lines: &[Value]) -> Vec<u8> {
    let pdf = receipt(&order(lines)).unwrap().to_pdf().unwrap();
    fs::write(
        format!("{}/receipt-{name}.pdf", env!("CARGO_TARGET_TMPDIR")),
        &pdf,
    )
    .unwrap();
    pdf
}

/// The text of each page, one line for each text that was drawn.
pub fn pages(pdf: &[u8]) -> Vec<Vec<String>> {
    let document = Document::load_mem(pdf).unwrap();
    let text = |page: &u32| document.extract_text(&[*page]).unwrap();
    let lines = |text: String| text.lines().map(|line| line.trim_end().to_owned()).collect();
    document.get_pages().keys().map(text).map(lines).collect()
}
