//! The executable of websocket-authorizer, websocket-connection, status-push and stock-push:
//! `_HANDLER` selects the
//! function.
//!
//! The functions are the WebSocket API: a client opens a connection with a one-time ticket, asks for the
//! orders that it follows, and receives each change of an order of its user
//! (`docs/adr/0023-websocket-api.md`). It also receives the levels of the products that it watches
//! (`docs/adr/0027-live-stock.md`). The messages are described in `docs/asyncapi.yaml`.

mod authorizer;
mod bootstrap;
mod client_message;
mod connection;
mod management_api;
mod server_message;
mod status_push;
mod stock_push;
mod stock_subscriptions;

use std::process::ExitCode;

use lambda_shared::FunctionRegistry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    FunctionRegistry::new()
        .register("websocket-authorizer", authorizer::init)
        .register("websocket-connection", connection::init)
        .register("status-push", status_push::init)
        .register("stock-push", stock_push::init)
        .run()
        .await
}
