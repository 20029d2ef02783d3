//! The running system under test: its addresses, API clients and test users. All functions panic on
//! unexpected results, because they serve tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api_client;
pub mod asyncapi;
mod auth_client;
pub mod aws;
pub mod mail_feedback;
mod sms;
pub mod test_users;
mod websocket_client;

use std::{
    env, fs,
    future::Future,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use chrono::{DateTime, Utc};
use domain::Clock;
use fault_injection::FaultClient;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use users::Users;

pub use auth_client::{Session, TestUser};
pub use test_users::ApiCaller;
pub use websocket_client::{WebSocketClient, is_gateway_error};

/// The timeout of [`eventually`]. An order takes about a second on an idle machine, and much longer on a busy
/// one.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Serialises the tests of `tests/exclusive`, except those of its module `fault_cases` among each other.
static EXCLUSIVE_ACCESS: Mutex<()> = Mutex::const_new(());

/// The access that the running tests of the module `fault_cases` share.
static FAULT_CASES_ACCESS: Mutex<Weak<ExclusiveAccess>> = Mutex::const_new(Weak::new());

/// Held until drop by a test of `tests/exclusive`.
type ExclusiveAccess = MutexGuard<'static, ()>;

/// The running system that the environment variables of `cargo xtask test` describe.
pub struct TestSystem {
    pub http: Client,
    /// The API gateway, which is also the issuer of user tokens.
    pub gateway_url: String,
    pub core_api_url: String,
    pub stock_service_url: String,
    pub payment_api_url: String,
    /// The endpoint of the local AWS.
    pub aws_endpoint_url: String,
    /// Sets fault rules in the fault-injection service.
    pub faults: FaultClient,
    pub clock: Clock,
    database: PgPool,
    users: Users,
    keys_dir: PathBuf,
    _exclusive_access: Option<Arc<ExclusiveAccess>>,
}

/// An HTTP response with its whole body.
#[derive(Debug)]
pub struct ApiResponse {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON; a body that is not JSON becomes a JSON string.
    pub body: Value,
}

impl TestSystem {
    /// The system, shared with the other tests of `tests/it`.
    pub fn shared() -> Self {
        Self::new(None)
    }

    /// The system, while no other test uses it. Only tests of `tests/exclusive` may call this: cargo does not
    /// run two test executables at the same time, so the lock of one process suffices.
    pub async fn exclusive() -> Self {
        Self::new(Some(Arc::new(EXCLUSIVE_ACCESS.lock().await)))
    }

    /// The system, while only tests of this group use it: the saga matrix and other tests that try every
    /// fault. Each fault concerns one order or one address, and the tests spend most of their time waiting
    /// for time-outs, so they run concurrently.
    pub async fn exclusive_to_fault_cases() -> Self {
        // Held while the first test of the group waits, so that the others join it.
        let mut shared = FAULT_CASES_ACCESS.lock().await;
        let access = match shared.upgrade() {
            Some(access) => access,
            None => Arc::new(EXCLUSIVE_ACCESS.lock().await),
        };
        *shared = Arc::downgrade(&access);
        Self::new(Some(access))
    }

    fn new(exclusive_access: Option<Arc<ExclusiveAccess>>) -> Self {
        let database = account_database();
        Self {
            http: Client::new(),
            gateway_url: env_var("HTTP_API_URL"),
            core_api_url: env_var("CORE_API_URL"),
            stock_service_url: env_var("STOCK_SERVICE_URL"),
            payment_api_url: env_var("PAYMENT_API_URL"),
            aws_endpoint_url: env_var("AWS_ENDPOINT_URL"),
            faults: FaultClient::new(env_var("FAULTS_URL")),
            clock: Clock::system(),
            users: Users::new(database.clone(), Clock::system()),
            database,
            keys_dir: env_var("MATSURI_KEYS").into(),
            _exclusive_access: exclusive_access,
        }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn read_key_file(&self, name: &str) -> String {
        let path = self.keys_dir.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A request to core-api directly, without the API gateway.
    pub fn core_api_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.core_api_url))
    }
}

/// The accounts' database. One connection per test suffices, because each test queries sequentially.
fn account_database() -> PgPool {
    let pool = PgPoolOptions::new().max_connections(1);
    pool.connect_lazy(&env_var("DATABASE_URL"))
        .expect("DATABASE_URL is a PostgreSQL URL")
}

/// Reads a variable that `cargo xtask test` sets.
#[expect(clippy::disallowed_methods, reason = "the tests' configuration")]
pub fn env_var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests with `cargo xtask test`"))
}

/// Names the folder of the services' logs, for failure messages.
#[expect(clippy::disallowed_methods, reason = "the tests' configuration")]
pub fn logs_hint() -> String {
    env::var("MATSURI_LOCAL").map_or_else(
        |_| "MATSURI_LOCAL is not set, so the folder of the logs is unknown.".to_owned(),
        |instance| format!("Logs of the services: {instance}/log"),
    )
}

/// Sends a request and reads the whole response.
pub async fn send(request: RequestBuilder) -> ApiResponse {
    let response = request.send().await.expect("the request must receive a response");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("the response body must be readable");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    ApiResponse {
        status,
        headers,
        body,
    }
}

impl ApiResponse {
    /// Asserts the status and returns the body.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// Asserts that the response is a problem document with this status. Returns the slug, the last segment
    /// of its type.
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

/// Polls until `condition` returns a value; panics after [`TIMEOUT`]. The message names `what` and the
/// caller.
#[track_caller]
pub fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    condition: impl Fn() -> F,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + TIMEOUT;
        let mut pause = Duration::from_millis(50);
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            if Instant::now() >= deadline {
                eprintln!("{}", logs_hint());
                panic!(
                    "{caller}: timed out after {} s waiting for {what}",
                    TIMEOUT.as_secs()
                );
            }
            tokio::time::sleep(pause).await;
            // Back off: hundreds of concurrent polls at the initial rate would load the system.
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}
