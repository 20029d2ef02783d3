//! Bodies that stock-service takes from our own programs.

use domain::{ProductId, Timestamp};
use events::{Cause, TraceParent};
use stock_service::{
    engine::commands::{Adjust, MAX_DELTA, MAX_LINES, Reserve},
    http::views::{AdjustBody, ReserveBody},
};
use uuid::Uuid;
use web::Json;

/// What becomes a command is within its bounds.
pub fn bodies(bytes: &[u8]) {
    let cause = Cause {
        correlation_id: Uuid::nil(),
        causation_id: None,
        traceparent: TraceParent::root(Timestamp::UNIX_EPOCH),
    };
    if let Ok(Json(body)) = Json::<ReserveBody>::from_bytes(bytes) {
        let (count, id, seconds) = (body.lines().len(), body.reservation_id, body.expires_in_seconds);
        if Reserve::new(id, body.lines(), seconds, cause.clone()).is_ok() {
            assert!((1..=MAX_LINES).contains(&count));
        }
    }
    if let Ok(Json(body)) = Json::<AdjustBody>::from_bytes(bytes) {
        let (delta, reason) = (body.delta, body.reason.clone());
        if Adjust::new(body.of(ProductId(Uuid::nil())), cause).is_ok() {
            assert!(delta != 0 && delta.abs() <= MAX_DELTA);
            assert!(!reason.chars().any(char::is_control));
        }
    }
}
