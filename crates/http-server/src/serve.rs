//! Serving until told to stop, and stopping in order.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, time::Duration};

use axum::{Router, body::Body, http::Request, routing::future::RouteFuture, serve::Listener};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::{Readiness, client_ip::PeerAddr};

/// How long requests that run may take to end once no new ones are taken.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(27);

/// How long a connection may go without a whole head of a request: longer than a load balancer keeps one that it does not
/// use (60 s by default), or it would send a request into one that we are closing.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);

/// The most bytes of a head that are read at all. What is larger than it should be and smaller than this is told so by a
/// problem document; what is larger still, by the status alone. hyper refuses more than a hundred header lines likewise.
const MAX_HEAD_BYTES: usize = 64 * 1024;

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
    let server = tokio::spawn(serve_connections(listener, router, stop.clone()));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(drain_seconds = drain.as_secs(), "stopping");
    readiness.mark_unready();
    tokio::time::sleep(drain).await;
    stop.cancel();
    match tokio::time::timeout(SHUTDOWN_TIMEOUT, server).await {
        Ok(ended) => ended.map_err(io::Error::other),
        Err(_) => {
            tracing::warn!("requests were still running at the end");
            Ok(())
        }
    }
}

/// Takes connections until `stop`, and returns when those that there were have ended. HTTP/1.1, as load balancers speak it.
pub async fn serve_connections(mut listener: TcpListener, router: Router, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let service = ConnectionService {
            router: router.clone(),
            peer,
        };
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let stop = stop.clone();
        connections.spawn(async move {
            let mut connection = pin!(connection);
            // How a connection ends is its client's business.
            tokio::select! {
                biased;
                _ = connection.as_mut() => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The routes for one connection.
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
        request.extensions_mut().insert(PeerAddr(self.peer));
        self.router.clone().call(request)
    }
}
