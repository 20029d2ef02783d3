//! The executable of websocket-authorizer, websocket-connection and status-push: `_HANDLER` selects the
//! function.
//!
//! The three functions are the WebSocket API: a client opens a connection with a one-time ticket, asks for
//! the orders that it follows, and receives each change of an order of its user
//! (`docs/adr/0023-websocket-api.md`). The messages are described in `docs/asyncapi.yaml`.

mod authorizer;
mod bootstrap;
mod client_message;
mod connection;
mod management_api;
mod server_message;
mod status_push;

use std::process::ExitCode;

use lambda_shared::FunctionRegistry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    FunctionRegistry::new()
        .register("websocket-authorizer", authorizer::init)
        .register("websocket-connection", connection::init)
        .register("status-push", status_push::init)
        .run()
        .await
}
