//! People who register in these tests, in a time that the test moves.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use domain::{Clock, Timestamp};
use events::TraceParent;
use sqlx::PgPool;
use users::{Credential, DisplayName, EmailAddress, NewUser, Registration, User, Users};

/// A clock that the test moves, in milliseconds.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000_000)))
    }

    pub fn clock(&self) -> Clock {
        let hands = self.0.clone();
        Clock::from_fn(move || Timestamp::from_timestamp_millis(hands.load(Ordering::SeqCst)).unwrap())
    }

    pub fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub fn advance_millis(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
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

pub async fn register(users: &Users, new: &NewUser) -> User {
    match users.register(new, traceparent()).await.unwrap() {
        Registration::Created(user) => user,
        Registration::AlreadyRegistered(user) => panic!("{user:?} was here before"),
    }
}

/// The types and data of the events that wait in the outbox.
pub async fn outbox_events(pool: &PgPool) -> Vec<(String, serde_json::Value)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT detail_type, detail FROM event_outbox ORDER BY event_id")
            .fetch_all(pool)
            .await
            .unwrap();
    let data = |detail: String| serde_json::from_str::<serde_json::Value>(&detail).unwrap()["data"].clone();
    rows.into_iter()
        .map(|(kind, detail)| (kind, data(detail)))
        .collect()
}
