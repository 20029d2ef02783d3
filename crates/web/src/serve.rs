//! Serving until told to stop, and stopping in order.

use std::{future::IntoFuture, io, time::Duration};

use axum::Router;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::Readiness;

/// How long requests that run may take to end once no new ones are taken.
const FINISH_WITHIN: Duration = Duration::from_secs(27);

/// Serves until SIGTERM or SIGINT. Then: unready; `drain` for the load balancer to notice, during which
/// requests are still served; no new connections; what runs is finished, in bounded time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    readiness: Readiness,
    drain: Duration,
) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(address = %listener.local_addr()?, "listening");

    let stop = CancellationToken::new();
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let server = tokio::spawn(server.into_future());

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(drain_seconds = drain.as_secs(), "stopping");
    readiness.withdraw();
    tokio::time::sleep(drain).await;
    stop.cancel();
    match tokio::time::timeout(FINISH_WITHIN, server).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(failed)) => Err(io::Error::other(failed)),
        Err(_) => {
            tracing::warn!("requests were still running at the end");
            Ok(())
        }
    }
}
