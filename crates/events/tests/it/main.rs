//! Checks the Rust types against `events/schemas` and `events/rules`, and the schemas against their published
//! versions.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod compatibility;
mod event_examples;
mod example_entries;
mod published;
mod rules;
mod schema_consistency;
mod schema_files;
