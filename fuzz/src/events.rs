//! Messages from queues: events as EventBridge hands them over, and the trace that they carry.

use events::{
    BridgeEvent, EventData, Outgoing, TraceParent,
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
    trace(text);
    let read = [
        same::<OrderCreated>(text),
        same::<OrderCompleted>(text),
        same::<OrderFailed>(text),
        same::<OrderCancelled>(text),
        same::<PaymentProcessed>(text),
        same::<PaymentRefunded>(text),
        same::<ProductCreated>(text),
        same::<ProductUpdated>(text),
        same::<ProductDeleted>(text),
        same::<StockAdjustmentRequested>(text),
        same::<StockLow>(text),
        same::<StockReleased>(text),
        same::<StockReserved>(text),
        same::<StockUpdated>(text),
        same::<UserRegistered>(text),
    ];
    assert!(
        read.iter().filter(|read| **read).count() <= 1,
        "two events in one"
    );
}

fn same<D: EventData + PartialEq + std::fmt::Debug>(text: &str) -> bool {
    let Ok(event) = BridgeEvent::<D>::parse(text) else {
        return false;
    };
    let out = Outgoing::from(&event.detail);
    let detail: serde_json::Value = serde_json::from_str(&out.detail).expect("an event leaves as JSON");
    let message = serde_json::json!({"source": out.source, "detail-type": out.detail_type, "detail": detail});
    let again = BridgeEvent::<D>::parse(&message.to_string()).expect("what left can be read");
    assert_eq!(again.detail, event.detail);
    true
}

/// There is one way to write a trace.
fn trace(text: &str) {
    if let Ok(trace) = text.parse::<TraceParent>() {
        assert_eq!(trace.to_string(), text);
    }
}
