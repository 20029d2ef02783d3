//! Holds the Rust types against `events/schemas` and `events/rules`, and the schemas against what was published.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot read its files fails"
)]

mod compatibility;
mod event_examples;
mod example_entries;
mod published;
mod rules;
mod schema_consistency;
mod schema_files;
