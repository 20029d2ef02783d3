//! Messages from queues: events as EventBridge hands them over, and the trace that they carry.

use events::{
    EventBridgeEvent, EventData, OutboxEvent, TraceParent,
    order::{OrderCancelled, OrderCompleted, OrderCreated, OrderFailed},
    payment::{PaymentProcessed, PaymentRefunded},
    product::{ProductCreated, ProductDeleted, ProductUpdated},
    stock::{StockAdjustmentRequested, StockLow, StockReleased, StockReserved, StockUpdated},
    user::UserRegistered,
};

/// A message that is read as an event is written and read again as the same one. One message is one event at most.
pub fn events(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    assert_trace_round_trip(text);
    let read = [
        round_trips::<OrderCreated>(text),
        round_trips::<OrderCompleted>(text),
        round_trips::<OrderFailed>(text),
        round_trips::<OrderCancelled>(text),
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
        read.iter().filter(|read| **read).count() <= 1,
        "two events in one"
    );
}

fn round_trips<D: EventData + PartialEq + std::fmt::Debug>(text: &str) -> bool {
    let Ok(event) = EventBridgeEvent::<D>::parse(text) else {
        return false;
    };
    let out = OutboxEvent::from(&event.detail);
    let detail: serde_json::Value = serde_json::from_str(&out.detail).expect("an event leaves as JSON");
    let message = serde_json::json!({"source": out.source, "detail-type": out.detail_type, "detail": detail});
    let again = EventBridgeEvent::<D>::parse(&message.to_string()).expect("what left can be read");
    assert_eq!(again.detail, event.detail);
    true
}

/// There is one way to write a trace.
fn assert_trace_round_trip(text: &str) {
    if let Ok(trace) = text.parse::<TraceParent>() {
        assert_eq!(trace.to_string(), text);
    }
}
