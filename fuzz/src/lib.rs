//! Everything that parses bytes from outside, each as a function that takes any bytes and panics when what must hold
//! of the parser does not. `tests/corpus.rs` runs them with stable Rust over the committed corpus and bytes made of it;
//! `scripts/fuzz` runs them under libFuzzer for as long as one likes.

pub mod api;
pub mod events;
pub mod payments;
pub mod saga;
pub mod stock;
pub mod time_args;
pub mod tokens;

/// Something that takes any bytes.
pub type FuzzTarget = fn(&[u8]);

/// Every target, by the name of its corpus and its libFuzzer program.
pub const TARGETS: [(&str, FuzzTarget); 9] = [
    ("api_bodies", api::bodies),
    ("api_cursors", api::cursors),
    ("api_headers", api::headers),
    ("events", events::events),
    ("payment_answers", payments::responses),
    ("saga_state", saga::state),
    ("stock_bodies", stock::bodies),
    ("times", time_args::time_args),
    ("tokens", tokens::tokens),
];
