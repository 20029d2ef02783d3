//! Test support: a provider per test with a test clock, and an API client.

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
use payment_provider::{Config, Provider, events::WebhookEndpoint, router};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// How long `pm_unavailable` fails, by the test clock.
pub const UNAVAILABLE_SECONDS: i64 = 3;

pub struct TestApp {
    pub client: ApiClient,
    clock_seconds: Arc<AtomicI64>,
    _data_dir: TempDir,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Starts a provider that sends events to this endpoint.
    pub async fn start_with(webhook: Option<WebhookEndpoint>) -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let base_url = format!("http://{address}");
        let config = Config {
            address,
            public_url: base_url.clone(),
            data_dir: data_dir.path().into(),
            unavailable_duration: Duration::from_secs(UNAVAILABLE_SECONDS.unsigned_abs()),
            slow_duration: Duration::from_millis(300),
            webhook,
            log_level: "off".into(),
        };
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let clock = {
            let seconds = seconds.clone();
            Clock::from_fn(move || DateTime::from_timestamp(seconds.load(Ordering::Relaxed), 0).unwrap())
        };
        let provider = Provider::open(config, clock).unwrap();
        tokio::spawn(async move { axum::serve(listener, router(provider)).await });
        Self {
            client: ApiClient::new(base_url),
            clock_seconds: seconds,
            _data_dir: data_dir,
        }
    }

    pub fn advance_clock(&self, seconds: i64) {
        self.clock_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// A client with a test key.
#[derive(Clone)]
pub struct ApiClient {
    base_url: String,
    http: reqwest::Client,
}

#[derive(Debug, PartialEq)]
pub struct ApiResponse {
    pub status: u16,
    pub replayed: bool,
    pub body: Value,
}

impl ApiResponse {
    /// The id of the resource.
    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }

    /// Status, `type`, `code` and `param` of an error.
    pub fn error(&self) -> (u16, &str, &str, &str) {
        let text = |name| self.body["error"][name].as_str().unwrap_or_default();
        assert!(!text("message").is_empty(), "an error has a message: {self:?}");
        (self.status, text("type"), text("code"), text("param"))
    }

    /// HTTP status and the payment's status.
    pub fn status_and_state(&self) -> (u16, &str) {
        (self.status, self.body["status"].as_str().unwrap_or_default())
    }
}

impl ApiClient {
    pub fn new(base_url: String) -> Self {
        Self {
            base_url,
            http: reqwest::Client::new(),
        }
    }

    /// Starts a request without an API key.
    pub fn unauthenticated_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base_url))
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

    /// Sends a POST with an idempotency key. Fails when the connection breaks.
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

    /// Creates a payment of 1500 yen that requires confirmation. Returns its id.
    pub async fn create_payment(&self, method: &str) -> String {
        let params = [
            ("amount", "1500"),
            ("currency", "jpy"),
            ("payment_method", method),
        ];
        let response = self.post("/v1/payment_intents", &params).await;
        assert_eq!(response.status_and_state(), (200, "requires_confirmation"));
        response.id()
    }

    pub async fn confirm(&self, id: &str) -> ApiResponse {
        self.post(&format!("/v1/payment_intents/{id}/confirm"), &[]).await
    }

    /// Confirms a payment with the method `pm_slow`, and returns the pending response once the request is in
    /// progress. It sends two requests with one key: the rejection of one proves that the other is in
    /// progress.
    pub async fn start_slow_confirmation(&self, key: &str, id: &str) -> impl Future<Output = ApiResponse> {
        let path = format!("/v1/payment_intents/{id}/confirm");
        let attempt = || {
            let (client, key, path) = (self.clone(), key.to_owned(), path.clone());
            async move { client.post_with_key(&key, &path, &[]).await }.boxed()
        };
        let (rejected, in_progress) = select(attempt(), attempt()).await.factor_first();
        assert_eq!(
            rejected.error(),
            (409, "idempotency_error", "idempotency_key_in_use", "")
        );
        in_progress
    }

    /// Creates a payment, whose confirmation requires the customer to authenticate. Returns the confirmed
    /// payment.
    pub async fn payment_to_authenticate(&self, method: &str, return_url: &str) -> ApiResponse {
        let path = format!(
            "/v1/payment_intents/{}/confirm",
            self.create_payment(method).await
        );
        let confirmed = self.post(&path, &[("return_url", return_url)]).await;
        assert_eq!(confirmed.status_and_state(), (200, "requires_action"));
        confirmed
    }

    /// Submits the customer's choice on the page of a payment. Returns the status and where the page sends
    /// the customer.
    pub async fn authenticate(&self, intent: &Value, choice: &str) -> (u16, Option<String>) {
        let page = intent["next_action"]["redirect_to_url"]["url"].as_str().unwrap();
        let browser = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let submitted = browser
            .post(page)
            .form(&[("choice", choice)])
            .send()
            .await
            .unwrap();
        let location = submitted.headers().get("location");
        (
            submitted.status().as_u16(),
            location.map(|location| location.to_str().unwrap().to_owned()),
        )
    }

    pub async fn find_payment(&self, id: &str) -> ApiResponse {
        self.get(&format!("/v1/payment_intents/{id}")).await
    }
}
