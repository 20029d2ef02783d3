//! The order state machine: statuses, allowed transitions and failure reasons.

use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr, VariantArray};

/// An order's status.
///
/// ```text
/// pending ──► processing ──► completed
///    │             │
///    ├─► cancelled ├───────► cancelled
///    └─► failed    └───────► failed
/// ```
///
/// An order is `pending` until the payment step claims it. The customer can cancel it until then, and while
/// the payment waits for them. In the second case the saga ends the payment first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OrderStatus {
    /// Accepted; nothing has been charged.
    Pending,
    /// The payment is in progress or captured.
    Processing,
    /// Paid, and its stock is committed.
    Completed,
    /// Rejected or compensated: no money is owed and no stock is reserved.
    Failed,
    /// Cancelled by the customer: no money is owed and no stock is reserved.
    Cancelled,
}

impl OrderStatus {
    /// The statuses of an order in progress.
    pub const OPEN: [Self; 2] = [Self::Pending, Self::Processing];

    /// The statuses of an order that has ended.
    pub const FINAL: [Self; 3] = [Self::Completed, Self::Failed, Self::Cancelled];

    /// The statuses from which an order can transition to this one.
    #[must_use]
    pub fn predecessors(self) -> &'static [Self] {
        match self {
            Self::Pending => &[],
            Self::Processing => &[Self::Pending],
            Self::Completed => &[Self::Processing],
            Self::Failed | Self::Cancelled => &[Self::Pending, Self::Processing],
        }
    }

    /// Whether an order in this status can transition to `next`.
    #[must_use]
    pub fn can_transition_to(self, next: Self) -> bool {
        next.predecessors().contains(&self)
    }

    /// Whether the order has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        Self::VARIANTS.iter().all(|next| !self.can_transition_to(*next))
    }

    /// The name in API responses, events and the order store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why an order failed, as shown to the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FailureReason {
    /// A product sold out before its stock was reserved.
    InsufficientStock,
    /// The payment provider declined the payment method.
    PaymentDeclined,
    /// The customer did not authenticate the payment in time.
    AuthenticationTimeout,
    /// The platform failed permanently; the saga compensated every step.
    InternalError,
}

impl FailureReason {
    /// The name in API responses, events and the order store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    #[test]
    fn allows_exactly_the_documented_transitions() {
        let allowed: Vec<String> = OrderStatus::VARIANTS
            .iter()
            .flat_map(|from| OrderStatus::VARIANTS.iter().map(move |to| (from, to)))
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
                "processing → cancelled",
            ]
        );
    }

    proptest! {
        /// For every sequence of requested transitions, with repetitions.
        #[test]
        fn every_transition_sequence_keeps_the_invariants(
            requested in prop::collection::vec(select(OrderStatus::VARIANTS), 0..40),
        ) {
            let mut history = vec![OrderStatus::Pending];
            for next in requested {
                let status = history[history.len() - 1];
                if status.can_transition_to(next) {
                    prop_assert!(!status.is_final(), "the final status {status} changed to {next}");
                    history.push(next);
                }
            }
            let ends: Vec<_> = history.iter().filter(|status| status.is_final()).collect();
            prop_assert!(ends.len() <= 1, "more than one final status: {ends:?}");
            for status in &history {
                let occurrences = history.iter().filter(|other| *other == status).count();
                prop_assert_eq!(occurrences, 1, "{} twice", status);
                prop_assert_eq!(status.is_final(), !OrderStatus::OPEN.contains(status));
            }
            // An order completes only after its payment started.
            let payment_started = history.contains(&OrderStatus::Processing);
            prop_assert!(payment_started || !history.contains(&OrderStatus::Completed));
        }
    }
}
