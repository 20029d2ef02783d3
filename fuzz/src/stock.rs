//! Fuzz target of stock-service's request bodies.

use domain::{ProductId, Timestamp};
use events::{EventContext, TraceParent};
use http_server::Json;
use stock_service::{
    engine::commands::{Adjust, MAX_DELTA, MAX_LINES, Reserve},
    http::views::{AdjustmentRequest, ReserveRequest},
};
use uuid::Uuid;

/// Accepted commands are within their limits.
pub fn bodies(bytes: &[u8]) {
    let context = EventContext {
        correlation_id: Uuid::nil(),
        causation_id: None,
        traceparent: TraceParent::root(Timestamp::UNIX_EPOCH),
    };
    if let Ok(Json(body)) = Json::<ReserveRequest>::from_bytes(bytes) {
        let (count, id, seconds) = (body.lines().len(), body.reservation_id, body.expires_in_seconds);
        if Reserve::new(id, body.lines(), seconds, context.clone()).is_ok() {
            assert!((1..=MAX_LINES).contains(&count));
        }
    }
    if let Ok(Json(body)) = Json::<AdjustmentRequest>::from_bytes(bytes) {
        let (delta, reason) = (body.delta, body.reason.clone());
        if Adjust::new(body.into_adjustment(ProductId(Uuid::nil())), context).is_ok() {
            assert!(delta != 0 && delta.abs() <= MAX_DELTA);
            assert!(!reason.chars().any(char::is_control));
        }
    }
}
