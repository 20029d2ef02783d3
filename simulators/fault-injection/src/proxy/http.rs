//! The proxy for HTTP. It buffers requests, because rules match their content and may repeat them. It streams
//! responses.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{CONNECTION, CONTENT_TYPE, HOST},
    http::{request::Parts, uri::PathAndQuery},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

use super::operation_name::operation_name;
use crate::{NetworkFault, RuleEngine, Upstream, aws_call::aws_calls};

/// Above the size of every request between our services.
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

struct HttpProxy {
    upstream: Upstream,
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
    rules: Arc<RuleEngine>,
}

/// Why the proxy closes a connection without a response.
#[derive(Debug, thiserror::Error)]
enum ProxyError {
    #[error("cannot read the request: {0}")]
    ReadRequest(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the upstream does not respond")]
    Upstream(#[from] hyper_util::client::legacy::Error),
    #[error("cannot read the upstream's response: {0}")]
    ReadResponse(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a fault rule closes the connection")]
    InjectedDisconnect,
}

type ProxyResponse = Response<Either<Incoming, Full<Bytes>>>;

/// Forwards requests from `listener` to the upstream at `address` and injects faults. Never returns.
pub async fn serve(listener: TcpListener, upstream: Upstream, address: String, rules: Arc<RuleEngine>) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let proxy = Arc::new(HttpProxy {
        upstream,
        address,
        client,
        rules,
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Possibly out of file descriptors. Try again after a pause.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Nagle's algorithm would delay small responses until the previous one is acknowledged.
        let _ = stream.set_nodelay(true);
        let proxy = Arc::clone(&proxy);
        let service = service_fn(move |request| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.handle(request).await }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, ?upstream, "a connection failed");
            }
        });
    }
}

impl HttpProxy {
    async fn handle(&self, request: Request<Incoming>) -> Result<ProxyResponse, ProxyError> {
        let (mut head, body) = request.into_parts();
        let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await;
        let body = body.map_err(ProxyError::ReadRequest)?.to_bytes();
        let operation = operation_name(self.upstream, &head, &body);
        if self.upstream == Upstream::Aws {
            self.rules.record_aws_calls(aws_calls(&operation, &head, &body));
        }
        let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let idempotency_key = head
            .headers
            .get("idempotency-key")
            .map_or(&b""[..], |value| value.as_bytes());
        let content = [path.as_bytes(), b"\n", idempotency_key, b"\n", &body].concat();
        let fault = self.rules.fault_for_request(self.upstream, &operation, &content);

        let uri = format!("http://{}{path}", self.address);
        head.uri = uri
            .parse::<Uri>()
            .map_err(|error| ProxyError::ReadRequest(error.into()))?;
        // The client then sends the upstream's host, so that the upstream responds as to a direct request.
        head.headers.remove(HOST);
        head.headers.remove(CONNECTION);

        let Some(fault) = fault else {
            return self.forward(&head, body).await;
        };
        tracing::info!(
            upstream = self.upstream.name(),
            operation,
            ?fault,
            "injecting a fault into a request"
        );
        match fault {
            NetworkFault::Refuse => Ok(service_unavailable()),
            NetworkFault::Disconnect => Err(ProxyError::InjectedDisconnect),
            NetworkFault::Delay(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                self.forward(&head, body).await
            }
            NetworkFault::DropResponse => {
                drain_response(self.forward(&head, body).await?).await?;
                Err(ProxyError::InjectedDisconnect)
            }
            NetworkFault::Duplicate => {
                drain_response(self.forward(&head, body.clone()).await?).await?;
                self.forward(&head, body).await
            }
        }
    }

    async fn forward(&self, head: &Parts, body: Bytes) -> Result<ProxyResponse, ProxyError> {
        let request = Request::from_parts(head.clone(), Full::new(body));
        let mut response = self.client.request(request).await?;
        response.headers_mut().remove(CONNECTION);
        Ok(response.map(Either::Left))
    }
}

/// Reads a response that is not forwarded to its end, which proves that the request has taken effect.
async fn drain_response(response: ProxyResponse) -> Result<(), ProxyError> {
    let body = response.into_body().collect().await;
    body.map(drop).map_err(ProxyError::ReadResponse)
}

/// The response of a service that is temporarily unavailable.
fn service_unavailable() -> ProxyResponse {
    let body = Full::new(Bytes::from_static(br#"{"message":"refused by a fault rule"}"#));
    let mut response = Response::new(Either::Right(body));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
