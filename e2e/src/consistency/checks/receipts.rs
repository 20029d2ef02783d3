//! Invariants of receipts: one for each completed order, with its amounts, and none for other orders.

use std::collections::BTreeMap;

use ::orders::Order;
use domain::{OrderId, OrderStatus, money::MoneyError};

use super::{
    super::{Check, Finding, Invariant, ReceiptContent, StoredReceipt},
    CheckContext,
};

pub(super) fn checks(context: &CheckContext<'_>) -> [Check; 2] {
    let receipts: BTreeMap<OrderId, &StoredReceipt> = context
        .snapshot
        .receipts
        .iter()
        .filter_map(|receipt| Some((receipt.order_id?, receipt)))
        .collect();
    [
        Check::expect_all(
            Invariant::CompletedOrdersHaveReceipt,
            context.orders_in_status(OrderStatus::Completed).map(|order| {
                let problem = problem(order, receipts.get(&order.order_id).copied());
                problem.map(|detail| Finding::new(order.order_id, detail))
            }),
        ),
        // A refund after the completion leaves the status and the receipt as they are (ADR 25).
        Check::expect_all(
            Invariant::ReceiptsOfCompletedOrders,
            context.snapshot.receipts.iter().map(|receipt| {
                let status = receipt.order_id.and_then(|id| context.order_status(id));
                let detail = || format!("its order is {}", status.map_or("missing", OrderStatus::as_str));
                (status != Some(OrderStatus::Completed)).then(|| Finding::new(&receipt.key, detail()))
            }),
        ),
    ]
}

/// What is wrong with the receipt of a completed order.
fn problem(order: &Order, receipt: Option<&StoredReceipt>) -> Option<String> {
    let Some(receipt) = receipt else {
        return Some("has no receipt".to_owned());
    };
    if receipt.versions != 1 {
        return Some(format!("its receipt has {} versions", receipt.versions));
    }
    let Some(content) = receipt.content else {
        return Some("its receipt is not readable".to_owned());
    };
    match expected_content(order) {
        Ok(expected) if expected == content => None,
        Ok(expected) => Some(format!(
            "should have the receipt {expected:?}, but has {content:?}"
        )),
        Err(error) => Some(format!("has amounts of which no receipt is possible: {error}")),
    }
}

fn expected_content(order: &Order) -> Result<ReceiptContent, MoneyError> {
    Ok(ReceiptContent {
        number: order.order_id,
        total: order.total_amount,
        tax: order.tax_totals()?.iter().map(|part| part.tax.amount()).sum(),
    })
}
