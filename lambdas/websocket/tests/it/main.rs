//! Integration tests of the deployed executable against the local AWS at `AWS_ENDPOINT_URL`. The management
//! API of API Gateway is simulated, so that the tests see what each connection receives.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod gateway;
mod handshake;
mod interleavings;
mod management_api;
mod stock;
mod table_rights;

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_websocket");
