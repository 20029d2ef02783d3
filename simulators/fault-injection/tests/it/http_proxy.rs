//! Requests through the proxy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap};
use fault_injection::{NetworkFault, Rule, RuleEngine, Upstream, proxy};
use reqwest::StatusCode;
use tokio::net::TcpListener;

struct TestContext {
    rules: Arc<RuleEngine>,
    url: String,
    /// How many requests the upstream has answered.
    served: Arc<AtomicU32>,
    http: reqwest::Client,
}

/// Repeats what it is told, with the host that it was asked as.
async fn echo(State(served): State<Arc<AtomicU32>>, headers: HeaderMap, body: Bytes) -> String {
    served.fetch_add(1, Ordering::SeqCst);
    let (host, body) = (headers["host"].to_str().unwrap(), String::from_utf8_lossy(&body));
    format!("{host} {body}")
}

impl TestContext {
    async fn new() -> (Self, String) {
        let served = Arc::new(AtomicU32::new(0));
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap().to_string();
        let routes = Router::new().fallback(echo).with_state(Arc::clone(&served));
        tokio::spawn(async move { axum::serve(upstream, routes).await });

        let plan = Arc::new(RuleEngine::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/reservations", listener.local_addr().unwrap());
        tokio::spawn(proxy::serve(
            listener,
            Upstream::StockService,
            address.clone(),
            Arc::clone(&plan),
        ));
        let http = reqwest::Client::new();
        let world = Self {
            rules: plan,
            url,
            served,
            http,
        };
        (world, address)
    }

    fn add_rule(&self, fault: NetworkFault) {
        let rule = Rule::for_operation(Upstream::StockService, "POST /v1/reservations", fault);
        self.rules.add_rule(rule.containing("order-1").limit_hits(1));
    }

    async fn post(&self, body: &'static str) -> reqwest::Result<(StatusCode, String)> {
        let answer = self.http.post(&self.url).body(body).send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    fn served(&self) -> u32 {
        self.served.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_request_passes_as_it_is_and_is_counted() {
    let (world, address) = TestContext::new().await;
    world.add_rule(NetworkFault::Disconnect);
    let (status, text) = world.post("of order-2").await.unwrap();
    assert_eq!((status, text), (StatusCode::OK, format!("{address} of order-2")));
    assert_eq!(world.rules.counts()["stock-service"]["POST /v1/reservations"], 1);
}

#[tokio::test]
async fn refused_and_cut_requests_have_no_effect() {
    let (world, _) = TestContext::new().await;
    world.add_rule(NetworkFault::Refuse);
    assert_eq!(
        world.post("order-1").await.unwrap().0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    world.add_rule(NetworkFault::Disconnect);
    world.post("order-1").await.unwrap_err();
    assert_eq!(world.served(), 0);
    world.post("order-1").await.unwrap();
    assert_eq!(world.served(), 1);
}

#[tokio::test]
async fn a_lost_answer_had_its_effect() {
    let (world, _) = TestContext::new().await;
    world.add_rule(NetworkFault::DropResponse);
    world.post("order-1").await.unwrap_err();
    assert_eq!(world.served(), 1);
}

#[tokio::test]
async fn a_duplicate_reaches_the_upstream_twice_and_is_answered_once() {
    let (world, _) = TestContext::new().await;
    world.add_rule(NetworkFault::Duplicate);
    assert_eq!(world.post("order-1").await.unwrap().0, StatusCode::OK);
    assert_eq!(world.served(), 2);
}

#[tokio::test]
async fn a_delay_delays() {
    let (world, _) = TestContext::new().await;
    world.add_rule(NetworkFault::Delay(300));
    let asked = Instant::now();
    world.post("order-1").await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(300));
}
