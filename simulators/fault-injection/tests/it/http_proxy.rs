//! Tests of the HTTP proxy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap};
use fault_injection::{AwsCall, NetworkFault, Rule, RuleEngine, Upstream, proxy};
use reqwest::StatusCode;
use tokio::net::TcpListener;

struct TestContext {
    rules: Arc<RuleEngine>,
    url: String,
    /// Number of requests that the upstream has received.
    served: Arc<AtomicU32>,
    http: reqwest::Client,
}

/// Responds with the request's host and body.
async fn echo(State(served): State<Arc<AtomicU32>>, headers: HeaderMap, body: Bytes) -> String {
    served.fetch_add(1, Ordering::SeqCst);
    let (host, body) = (headers["host"].to_str().unwrap(), String::from_utf8_lossy(&body));
    format!("{host} {body}")
}

impl TestContext {
    /// Returns the context and the upstream's address.
    async fn new() -> (Self, String) {
        Self::for_upstream(Upstream::StockService).await
    }

    async fn for_upstream(upstream: Upstream) -> (Self, String) {
        let served = Arc::new(AtomicU32::new(0));
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let routes = Router::new().fallback(echo).with_state(Arc::clone(&served));
        tokio::spawn(async move { axum::serve(server, routes).await });

        let rules = Arc::new(RuleEngine::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/reservations", listener.local_addr().unwrap());
        tokio::spawn(proxy::serve_http(
            listener,
            upstream,
            address.clone(),
            Arc::clone(&rules),
        ));
        let http = reqwest::Client::new();
        let context = Self {
            rules,
            url,
            served,
            http,
        };
        (context, address)
    }

    fn add_rule(&self, fault: NetworkFault) {
        let rule = Rule::for_operation(Upstream::StockService, "POST /v1/reservations", fault);
        self.rules.add_rule(rule.containing("order-1").limit_hits(1));
    }

    async fn post(&self, body: &'static str) -> reqwest::Result<(StatusCode, String)> {
        let response = self.http.post(&self.url).body(body).send().await?;
        Ok((response.status(), response.text().await?))
    }

    fn served(&self) -> u32 {
        self.served.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn unmatched_requests_are_forwarded_unchanged_and_counted() {
    let (context, address) = TestContext::new().await;
    context.add_rule(NetworkFault::Disconnect);
    let (status, text) = context.post("for order-2").await.unwrap();
    assert_eq!((status, text), (StatusCode::OK, format!("{address} for order-2")));
    assert_eq!(
        context.rules.counts()["stock-service"]["POST /v1/reservations"],
        1
    );
}

#[tokio::test]
async fn refused_and_disconnected_requests_have_no_effect() {
    let (context, _) = TestContext::new().await;
    context.add_rule(NetworkFault::Refuse);
    assert_eq!(
        context.post("order-1").await.unwrap().0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    context.add_rule(NetworkFault::Disconnect);
    context.post("order-1").await.unwrap_err();
    assert_eq!(context.served(), 0);
    context.post("order-1").await.unwrap();
    assert_eq!(context.served(), 1);
}

#[tokio::test]
async fn a_dropped_response_leaves_the_effect() {
    let (context, _) = TestContext::new().await;
    context.add_rule(NetworkFault::DropResponse);
    context.post("order-1").await.unwrap_err();
    assert_eq!(context.served(), 1);
}

#[tokio::test]
async fn a_duplicate_reaches_the_upstream_twice_with_one_response() {
    let (context, _) = TestContext::new().await;
    context.add_rule(NetworkFault::Duplicate);
    assert_eq!(context.post("order-1").await.unwrap().0, StatusCode::OK);
    assert_eq!(context.served(), 2);
}

#[tokio::test]
async fn a_delayed_request_takes_at_least_the_delay() {
    let (context, _) = TestContext::new().await;
    context.add_rule(NetworkFault::Delay(300));
    let started = Instant::now();
    context.post("order-1").await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn calls_to_aws_are_remembered_with_their_caller() {
    let (context, _) = TestContext::for_upstream(Upstream::Aws).await;
    let signature = "AWS4-HMAC-SHA256 Credential=complete-order/20261121/ap-northeast-1/dynamodb/aws4_request, \
                     SignedHeaders=host, Signature=0";
    for _ in 0..2 {
        let request = context.http.post(&context.url);
        let request = request
            .header("authorization", signature)
            .header("x-amz-target", "DynamoDB_20120810.GetItem")
            .body(r#"{"TableName":"ecommerce-orders"}"#);
        request.send().await.unwrap();
    }
    let call = AwsCall {
        caller: "complete-order".to_owned(),
        action: "dynamodb:GetItem".to_owned(),
        resource: "arn:aws:dynamodb:ap-northeast-1:000000000000:table/ecommerce-orders".to_owned(),
    };
    assert_eq!(context.rules.aws_calls().into_iter().collect::<Vec<_>>(), [call]);
}
