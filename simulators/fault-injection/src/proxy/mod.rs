//! What stands on the wire between a program and what it asks.

mod http;
mod operation_name;
mod postgres;

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::{RuleEngine, Upstream};

/// Passes on, for as long as it is polled, what reaches the listener, as the plan has it.
pub async fn serve(listener: TcpListener, upstream: Upstream, address: String, plan: Arc<RuleEngine>) {
    match upstream {
        Upstream::Postgres => postgres::serve(listener, address, plan).await,
        Upstream::Aws | Upstream::StockService | Upstream::PaymentProvider => {
            http::serve(listener, upstream, address, plan).await;
        }
    }
}
