//! Bodies that stock-service takes from our own programs.

use domain::{ProductId, Timestamp};
use events::{EventContext, TraceParent};
use http_server::Json;
use stock_service::{
    engine::commands::{Adjust, MAX_DELTA, MAX_LINES, Reserve},
    http::views::{AdjustmentRequest, ReserveRequest},
};
use uuid::Uuid;

/// What becomes a command is within its bounds.
pub fn bodies(bytes: &[u8]) {
    let cause = EventContext {
        correlation_id: Uuid::nil(),
        causation_id: None,
        traceparent: TraceParent::root(Timestamp::UNIX_EPOCH),
    };
    if let Ok(Json(body)) = Json::<ReserveRequest>::from_bytes(bytes) {
        let (count, id, seconds) = (body.lines().len(), body.reservation_id, body.expires_in_seconds);
        if Reserve::new(id, body.lines(), seconds, cause.clone()).is_ok() {
            assert!((1..=MAX_LINES).contains(&count));
        }
    }
    if let Ok(Json(body)) = Json::<AdjustmentRequest>::from_bytes(bytes) {
        let (delta, reason) = (body.delta, body.reason.clone());
        if Adjust::new(body.into_adjustment(ProductId(Uuid::nil())), cause).is_ok() {
            assert!(delta != 0 && delta.abs() <= MAX_DELTA);
            assert!(!reason.chars().any(char::is_control));
        }
    }
}
