//! Fuzz target of queue messages: EventBridge events and their trace parent.

use events::{
    EventBridgeEvent, EventData, OutboxEvent, TraceParent,
    order::{OrderCancelled, OrderCompleted, OrderCreated, OrderFailed, PaymentActionCompleted},
    payment::{PaymentProcessed, PaymentRefunded},
    product::{ProductCreated, ProductDeleted, ProductUpdated},
    stock::{StockAdjustmentRequested, StockLow, StockReleased, StockReserved, StockUpdated},
    user::UserRegistered,
};

/// Serialising and parsing an event returns the same event. A message parses as at most one event type.
pub fn events(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    assert_trace_round_trip(text);
    let parsed = [
        round_trips::<OrderCreated>(text),
        round_trips::<OrderCompleted>(text),
        round_trips::<OrderFailed>(text),
        round_trips::<OrderCancelled>(text),
        round_trips::<PaymentActionCompleted>(text),
        round_trips::<PaymentProcessed>(text),
        round_trips::<PaymentRefunded>(text),
        round_trips::<ProductCreated>(text),
        round_trips::<ProductUpdated>(text),
        round_trips::<ProductDeleted>(text),
        round_trips::<StockAdjustmentRequested>(text),
        round_trips::<StockLow>(text),
        round_trips::<StockReleased>(text),
        round_trips::<StockReserved>(text),
        round_trips::<StockUpdated>(text),
        round_trips::<UserRegistered>(text),
    ];
    assert!(
        parsed.iter().filter(|is_event| **is_event).count() <= 1,
        "the message parses as two event types"
    );
}

/// Returns whether the message parses as an event of type `D`. Panics when that event does not round-trip.
fn round_trips<D: EventData + PartialEq + std::fmt::Debug>(text: &str) -> bool {
    let Ok(event) = EventBridgeEvent::<D>::parse(text) else {
        return false;
    };
    let outbox_event = OutboxEvent::from(&event.detail);
    let detail: serde_json::Value =
        serde_json::from_str(&outbox_event.detail).expect("the detail of an event is JSON");
    let message = serde_json::json!({
        "source": outbox_event.source, "detail-type": outbox_event.detail_type, "detail": detail,
    });
    let parsed_again =
        EventBridgeEvent::<D>::parse(&message.to_string()).expect("a serialised event is valid");
    assert_eq!(parsed_again.detail, event.detail);
    true
}

/// A trace parent has exactly one text form.
fn assert_trace_round_trip(text: &str) {
    if let Ok(trace) = text.parse::<TraceParent>() {
        assert_eq!(trace.to_string(), text);
    }
}
