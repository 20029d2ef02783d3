//! What a service bears: heads of any size, more requests than it has room for, and a stop in the middle of one.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Extension,
    http::{StatusCode, header},
    routing::get,
};
use domain::Clock;
use http_server::{LoadShedLayer, PeerAddr, Readiness};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{get_request, send};

/// A server on a port of its own, and what stops it.
async fn start_server(routes: Router) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let router = http_server::with_common_middleware(routes, Clock::system());
    let server = tokio::spawn(http_server::serve_connections(listener, router, stop.clone()));
    (address, stop, server)
}

/// Everything that comes back for these bytes until the server closes the connection.
async fn send_raw(address: SocketAddr, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    // A server that has read enough may close before everything is sent.
    let _ = connection.write_all(request).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(10), connection.read_to_end(&mut answer))
        .await
        .expect("the server closes the connection");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_clearly() {
    let routes = Router::new().route("/things", get(async || "here"));
    let (address, ..) = start_server(routes).await;
    let head = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n{headers}\r\n").into_bytes()
    };
    let lines = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let cases = [
        ("right", head("/things?a=b", &lines(10)), "200"),
        (
            "4 KiB of address",
            head(&format!("/things?{}", "q".repeat(4096 - 8)), ""),
            "200",
        ),
        (
            "one byte more",
            head(&format!("/things?{}", "q".repeat(4096 - 7)), ""),
            "414 uri-too-long",
        ),
        (
            "60 KiB of address",
            head(&format!("/things?{}", "q".repeat(60 * 1024)), ""),
            "414 uri-too-long",
        ),
        (
            "a megabyte of address",
            head(&format!("/things?{}", "q".repeat(1024 * 1024)), ""),
            "431",
        ),
        ("64 headers", head("/things", &lines(62)), "200"),
        ("65 headers", head("/things", &lines(63)), "431 headers-too-large"),
        ("101 headers", head("/things", &lines(99)), "431"),
        (
            "16 KiB in one header",
            head("/things", &format!("x: {}\r\n", "y".repeat(16 * 1024))),
            "431 headers-too-large",
        ),
        (
            "a megabyte in one header",
            head("/things", &format!("x: {}\r\n", "y".repeat(1024 * 1024))),
            "431",
        ),
        ("no HTTP", b"\x16\x03\x01 hello\r\n\r\n".to_vec(), "400"),
    ];
    for (case, request, expected) in cases {
        let answer = send_raw(address, &request).await;
        let status = answer.get(9..12).unwrap_or("nothing");
        let slug = answer
            .split_once("https://matsuri.dev/problems/")
            .and_then(|(_, rest)| rest.split('"').next())
            .map_or(String::new(), |slug| format!(" {slug}"));
        assert_eq!(format!("{status}{slug}"), expected, "{case}: {answer}");
    }
}

#[tokio::test]
async fn every_answer_tells_a_browser_to_be_careful() {
    let routes = Router::new()
        .route("/data", get(async || "here"))
        .route(
            "/public",
            get(async || ([(header::CACHE_CONTROL, "no-cache")], "here")),
        )
        .route(
            "/panic",
            get(async || -> StatusCode { panic!("the panic is what is tested") }),
        );
    let router = http_server::with_common_middleware(routes, Clock::system());
    for path in ["/data", "/nothing", "/panic"] {
        let (answer, _) = send(router.clone(), get_request(path)).await;
        let told: Vec<String> = [
            "cache-control",
            "content-security-policy",
            "referrer-policy",
            "strict-transport-security",
            "x-content-type-options",
            "x-frame-options",
        ]
        .map(|name| answer.headers()[name].to_str().unwrap().to_owned())
        .into();
        assert_eq!(
            told,
            [
                "no-store",
                "default-src 'none'; frame-ancestors 'none'",
                "no-referrer",
                "max-age=63072000; includeSubDomains",
                "nosniff",
                "DENY",
            ],
            "{path}"
        );
    }
    let (answer, _) = send(router, get_request("/public")).await;
    assert_eq!(
        answer.headers()[header::CACHE_CONTROL],
        "no-cache",
        "a handler knows better"
    );
}

#[tokio::test]
async fn there_is_room_for_so_many_and_the_next_one_is_told_at_once() {
    let (go, began) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let wait = {
        let (go, began) = (go.clone(), began.clone());
        async move || {
            began.notify_one();
            go.notified().await;
            "done"
        }
    };
    let routes = Router::new()
        .route("/slow", get(wait))
        .route("/quick", get(async || "done"))
        .layer(LoadShedLayer::new(2));
    let health = http_server::health_routes(Readiness::default(), Vec::new());
    let router = http_server::with_common_middleware(routes.merge(health), Clock::system());
    let ask = |path: &str| {
        let (router, request) = (router.clone(), get_request(path));
        tokio::spawn(async move { send(router, request).await })
    };
    let first = ask("/slow");
    began.notified().await;
    let second = ask("/slow");
    began.notified().await;

    let refused = timeout(Duration::from_secs(1), ask("/quick"));
    let (refused, body) = refused.await.expect("it does not wait").unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert_eq!(body["type"], "https://matsuri.dev/problems/overloaded");
    let (health, _) = ask("/health").await.unwrap();
    assert_eq!(health.status(), StatusCode::OK, "whoever is busy is alive");
    let (ready, _) = ask("/ready").await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);

    // Whoever goes leaves his place, as does whoever is answered.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(ask("/quick").await.unwrap().0.status(), StatusCode::OK);
    go.notify_waiters();
    assert_eq!(second.await.unwrap().0.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_knows_its_peer_and_is_finished_when_the_service_stops() {
    let (go, began) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let wait = {
        let (go, began) = (go.clone(), began.clone());
        async move |Extension(PeerAddr(peer)): Extension<PeerAddr>| {
            began.notify_one();
            go.notified().await;
            peer.to_string()
        }
    };
    let (address, stop, server) = start_server(Router::new().route("/slow", get(wait))).await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    let idle = TcpStream::connect(address).await.unwrap();
    connection
        .write_all(b"GET /slow HTTP/1.1\r\nhost: shop\r\n\r\n")
        .await
        .unwrap();
    began.notified().await;
    stop.cancel();
    // The one that asks for nothing is closed; the one that waits for its answer gets it.
    let mut nothing = Vec::new();
    let mut idle = idle;
    let closed = timeout(Duration::from_secs(5), idle.read_to_end(&mut nothing)).await;
    assert_eq!(closed.expect("it is closed").unwrap(), 0);
    assert!(!server.is_finished());
    go.notify_one();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let local = connection.local_addr().unwrap().to_string();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(&local),
        "{answer}"
    );
    timeout(Duration::from_secs(5), server)
        .await
        .expect("it ends")
        .unwrap();
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}
