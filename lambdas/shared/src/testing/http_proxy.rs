//! A proxy that answers some requests itself, in front of the local AWS or of a simulator.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;

struct Proxy {
    upstream_url: String,
    http: reqwest::Client,
    answer: Answer,
}

type Answer = Box<dyn Fn(&Parts, &[u8]) -> Option<Response> + Send + Sync>;

/// Starts a proxy to the server at `upstream_url` and returns its URL. `answer` gets each request and its
/// body; the proxy forwards the requests for which it returns `None`.
///
/// # Panics
///
/// When no local port is free.
pub async fn start_proxy(
    upstream_url: &str,
    answer: impl Fn(&Parts, &[u8]) -> Option<Response> + Send + Sync + 'static,
) -> String {
    let proxy = Arc::new(Proxy {
        upstream_url: upstream_url.to_owned(),
        http: reqwest::Client::new(),
        answer: Box::new(answer),
    });
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a local port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let router = Router::new().fallback(forward).with_state(proxy);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn forward(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if let Some(response) = (proxy.answer)(&parts, &body) {
        return response;
    }
    let url = format!("{}{}", proxy.upstream_url, parts.uri);
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let request = proxy.http.request(parts.method, url).headers(headers).body(body);
    let response = async {
        let response = request.send().await?;
        let (status, mut headers) = (response.status(), response.headers().clone());
        headers.remove(header::TRANSFER_ENCODING);
        Ok::<_, reqwest::Error>((status, headers, response.bytes().await?))
    };
    response.await.map_or_else(
        |_| StatusCode::BAD_GATEWAY.into_response(),
        IntoResponse::into_response,
    )
}
