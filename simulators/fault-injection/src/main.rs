//! The server `fault-injection`: serves the control API and the proxies until SIGTERM or Ctrl-C.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result};
use fault_injection::{RuleEngine, Upstream, proxy, router};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Each upstream, with the variable that holds the proxy's port and the upstream's address, for example
/// `13011 127.0.0.1:14566`. `PORT` is the port of the control API. All of them listen on 127.0.0.1.
const PROXIES: [(Upstream, &str); 4] = [
    (Upstream::Aws, "AWS_PROXY"),
    (Upstream::StockService, "STOCK_SERVICE_PROXY"),
    (Upstream::PaymentProvider, "PAYMENT_PROVIDER_PROXY"),
    (Upstream::Postgres, "POSTGRES_PROXY"),
];

#[tokio::main]
async fn main() -> Result<()> {
    telemetry::init(telemetry::DEFAULT_FILTER).map_err(|error| anyhow::anyhow!(error))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let rules = Arc::new(RuleEngine::default());
    for (upstream, variable) in PROXIES {
        let value = required_env(variable)?;
        let (port, address) = value.split_once(' ').with_context(|| {
            format!("{variable} is not a port and an address, such as `13011 127.0.0.1:14566`")
        })?;
        let listener = listen(port, variable).await?;
        tokio::spawn(proxy::serve(
            listener,
            upstream,
            address.to_owned(),
            Arc::clone(&rules),
        ));
    }
    let control_api = listen(&required_env("PORT")?, "PORT").await?;
    tracing::info!(address = %control_api.local_addr()?, "listening");
    tokio::select! {
        served = axum::serve(control_api, router(rules)) => served?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn listen(port: &str, variable: &str) -> Result<TcpListener> {
    let port = port
        .parse()
        .with_context(|| format!("{variable} has no valid port"))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({variable})"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only place that reads the environment, once at startup"
)]
fn required_env(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set"))
}
