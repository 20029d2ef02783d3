//! The server `fault-injection`: serves the control API and the proxies until SIGTERM or Ctrl-C.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use fault_injection::{
    RuleEngine, Upstream,
    proxy::{self, PostgresTls},
    router,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Each HTTP upstream, with the variable that holds the proxy's port and the upstream's address, for example
/// `13011 127.0.0.1:14566`. `POSTGRES_PROXY` does the same for PostgreSQL, whose certificates are in the
/// folder `POSTGRES_TLS_DIR`. `PORT` is the port of the control API. All of them listen on 127.0.0.1.
const HTTP_PROXIES: [(Upstream, &str); 3] = [
    (Upstream::Aws, "AWS_PROXY"),
    (Upstream::StockService, "STOCK_SERVICE_PROXY"),
    (Upstream::PaymentProvider, "PAYMENT_PROVIDER_PROXY"),
];

#[tokio::main]
async fn main() -> Result<()> {
    telemetry::init(telemetry::DEFAULT_FILTER).map_err(|error| anyhow::anyhow!(error))?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let rules = Arc::new(RuleEngine::default());
    for (upstream, variable) in HTTP_PROXIES {
        let (listener, address) = listen_as_proxy(variable).await?;
        tokio::spawn(proxy::serve_http(listener, upstream, address, Arc::clone(&rules)));
    }
    let tls_dir = required_env("POSTGRES_TLS_DIR")?;
    let tls = PostgresTls::from_dir(Path::new(&tls_dir)).context("POSTGRES_TLS_DIR")?;
    let (listener, address) = listen_as_proxy("POSTGRES_PROXY").await?;
    tokio::spawn(proxy::serve_postgres(listener, address, tls, Arc::clone(&rules)));
    let control_api = listen(&required_env("PORT")?, "PORT").await?;
    tracing::info!(address = %control_api.local_addr()?, "listening");
    tokio::select! {
        served = axum::serve(control_api, router(rules)) => served?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Returns the listener of a proxy and the address of its upstream.
async fn listen_as_proxy(variable: &str) -> Result<(TcpListener, String)> {
    let value = required_env(variable)?;
    let (port, address) = value.split_once(' ').with_context(|| {
        format!("{variable} is not a port and an address, such as `13011 127.0.0.1:14566`")
    })?;
    Ok((listen(port, variable).await?, address.to_owned()))
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
