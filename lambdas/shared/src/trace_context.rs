//! Trace ids in log lines.
//!
//! The runtime opens a span for each invocation and each message of a batch before the payload is parsed. The
//! handler parses the payload and then adds its trace to that span with [`attach`].

use events::EventContext;
use tracing::{Span, field::display};

/// Records the trace of `event` in the current span: the log lines after the call have the fields `trace_id`,
/// `correlation_id` (the order id for events of an order) and `causation_id`.
///
/// Call it directly in the handler: a span that the handler opens itself does not have these fields.
///
/// ```
/// use events::{EventContext, TraceParent};
///
/// # fn in_a_handler(traceparent: TraceParent, order_id: domain::OrderId, event_id: domain::EventId) {
/// lambda_shared::trace_context::attach(&EventContext {
///     correlation_id: order_id.0,
///     causation_id: Some(event_id.0),
///     traceparent,
/// });
/// tracing::info!("this line has the order's correlation id and trace id");
/// # }
/// ```
pub fn attach(event: &EventContext) {
    let span = Span::current();
    span.record("trace_id", event.traceparent.trace_id());
    span.record("correlation_id", display(event.correlation_id));
    if let Some(causation_id) = event.causation_id {
        span.record("causation_id", display(causation_id));
    }
}
