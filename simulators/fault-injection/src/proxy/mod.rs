//! The fault-injecting proxies between a service and its upstreams.

mod http;
mod operation_name;
mod postgres;

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::{RuleEngine, Upstream};

/// Forwards connections from `listener` to the upstream at `address` and injects faults. Never returns.
pub async fn serve(listener: TcpListener, upstream: Upstream, address: String, rules: Arc<RuleEngine>) {
    match upstream {
        Upstream::Postgres => postgres::serve(listener, address, rules).await,
        Upstream::Aws | Upstream::StockService | Upstream::PaymentProvider => {
            http::serve(listener, upstream, address, rules).await;
        }
    }
}
