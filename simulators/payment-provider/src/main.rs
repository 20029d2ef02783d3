//! Serves the payment provider until SIGTERM or Ctrl-C.

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

/// How much longer than the slowest payment the end may take.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_env()?;
    telemetry::init(&config.log_level)
        .map_err(|error| anyhow::anyhow!(error))
        .context("LOG_LEVEL")?;

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let patience = config.slow_duration + SHUTDOWN_MARGIN;
    let data_dir = config.data_dir.clone();
    let listener = TcpListener::bind(config.address)
        .await
        .with_context(|| format!("cannot listen on {} (BIND_ADDRESS, PORT)", config.address))?;
    let address = listener.local_addr()?;
    let provider = Provider::open(config, Clock::system())
        .with_context(|| format!("cannot work with the folder {} (DATA_DIR)", data_dir.display()))?;

    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router(provider)).with_graceful_shutdown(async {
        // It ends when `stop` is dropped.
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    tracing::info!(%address, "listening");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("finishing what is under way");
    drop(stop);
    match timeout(patience, server).await {
        Ok(served) => served??,
        Err(_) => tracing::warn!("stopped in spite of open connections"),
    }
    Ok(())
}
