//! Flags on orders whose payment an operator has to examine.

use dynamodb_table::DynamoDbError;
use serde::{Deserialize, Serialize};

use crate::{
    Order, Orders,
    store::{OrderUpdate, WriteOutcome},
};

/// Why an operator has to examine an order's payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PaymentIssue {
    /// The refund failed after the payment provider had accepted it.
    RefundFailed,
    /// The customer disputes the charge at their bank.
    Disputed,
    /// The payment succeeded after the order had failed, and is refunded.
    LateCharge,
}

impl Orders {
    /// Flags an order. Replaces an earlier flag.
    pub async fn flag_payment_issue(&self, order: &Order, issue: PaymentIssue) -> Result<(), DynamoDbError> {
        let update = OrderUpdate::for_order(order.user_id, order.order_id).set("payment_issue", issue);
        self.write_payment_issue(update).await
    }

    /// Removes this flag from an order. Another flag stays.
    pub async fn resolve_payment_issue(
        &self,
        order: &Order,
        issue: PaymentIssue,
    ) -> Result<(), DynamoDbError> {
        let update = OrderUpdate::for_order(order.user_id, order.order_id)
            .require_eq("payment_issue", issue)
            .remove("payment_issue");
        self.write_payment_issue(update).await
    }

    async fn write_payment_issue(&self, update: OrderUpdate) -> Result<(), DynamoDbError> {
        match self.write(update).await? {
            // An order that has expired meanwhile needs no flag.
            WriteOutcome::Applied | WriteOutcome::Rejected(_) | WriteOutcome::NotFound => Ok(()),
        }
    }
}
