//! Limits of a request's URI and headers.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::start_server;

/// Sends bytes, and returns all bytes that the server sends until it closes the connection.
async fn send_raw(address: SocketAddr, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    // The server may close the connection before it has read the whole request.
    let _ = connection.write_all(request).await;
    let mut response = Vec::new();
    let _ = timeout(Duration::from_secs(10), connection.read_to_end(&mut response))
        .await
        .expect("the server closes the connection");
    String::from_utf8(response).unwrap()
}

#[tokio::test]
async fn rejects_oversized_request_heads() {
    let routes = Router::new().route("/things", get(async || "here"));
    let (address, ..) = start_server(routes).await;
    let head = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n{headers}\r\n").into_bytes()
    };
    let headers = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let cases = [
        ("valid", head("/things?a=b", &headers(10)), "200"),
        (
            "URI of 4 KiB",
            head(&format!("/things?{}", "q".repeat(4096 - 8)), ""),
            "200",
        ),
        (
            "URI of 4 KiB and one byte",
            head(&format!("/things?{}", "q".repeat(4096 - 7)), ""),
            "414 uri-too-long",
        ),
        (
            "URI of 60 KiB",
            head(&format!("/things?{}", "q".repeat(60 * 1024)), ""),
            "414 uri-too-long",
        ),
        (
            "URI of 1 MiB",
            head(&format!("/things?{}", "q".repeat(1024 * 1024)), ""),
            "431",
        ),
        ("64 headers", head("/things", &headers(62)), "200"),
        (
            "65 headers",
            head("/things", &headers(63)),
            "431 headers-too-large",
        ),
        ("101 headers", head("/things", &headers(99)), "431"),
        (
            "header of 16 KiB",
            head("/things", &format!("x: {}\r\n", "y".repeat(16 * 1024))),
            "431 headers-too-large",
        ),
        (
            "header of 1 MiB",
            head("/things", &format!("x: {}\r\n", "y".repeat(1024 * 1024))),
            "431",
        ),
        ("not HTTP", b"\x16\x03\x01 hello\r\n\r\n".to_vec(), "400"),
    ];
    for (case, request, expected) in cases {
        let response = send_raw(address, &request).await;
        let status = response.get(9..12).unwrap_or("no response");
        let slug = response
            .split_once("https://matsuri.dev/problems/")
            .and_then(|(_, rest)| rest.split('"').next())
            .map_or(String::new(), |slug| format!(" {slug}"));
        assert_eq!(format!("{status}{slug}"), expected, "{case}: {response}");
    }
}
