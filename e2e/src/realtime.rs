//! What a client of the WebSocket API has seen of an order. The rule is that of `clients/realtime-js`: a
//! client drops the changes whose number it has seen.

use domain::{FailureReason, OrderId, OrderStatus};
use orders::{HistoryEntry, OrderChange, PaymentStep};
use serde::Deserialize;
use serde_json::Value;

/// A message `ORDER_STATUS_UPDATE`.
#[derive(Clone, Debug, Deserialize)]
pub struct OrderUpdate {
    pub order_id: OrderId,
    /// The number of the newest change.
    sequence: u32,
    status: OrderStatus,
    is_final: bool,
    reason: Option<FailureReason>,
    changes: Vec<NumberedChange>,
}

#[derive(Clone, Debug, Deserialize)]
struct NumberedChange {
    sequence: u32,
    #[serde(flatten)]
    entry: HistoryEntry,
}

/// An order as a client shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderView {
    /// The changes that the client has seen, each once. The first one has the number 1.
    pub changes: Vec<HistoryEntry>,
    /// The status in the newest update. `None` before the first one.
    pub status: Option<OrderStatus>,
    pub reason: Option<FailureReason>,
    pub is_final: bool,
}

/// Why an update contradicts what the client has seen, or itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpdate {
    #[error("the update has the changes {numbers:?}, and its newest one is {sequence}")]
    NotNumbered { numbers: Vec<u32>, sequence: u32 },
    #[error("the update begins with change {first}, but the client has seen only {seen}")]
    Gap { first: u32, seen: u32 },
    #[error("change {number} was {seen}, and is {received} now")]
    Changed {
        number: u32,
        seen: String,
        received: String,
    },
}

impl OrderUpdate {
    /// Parses a message of another type to `None`.
    pub fn parse(message: &Value) -> Result<Option<Self>, serde_json::Error> {
        if message["type"] != "ORDER_STATUS_UPDATE" {
            return Ok(None);
        }
        Self::deserialize(message).map(Some)
    }
}

impl OrderView {
    /// The number of the newest change that the client has seen.
    #[must_use]
    pub fn last_sequence(&self) -> u32 {
        u32::try_from(self.changes.len()).unwrap_or(u32::MAX)
    }

    /// Adds the changes that the client has not seen. Returns whether there are any.
    ///
    /// # Errors
    /// When changes are missing in the update or before it, or a change that the client has seen differs. The
    /// view then stays as it is.
    pub fn apply(&mut self, update: &OrderUpdate) -> Result<bool, InvalidUpdate> {
        let (seen, sequence) = (self.last_sequence(), update.sequence);
        let numbers: Vec<u32> = update.changes.iter().map(|change| change.sequence).collect();
        let first = numbers.first().copied().unwrap_or(0);
        if first == 0 || !(first..=sequence).eq(numbers.iter().copied()) {
            return Err(InvalidUpdate::NotNumbered { numbers, sequence });
        }
        if first > seen + 1 {
            return Err(InvalidUpdate::Gap { first, seen });
        }
        for NumberedChange { sequence, entry } in &update.changes {
            let position = usize::try_from(sequence - 1).unwrap_or(usize::MAX);
            if let Some(earlier) = self.changes.get(position).filter(|earlier| *earlier != entry) {
                return Err(InvalidUpdate::Changed {
                    number: *sequence,
                    seen: format!("{earlier:?}"),
                    received: format!("{entry:?}"),
                });
            }
        }
        let new = update.changes.iter().filter(|change| change.sequence > seen);
        self.changes.extend(new.map(|change| change.entry.clone()));
        let is_newer = sequence > seen;
        if is_newer {
            (self.status, self.reason, self.is_final) = (Some(update.status), update.reason, update.is_final);
        }
        Ok(is_newer)
    }

    /// The names of the changes, oldest first.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        change_names(&self.changes)
    }
}

/// The names of changes, in the same order.
#[must_use]
pub fn change_names(changes: &[HistoryEntry]) -> Vec<&'static str> {
    changes
        .iter()
        .map(|entry| match entry.change {
            OrderChange::Status(status) => status.as_str(),
            OrderChange::Payment(PaymentStep::ActionRequired) => "action_required",
            OrderChange::Payment(PaymentStep::ActionCompleted) => "action_completed",
            OrderChange::Payment(PaymentStep::CancellationRequested) => "cancellation_requested",
            OrderChange::Payment(PaymentStep::Captured) => "captured",
            OrderChange::Payment(PaymentStep::Refunded) => "refunded",
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    /// An update with the changes `first` to `last` of a completed order.
    fn update(first: usize, last: usize) -> OrderUpdate {
        let changes = [
            json!({"status": "pending"}),
            json!({"status": "processing"}),
            json!({"payment": "captured"}),
            json!({"status": "completed"}),
        ];
        let status = ["pending", "processing", "processing", "completed"][last - 1];
        let numbered = (1..).zip(changes).skip(first - 1).take(last + 1 - first);
        let changes: Vec<Value> = numbered
            .map(|(sequence, mut change)| {
                change["sequence"] = json!(sequence);
                change["at"] = json!("2026-11-30T00:00:00.123456Z");
                change
            })
            .collect();
        let message = json!({
            "type": "ORDER_STATUS_UPDATE", "order_id": "01900000-0000-7000-8000-000000000001",
            "sequence": last, "status": status, "is_final": last == 4, "action_required": false,
            "changes": changes,
        });
        OrderUpdate::parse(&message).unwrap().unwrap()
    }

    #[test]
    fn late_duplicate_and_overlapping_updates_add_each_change_once() {
        let mut view = OrderView::default();
        let ranges = [(1, 2), (1, 1), (1, 2), (2, 3), (1, 4), (1, 3)];
        let is_newer = ranges.map(|(first, last)| view.apply(&update(first, last)).unwrap());
        assert_eq!(is_newer, [true, false, false, true, true, false]);
        assert_eq!(view.names(), ["pending", "processing", "captured", "completed"]);
        assert_eq!((view.status, view.is_final), (Some(OrderStatus::Completed), true));
    }

    #[test]
    fn gaps_and_different_changes_are_reported() {
        let mut view = OrderView::default();
        view.apply(&update(1, 1)).unwrap();
        let gap = InvalidUpdate::Gap { first: 3, seen: 1 };
        assert_eq!(view.apply(&update(3, 4)), Err(gap));

        let mut other = update(1, 2);
        other.changes[0].entry.change = OrderChange::Status(OrderStatus::Failed);
        let found = view.apply(&other);
        assert!(
            matches!(found, Err(InvalidUpdate::Changed { number: 1, .. })),
            "{found:?}"
        );
        assert_eq!(view.names(), ["pending"]);
    }

    #[test]
    fn updates_with_missing_numbers_are_reported() {
        let without = |position: usize| {
            let mut update = update(1, 4);
            update.changes.remove(position);
            OrderView::default().apply(&update)
        };
        for position in 1..4 {
            let found = without(position);
            assert!(
                matches!(found, Err(InvalidUpdate::NotNumbered { .. })),
                "{found:?}"
            );
        }
        assert_eq!(without(0), Err(InvalidUpdate::Gap { first: 2, seen: 0 }));
        let mut empty = update(1, 4);
        empty.changes.clear();
        let found = OrderView::default().apply(&empty);
        assert!(
            matches!(found, Err(InvalidUpdate::NotNumbered { .. })),
            "{found:?}"
        );
    }

    #[test]
    fn other_messages_are_no_updates() {
        let pong = json!({"type": "PONG", "at": "2026-11-30T00:00:00Z"});
        assert!(OrderUpdate::parse(&pong).unwrap().is_none());
        assert!(OrderUpdate::parse(&json!({"type": "ORDER_STATUS_UPDATE"})).is_err());
    }
}
