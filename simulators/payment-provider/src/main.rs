//! The server `payment-provider`: serves the API until SIGTERM or Ctrl-C.

use std::{future::IntoFuture, time::Duration};

use anyhow::Context;
use domain::Clock;
use payment_provider::{Config, Provider, router};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

/// Time that shutdown may take beyond the duration of a slow payment.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    telemetry::init(&config.log_level)
        .map_err(|error| anyhow::anyhow!(error))
        .context("LOG_LEVEL")?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown_timeout = config.slow_duration + SHUTDOWN_MARGIN;
    let data_dir = config.data_dir.clone();
    let listener = TcpListener::bind(config.address)
        .await
        .with_context(|| format!("cannot listen on {} (BIND_ADDRESS, PORT)", config.address))?;
    let address = listener.local_addr()?;
    let provider = Provider::open(config, Clock::system())
        .with_context(|| format!("cannot open the ledger in {} (DATA_DIR)", data_dir.display()))?;

    let (shutdown_sender, shutdown_receiver) = oneshot::channel::<()>();
    let server = axum::serve(listener, router(provider)).with_graceful_shutdown(async {
        // Resolves with an error when the sender is dropped, which is the signal to shut down.
        let _ = shutdown_receiver.await;
    });
    let server = tokio::spawn(server.into_future());
    tracing::info!(%address, "listening");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down: waiting for requests in progress");
    drop(shutdown_sender);
    match timeout(shutdown_timeout, server).await {
        Ok(result) => result??,
        Err(_) => tracing::warn!("shutdown timeout exceeded: closing open connections"),
    }
    Ok(())
}
