//! A provider of its own for each test, with a clock that the test turns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::DateTime;
use domain::Clock;
use futures::{FutureExt, future::select};
use payment_provider::{Config, Provider, router};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// How long `pm_unavailable` refuses, by the test's clock.
pub const UNAVAILABLE_SECONDS: i64 = 3;

/// A running provider.
pub struct TestApp {
    pub client: ApiClient,
    clock_seconds: Arc<AtomicI64>,
    _data_dir: TempDir,
}

impl TestApp {
    pub async fn start() -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let config = Config {
            address: ([127, 0, 0, 1], 0).into(),
            data_dir: data_dir.path().into(),
            unavailable_duration: Duration::from_secs(UNAVAILABLE_SECONDS.unsigned_abs()),
            slow_duration: Duration::from_millis(300),
            log_level: "off".into(),
        };
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let clock = {
            let seconds = seconds.clone();
            Clock::from_fn(move || DateTime::from_timestamp(seconds.load(Ordering::Relaxed), 0).unwrap())
        };
        let listener = TcpListener::bind(config.address).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let provider = Provider::open(config, clock).unwrap();
        tokio::spawn(async move { axum::serve(listener, router(provider)).await });
        Self {
            client: ApiClient::new(base),
            clock_seconds: seconds,
            _data_dir: data_dir,
        }
    }

    pub fn advance_clock(&self, seconds: i64) {
        self.clock_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// A caller with a test key.
#[derive(Clone)]
pub struct ApiClient {
    base: String,
    http: reqwest::Client,
}

/// What a caller sees.
#[derive(Debug, PartialEq)]
pub struct ApiResponse {
    pub status: u16,
    pub replayed: bool,
    pub body: Value,
}

impl ApiResponse {
    /// The id of the object.
    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }

    /// Status, `type`, `code` and `param` of an error.
    pub fn error(&self) -> (u16, &str, &str, &str) {
        let text = |name| self.body["error"][name].as_str().unwrap_or_default();
        assert!(
            !text("message").is_empty(),
            "an error says what is wrong: {self:?}"
        );
        (self.status, text("type"), text("code"), text("param"))
    }

    /// Status and state of a payment that was answered.
    pub fn status_and_state(&self) -> (u16, &str) {
        (self.status, self.body["status"].as_str().unwrap_or_default())
    }
}

impl ApiClient {
    pub fn new(base: String) -> Self {
        Self {
            base,
            http: reqwest::Client::new(),
        }
    }

    /// A request without a key or a body.
    pub fn unauthenticated_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.unauthenticated_request(method, path)
            .bearer_auth("sk_test_key")
    }

    pub async fn try_send(&self, request: RequestBuilder) -> Result<ApiResponse, reqwest::Error> {
        let response = request.send().await?;
        Ok(ApiResponse {
            status: response.status().as_u16(),
            replayed: response
                .headers()
                .get("idempotent-replayed")
                .is_some_and(|value| value == "true"),
            body: response.json().await?,
        })
    }

    pub async fn send(&self, request: RequestBuilder) -> ApiResponse {
        self.try_send(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> ApiResponse {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, params: &[(&str, &str)]) -> ApiResponse {
        self.send(self.request(Method::POST, path).form(params)).await
    }

    /// A POST with an idempotency key, which may fail on its way.
    pub async fn try_post_with_key(
        &self,
        key: &str,
        path: &str,
        params: &[(&str, &str)],
    ) -> Result<ApiResponse, reqwest::Error> {
        self.try_send(
            self.request(Method::POST, path)
                .header("Idempotency-Key", key)
                .form(params),
        )
        .await
    }

    pub async fn post_with_key(&self, key: &str, path: &str, params: &[(&str, &str)]) -> ApiResponse {
        self.try_post_with_key(key, path, params).await.unwrap()
    }

    /// A payment of 1500 yen that waits for its confirmation.
    pub async fn create_payment(&self, method: &str) -> String {
        let params = [
            ("amount", "1500"),
            ("currency", "jpy"),
            ("payment_method", method),
        ];
        let answer = self.post("/v1/payment_intents", &params).await;
        assert_eq!(answer.status_and_state(), (200, "requires_confirmation"));
        answer.id()
    }

    pub async fn confirm(&self, id: &str) -> ApiResponse {
        self.post(&format!("/v1/payment_intents/{id}/confirm"), &[]).await
    }

    /// Confirms a payment with the method `pm_slow`, and returns when that is surely under way: of two
    /// requests with one key, the one that is refused tells it of the other, which is returned.
    pub async fn start_slow_confirmation(&self, key: &str, id: &str) -> impl Future<Output = ApiResponse> {
        let path = format!("/v1/payment_intents/{id}/confirm");
        let attempt = || {
            let (client, key, path) = (self.clone(), key.to_owned(), path.clone());
            async move { client.post_with_key(&key, &path, &[]).await }.boxed()
        };
        let (refused, under_way) = select(attempt(), attempt()).await.factor_first();
        assert_eq!(
            refused.error(),
            (409, "idempotency_error", "idempotency_key_in_use", "")
        );
        under_way
    }

    pub async fn find_payment(&self, id: &str) -> ApiResponse {
        self.get(&format!("/v1/payment_intents/{id}")).await
    }
}
