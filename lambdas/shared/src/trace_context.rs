//! Logs that stand in the trace of what they are about.
//!
//! Each invocation and each message of a batch has a span, which is opened before anybody has read what it
//! carries. Once the handler has, [`follow`] makes the span part of the trace.

use events::EventContext;
use tracing::{Span, field::display};

/// Puts the span that is open now into the trace that `cause` belongs to: from here on every log line has the
/// fields `trace_id`, `correlation_id` (for an order's events the order's id) and `causation_id`.
///
/// Call it in the handler itself; a span opened inside the handler has no such fields.
///
/// ```
/// use events::{Cause, TraceParent};
///
/// # fn in_a_handler(traceparent: TraceParent, order_id: domain::OrderId, event_id: domain::EventId) {
/// lambda_shared::trace::follow(&Cause {
///     correlation_id: order_id.0,
///     causation_id: Some(event_id.0),
///     traceparent,
/// });
/// tracing::info!("this line can be found by its order and by its trace");
/// # }
/// ```
pub fn attach(cause: &EventContext) {
    let span = Span::current();
    span.record("trace_id", cause.traceparent.trace_id());
    span.record("correlation_id", display(cause.correlation_id));
    if let Some(causation_id) = cause.causation_id {
        span.record("causation_id", display(causation_id));
    }
}
