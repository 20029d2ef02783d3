//! Graceful shutdown, and the peer address of a connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};

use crate::support::start_server;

#[tokio::test]
async fn shutdown_finishes_running_requests_and_closes_idle_connections() {
    let (finish, started) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow_handler = {
        let (finish, started) = (finish.clone(), started.clone());
        async move |ConnectInfo(peer): ConnectInfo<SocketAddr>| {
            started.notify_one();
            finish.notified().await;
            peer.to_string()
        }
    };
    let (address, stop, server) = start_server(Router::new().route("/slow", get(slow_handler))).await;
    let mut busy = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: shop\r\n\r\n")
        .await
        .unwrap();
    started.notified().await;
    stop.cancel();

    let closed = timeout(Duration::from_secs(5), idle.read_to_end(&mut Vec::new())).await;
    assert_eq!(closed.expect("the server closes the idle connection").unwrap(), 0);
    assert!(!server.is_finished());
    finish.notify_one();
    let mut response = String::new();
    busy.read_to_string(&mut response).await.unwrap();
    let peer_address = busy.local_addr().unwrap().to_string();
    assert!(
        response.starts_with("HTTP/1.1 200") && response.ends_with(&peer_address),
        "{response}"
    );
    timeout(Duration::from_secs(5), server)
        .await
        .expect("the server stops after the last request")
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}
