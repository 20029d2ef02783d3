//! Structured logging: one JSON object per line on standard output.
//!
//! A line has a message, fields and the enclosing spans. The outermost span of every request, message and
//! invocation has the field `trace_id`. Do not log tokens, e-mail addresses or payment methods.

mod json_lines;

use std::{fs::File, io, os::fd::AsFd as _};

use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use json_lines::JsonLinesLayer;

/// The log filter of a service that sets none.
pub const DEFAULT_FILTER: &str = "info";

/// Starts logging with a filter such as `info` or `info,sqlx=debug`. Fails when the filter is malformed or
/// logging has already started.
pub fn init(filter: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // A duplicate of the file descriptor: `io::stdout` has a lock that threads would wait for.
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    tracing_subscriber::registry()
        .with(filter.parse::<Targets>()?)
        .with(JsonLinesLayer(output))
        .try_init()?;
    Ok(())
}
