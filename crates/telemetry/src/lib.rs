//! Structured logs: one JSON object a line on standard output, for a reader and for a query.
//!
//! A line carries a sentence, its facts as fields and the spans it stands in; the outermost span of every
//! request, message and invocation has the field `trace_id`. Never a token, an address or a payment method.

use std::io::{self, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// What a program logs unless it is told otherwise.
pub const DEFAULT_FILTER: &str = "info";

/// Starts logging, with a filter such as `info` or `info,sqlx=debug`. Fails when the filter is not one, or
/// when logging has been started before.
pub fn init(filter: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(WholeLines)
        .try_init()
}

/// Writes each line with one call, because the functions of one machine share an output.
struct WholeLines;

/// A line on its way.
struct Line(Vec<u8>);

impl<'a> MakeWriter<'a> for WholeLines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

impl Write for Line {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // There is nowhere left to report that the log cannot be written.
        let _ = io::stdout().write_all(&self.0);
    }
}
