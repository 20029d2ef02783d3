//! Shared by the tests: a clock that the test moves, users to register, and the events in the outbox.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use domain::{Clock, Timestamp};
use events::TraceParent;
use sqlx::PgPool;
use users::{Credential, DisplayName, EmailAddress, NewUser, Registration, User, Users};

/// A clock that moves only when the test moves it. It counts milliseconds.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000_000)))
    }

    pub fn clock(&self) -> Clock {
        let millis = self.0.clone();
        Clock::from_fn(move || Timestamp::from_timestamp_millis(millis.load(Ordering::SeqCst)).unwrap())
    }

    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub fn advance_millis(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

pub fn traceparent() -> TraceParent {
    TraceParent::root(Timestamp::UNIX_EPOCH)
}

pub fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

pub fn new_user_with_password(address: &str) -> NewUser {
    NewUser {
        email: email(address),
        name: DisplayName::parse("Hanako").unwrap(),
        credential: Credential::PasswordHash("$argon2id$a hash".to_owned()),
    }
}

/// Registers a user who must be new.
pub async fn register(users: &Users, new_user: &NewUser) -> User {
    match users.register(new_user, traceparent()).await.unwrap() {
        Registration::Created(user) => user,
        other => panic!("expected a new account, got {other:?}"),
    }
}

/// The type and the data of each event in the outbox.
pub async fn outbox_events(pool: &PgPool) -> Vec<(String, serde_json::Value)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT detail_type, detail FROM outbox.account_events ORDER BY event_id")
            .fetch_all(pool)
            .await
            .unwrap();
    let data = |detail: String| serde_json::from_str::<serde_json::Value>(&detail).unwrap()["data"].clone();
    rows.into_iter()
        .map(|(detail_type, detail)| (detail_type, data(detail)))
        .collect()
}
