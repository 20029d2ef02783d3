//! The way an order may go.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where an order stands.
///
/// ```text
/// pending ──► processing ──► completed
///    │             │
///    ├─► cancelled └───────► failed
///    └─► failed
/// ```
///
/// `pending` lasts until the payment step claims the order: up to then the customer may cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Accepted; nothing has been charged.
    Pending,
    /// Payment is being taken or has been.
    Processing,
    /// Paid, and its stock is sold.
    Completed,
    /// Refused or broken off; nothing is owed and no stock is held.
    Failed,
    /// Taken back by the customer before payment.
    Cancelled,
}

impl OrderStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Processing,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The statuses of an order that has not come to its end.
    pub const OPEN: [Self; 2] = [Self::Pending, Self::Processing];

    /// The statuses of an order that has come to its end.
    pub const FINAL: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    /// The statuses from which an order may come to this one.
    #[must_use]
    pub fn predecessors(self) -> &'static [Self] {
        match self {
            Self::Pending => &[],
            Self::Processing | Self::Cancelled => &[Self::Pending],
            Self::Completed => &[Self::Processing],
            Self::Failed => &[Self::Pending, Self::Processing],
        }
    }

    /// Whether an order in this status may go to `next`.
    #[must_use]
    pub fn can_transition_to(self, next: Self) -> bool {
        next.predecessors().contains(&self)
    }

    /// Whether the order has come to its end.
    #[must_use]
    pub fn is_final(self) -> bool {
        Self::ALL.iter().all(|next| !self.can_transition_to(*next))
    }

    /// The name on the wire and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for OrderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an order failed, as its customer may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// A product sold out before the order's turn came.
    InsufficientStock,
    /// The payment provider refused the payment method.
    PaymentDeclined,
    /// Something of ours broke and stayed broken; everything was put back.
    InternalError,
}

impl FailureReason {
    /// The name on the wire and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InsufficientStock => "insufficient_stock",
            Self::PaymentDeclined => "payment_declined",
            Self::InternalError => "internal_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    #[test]
    fn the_whole_table_of_transitions() {
        let allowed: Vec<String> = OrderStatus::ALL
            .iter()
            .flat_map(|from| OrderStatus::ALL.iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.can_transition_to(**to))
            .map(|(from, to)| format!("{from} → {to}"))
            .collect();
        assert_eq!(
            allowed,
            [
                "pending → processing",
                "pending → failed",
                "pending → cancelled",
                "processing → completed",
                "processing → failed",
            ]
        );
    }

    proptest! {
        /// Whatever is asked of an order, in whatever sequence and however often.
        #[test]
        fn an_order_keeps_the_laws(wishes in prop::collection::vec(select(&OrderStatus::ALL[..]), 0..40)) {
            let mut way = vec![OrderStatus::Pending];
            for next in wishes {
                let status = way[way.len() - 1];
                if status.can_transition_to(next) {
                    prop_assert!(!status.is_final(), "{status} was left for {next}");
                    way.push(next);
                }
            }
            let ends: Vec<_> = way.iter().filter(|status| status.is_final()).collect();
            prop_assert!(ends.len() <= 1, "it ended as {ends:?}");
            for status in &way {
                prop_assert_eq!(way.iter().filter(|again| *again == status).count(), 1, "{} twice", status);
                prop_assert_eq!(status.is_final(), !OrderStatus::OPEN.contains(status));
            }
            // Nothing is sold that was not being paid, and nothing taken back that was.
            let paid = way.contains(&OrderStatus::Processing);
            prop_assert!(paid || !way.contains(&OrderStatus::Completed));
            prop_assert!(!(paid && way.contains(&OrderStatus::Cancelled)));
        }
    }
}
