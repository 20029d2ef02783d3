//! Structured logs: one JSON object a line on standard output, for a reader and for a query.
//!
//! A line carries a sentence, its facts as fields and the spans it stands in; the outermost span of every
//! request, message and invocation has the field `trace_id`. Never a token, an address or a payment method.

mod json_lines;

use std::{fs::File, io, os::fd::AsFd as _};

use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use json_lines::JsonLinesLayer;

/// What a program logs unless it is told otherwise.
pub const DEFAULT_FILTER: &str = "info";

/// Starts logging, with a filter such as `info` or `info,sqlx=debug`. Fails when the filter is not one, or
/// when logging has been started before.
pub fn init(filter: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Standard output itself, and not `io::stdout`, where threads would wait for each other.
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    tracing_subscriber::registry()
        .with(filter.parse::<Targets>()?)
        .with(JsonLinesLayer(output))
        .try_init()?;
    Ok(())
}
