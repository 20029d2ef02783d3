//! The proxy for HTTP. Requests are read whole, because a rule may want to see or repeat them; answers stream.

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
use crate::{NetworkFault, RuleEngine, Upstream};

/// More than any request of ours is long.
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

struct HttpProxy {
    upstream: Upstream,
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
    rules: Arc<RuleEngine>,
}

/// Why a connection ends instead of carrying an answer.
#[derive(Debug, thiserror::Error)]
enum ProxyError {
    #[error("the request cannot be read: {0}")]
    ReadRequest(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the upstream does not answer")]
    Upstream(#[from] hyper_util::client::legacy::Error),
    #[error("the upstream's answer breaks off: {0}")]
    ReadResponse(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a rule cuts the connection")]
    InjectedDisconnect,
}

type ProxyResponse = Response<Either<Incoming, Full<Bytes>>>;

pub(super) async fn serve(listener: TcpListener, upstream: Upstream, address: String, plan: Arc<RuleEngine>) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let proxy = Arc::new(HttpProxy {
        upstream,
        address,
        client,
        rules: plan,
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, perhaps; they come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // A small answer must not wait for the acknowledgement of another one.
        let _ = stream.set_nodelay(true);
        let proxy = Arc::clone(&proxy);
        let service = service_fn(move |request| {
            let proxy = Arc::clone(&proxy);
            async move { proxy.handle(request).await }
        });
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, ?upstream, "a connection broke off");
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
        let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let key = head
            .headers
            .get("idempotency-key")
            .map_or(&b""[..], |key| key.as_bytes());
        let content = [path.as_bytes(), b"\n", key, b"\n", &body].concat();
        let fault = self.rules.fault_for_request(self.upstream, &operation, &content);

        let uri = format!("http://{}{path}", self.address);
        head.uri = uri
            .parse::<Uri>()
            .map_err(|error| ProxyError::ReadRequest(error.into()))?;
        // The upstream's own name, so that it answers as if it had been asked directly.
        head.headers.remove(HOST);
        head.headers.remove(CONNECTION);

        let Some(fault) = fault else {
            return self.forward(&head, body).await;
        };
        tracing::info!(
            upstream = self.upstream.name(),
            operation,
            ?fault,
            "a request is disturbed"
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
        let mut answer = self.client.request(request).await?;
        answer.headers_mut().remove(CONNECTION);
        Ok(answer.map(Either::Left))
    }
}

/// Waits for the end of an answer that nobody gets: what it answers is done then.
async fn drain_response(answer: ProxyResponse) -> Result<(), ProxyError> {
    let read = answer.into_body().collect().await;
    read.map(drop).map_err(ProxyError::ReadResponse)
}

/// What a program says that is away for a moment.
fn service_unavailable() -> ProxyResponse {
    let body = Full::new(Bytes::from_static(
        br#"{"message":"refused by a rule of the test"}"#,
    ));
    let mut answer = Response::new(Either::Right(body));
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let json = hyper::header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}
