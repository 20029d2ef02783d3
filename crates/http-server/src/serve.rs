//! Accepts connections, and shuts down gracefully on SIGTERM or SIGINT.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use axum::{
    Router, body::Body, extract::ConnectInfo, http::Request, routing::future::RouteFuture, serve::Listener,
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::Readiness;

/// How long running requests may take to finish after the server has stopped accepting connections.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(27);

/// How long a connection may take to send a complete request head. Longer than the idle timeout of a load
/// balancer's connection (60 s by default), or the load balancer would send a request into a connection that
/// we are closing.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);

/// The largest request head that hyper reads. A smaller head above our own limits gets a problem document; a
/// larger one gets the bare status 431, as does a request with more than a hundred header lines.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Serves requests until SIGTERM or SIGINT, then shuts down:
///
/// 1. `/ready` responds with 503. Requests are still served for the duration of `drain`, in which the load
///    balancer stops sending them.
/// 2. The server stops accepting connections and waits, at most [`SHUTDOWN_TIMEOUT`], for running requests to
///    finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    readiness: Readiness,
    drain: Duration,
) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing::info!(address = %listener.local_addr()?, "listening");

    let stop = CancellationToken::new();
    let server = tokio::spawn(serve_connections(listener, router, stop.clone()));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(drain_seconds = drain.as_secs(), "shutting down");
    readiness.mark_unready();
    tokio::time::sleep(drain).await;
    stop.cancel();
    match tokio::time::timeout(SHUTDOWN_TIMEOUT, server).await {
        Ok(result) => result.map_err(io::Error::other),
        Err(_) => {
            tracing::warn!("shutdown timed out with requests still running");
            Ok(())
        }
    }
}

/// Accepts connections until `stop` is cancelled, and returns when all open connections have finished their
/// requests. Speaks HTTP/1.1, as load balancers do. Each request carries its peer's address as
/// `ConnectInfo<SocketAddr>`.
pub async fn serve_connections(mut listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    let connections = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = stop.cancelled() => break,
        };
        let service = ConnectionService {
            router: router.clone(),
            peer,
        };
        // Connection errors are ignored: the client may disconnect at any time.
        tokio::spawn(connections.watch(http.serve_connection(TokioIo::new(stream), service)));
    }
    drop(listener);
    connections.shutdown().await;
}

/// The routes, for the requests of one connection.
struct ConnectionService {
    router: Router,
    peer: SocketAddr,
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        self.router.clone().call(request)
    }
}
