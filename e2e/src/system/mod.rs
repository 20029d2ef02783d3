//! The system that runs, and the people who use it. For tests: what is not as expected panics.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

pub mod aws;
mod front_door;
pub mod people;
mod shop;

use std::{env, fs, future::Future, path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};
use domain::Clock;
use faults::Faults;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};

use users::Users;

pub use front_door::{Session, Visitor};
pub use people::Person;

/// How long a condition is waited for. Orders take a second on a quiet machine; this one may be busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// Tests that switch a part of the system off hold this alone; all others hold it together.
static SYSTEM: RwLock<()> = RwLock::const_new(());

/// The running system.
pub struct System {
    /// Whom all requests go out by.
    pub http: Client,
    /// The front door: where clients come in, and who issues people's tokens.
    pub front_door: String,
    /// Where core-api is.
    pub core_api: String,
    /// Where stock-service is.
    pub stock_service: String,
    /// Where the payment provider is.
    pub payment_api: String,
    /// Where the local AWS is.
    pub aws_endpoint: String,
    /// What makes parts of the system fail.
    pub faults: Faults,
    /// What time it is.
    pub clock: Clock,
    users: Users,
    keys: PathBuf,
    _held: Held,
}

#[expect(dead_code, reason = "held, never looked at")]
enum Held {
    Together(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: reqwest::header::HeaderMap,
    /// Its body; one that is not JSON as a JSON string.
    pub body: Value,
}

impl System {
    /// The system, used together with other tests.
    pub async fn shared() -> Self {
        Self::hold(Held::Together(SYSTEM.read().await))
    }

    /// The system, with no other test at it.
    pub async fn alone() -> Self {
        Self::hold(Held::Alone(SYSTEM.write().await))
    }

    fn hold(held: Held) -> Self {
        Self {
            http: Client::new(),
            front_door: variable("HTTP_API_URL"),
            core_api: variable("CORE_API_URL"),
            stock_service: variable("STOCK_SERVICE_URL"),
            payment_api: variable("PAYMENT_API_URL"),
            aws_endpoint: variable("AWS_ENDPOINT_URL"),
            faults: Faults::new(variable("FAULTS_URL")),
            clock: Clock::system(),
            users: Users::new(accounts(), Clock::system()),
            keys: variable("MATSURI_KEYS").into(),
            _held: held,
        }
    }

    /// What time it is.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn key_file(&self, name: &str) -> String {
        let path = self.keys.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A request to core-api.
    pub fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.core_api))
    }
}

/// The accounts' database; a test is there once, and asks one thing at a time.
fn accounts() -> PgPool {
    let pool = PgPoolOptions::new().max_connections(1);
    pool.connect_lazy(&variable("DATABASE_URL"))
        .expect("DATABASE_URL is an address")
}

/// A variable that `cargo xtask test` sets.
#[expect(clippy::disallowed_methods, reason = "the tests' configuration")]
pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests by `cargo xtask test`"))
}

/// Sends a request and reads the answer; a body that is not JSON becomes a JSON string.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the system answers");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("the answer has an end");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        headers,
        body,
    }
}

impl Answer {
    /// The body, of an answer with this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The last part of the problem's type, of an answer with this status.
    #[track_caller]
    pub fn problem(self, status: u16) -> String {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{}",
            self.body
        );
        let body = self.expect(status);
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
        let deadline = Instant::now() + PATIENCE;
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
