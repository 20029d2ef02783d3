//! The W3C trace context of a request.

use axum::{body::Body, http::Request};

use crate::support::{send, test_router};

#[tokio::test]
async fn continues_the_clients_trace_and_replaces_an_invalid_one() {
    let trace = async |header: &str| {
        let request = Request::get("/trace")
            .header("traceparent", header)
            .body(Body::empty())
            .unwrap();
        send(test_router(), request).await.1.as_str().unwrap().to_owned()
    };
    let client = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let continued = trace(client).await;
    assert_eq!(continued[..36], client[..36]);
    assert_ne!(continued, client);
    assert!(trace("nonsense").await.starts_with("00-"));
}
