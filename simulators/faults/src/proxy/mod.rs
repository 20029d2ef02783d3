//! What stands on the wire between a program and what it asks.

mod http;
mod operation;
mod postgres;

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::{Plan, Upstream};

/// Passes on, for as long as it is polled, what reaches the listener, as the plan has it.
pub async fn serve(listener: TcpListener, upstream: Upstream, address: String, plan: Arc<Plan>) {
    match upstream {
        Upstream::Postgres => postgres::serve(listener, address, plan).await,
        Upstream::Aws | Upstream::StockService | Upstream::PaymentProvider => {
            http::serve(listener, upstream, address, plan).await;
        }
    }
}
