//! Renders receipts and reads their text back from the PDF.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod layout;
mod support;
