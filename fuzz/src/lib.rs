//! Fuzz targets of all parsers of external input. Each target is a function that accepts any bytes and panics
//! when the parser violates an invariant. `tests/corpus.rs` runs the targets with stable Rust on the
//! committed corpus and on mutations of it. `scripts/fuzz` runs them with libFuzzer.

pub mod api;
pub mod events;
pub mod payments;
pub mod saga;
pub mod stock;
pub mod time_args;
pub mod tokens;

pub type FuzzTarget = fn(&[u8]);

/// All targets: (name of the corpus and of the libFuzzer executable, function).
pub const TARGETS: [(&str, FuzzTarget); 9] = [
    ("api_bodies", api::bodies),
    ("api_cursors", api::cursors),
    ("api_headers", api::headers),
    ("events", events::events),
    ("payment_responses", payments::responses),
    ("saga_state", saga::state),
    ("stock_bodies", stock::bodies),
    ("time_args", time_args::time_args),
    ("tokens", tokens::tokens),
];
