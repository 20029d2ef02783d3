//! The system that runs, and the people who use it. For tests: what is not as expected panics.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api_client;
mod auth_client;
pub mod aws;
pub mod test_users;

use std::{env, fs, future::Future, path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};
use domain::Clock;
use fault_injection::FaultClient;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};

use users::Users;

pub use auth_client::{Session, TestUser};
pub use test_users::ApiCaller;

/// How long a condition is waited for. Orders take a second on a quiet machine; this one may be busy.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Tests that switch a part of the system off hold this alone; all others hold it together.
static SYSTEM_LOCK: RwLock<()> = RwLock::const_new(());

/// The running system.
pub struct TestSystem {
    /// Whom all requests go out by.
    pub http: Client,
    /// The front door: where clients come in, and who issues people's tokens.
    pub gateway_url: String,
    /// Where core-api is.
    pub core_api_url: String,
    /// Where stock-service is.
    pub stock_service_url: String,
    /// Where the payment provider is.
    pub payment_api_url: String,
    /// Where the local AWS is.
    pub aws_endpoint_url: String,
    /// What makes parts of the system fail.
    pub faults: FaultClient,
    /// What time it is.
    pub clock: Clock,
    users: Users,
    keys_dir: PathBuf,
    _access: SystemAccess,
}

#[expect(dead_code, reason = "held, never looked at")]
enum SystemAccess {
    Shared(RwLockReadGuard<'static, ()>),
    Exclusive(RwLockWriteGuard<'static, ()>),
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct ApiResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: reqwest::header::HeaderMap,
    /// Its body; one that is not JSON as a JSON string.
    pub body: Value,
}

impl TestSystem {
    /// The system, used together with other tests.
    pub async fn shared() -> Self {
        Self::with_access(SystemAccess::Shared(SYSTEM_LOCK.read().await))
    }

    /// The system, with no other test at it.
    pub async fn exclusive() -> Self {
        Self::with_access(SystemAccess::Exclusive(SYSTEM_LOCK.write().await))
    }

    fn with_access(held: SystemAccess) -> Self {
        Self {
            http: Client::new(),
            gateway_url: env_var("HTTP_API_URL"),
            core_api_url: env_var("CORE_API_URL"),
            stock_service_url: env_var("STOCK_SERVICE_URL"),
            payment_api_url: env_var("PAYMENT_API_URL"),
            aws_endpoint_url: env_var("AWS_ENDPOINT_URL"),
            faults: FaultClient::new(env_var("FAULTS_URL")),
            clock: Clock::system(),
            users: Users::new(account_database(), Clock::system()),
            keys_dir: env_var("MATSURI_KEYS").into(),
            _access: held,
        }
    }

    /// What time it is.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn read_key_file(&self, name: &str) -> String {
        let path = self.keys_dir.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A request to core-api.
    pub fn core_api_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.core_api_url))
    }
}

/// The accounts' database; a test is there once, and asks one thing at a time.
fn account_database() -> PgPool {
    let pool = PgPoolOptions::new().max_connections(1);
    pool.connect_lazy(&env_var("DATABASE_URL"))
        .expect("DATABASE_URL is an address")
}

/// A variable that `cargo xtask test` sets.
#[expect(clippy::disallowed_methods, reason = "the tests' configuration")]
pub fn env_var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests by `cargo xtask test`"))
}

/// Sends a request and reads the answer; a body that is not JSON becomes a JSON string.
pub async fn send(request: RequestBuilder) -> ApiResponse {
    let response = request.send().await.expect("the system answers");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("the answer has an end");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    ApiResponse {
        status,
        headers,
        body,
    }
}

impl ApiResponse {
    /// The body, of an answer with this status.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The last part of the problem's type, of an answer with this status.
    #[track_caller]
    pub fn expect_problem(self, status: u16) -> String {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{}",
            self.body
        );
        let body = self.expect_status(status);
        assert_eq!(body["status"], status);
        body["type"]
            .as_str()
            .and_then(|kind| kind.rsplit('/').next())
            .expect("a problem has a type")
            .to_owned()
    }
}

/// Waits until `look` finds what it looks for.
#[track_caller]
pub fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    look: impl Fn() -> F,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + TIMEOUT;
        let mut pause = Duration::from_millis(50);
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(Instant::now() < deadline, "{caller}: waited in vain for {what}");
            tokio::time::sleep(pause).await;
            // Two hundred who look twenty times a second are a load of their own.
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}
