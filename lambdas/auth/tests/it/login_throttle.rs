//! Guessing at passwords, one after the other and a thousand at once.

use auth::{
    login_throttle::{AttemptPermit, LoginThrottle, ThrottleDecision},
    sessions_table::SessionsTable,
};
use aws_sdk_dynamodb::Client;
use futures::future::join_all;
use lambda_shared::testing::create_table;

use crate::test_clock::TestClock;

const OWNER_IP: &str = "198.51.100.1";
const EMAIL: &str = "hanako@example.com";

struct TestContext {
    throttle: LoginThrottle,
    clock: TestClock,
}

impl TestContext {
    async fn new() -> Self {
        let aws = aws_client::sdk_config().await;
        let table = create_table(&aws, &["session_id"]).await;
        let hands = TestClock::default();
        let store = SessionsTable::new(Client::new(&aws), table);
        Self {
            throttle: LoginThrottle::new(store, 100, hands.clock()),
            clock: hands,
        }
    }

    /// The permit, or for how many seconds there is none.
    async fn check(&self, email: &str, address: &str) -> Result<AttemptPermit, i64> {
        match self.throttle.check(email, address).await.unwrap() {
            ThrottleDecision::Allowed(permit) => Ok(permit),
            ThrottleDecision::Blocked(wait) => Err((wait.num_milliseconds() + 999) / 1_000),
        }
    }
}

#[tokio::test]
async fn after_five_failures_strangers_wait_longer_each_time() {
    let world = TestContext::new().await;
    for at in 0..5 {
        assert!(world.check(EMAIL, &format!("203.0.113.{at}")).await.is_ok());
    }
    for wait in [15, 30, 60] {
        assert_eq!(world.check(EMAIL, "203.0.113.9").await.unwrap_err(), wait);
        world.clock.advance_seconds(wait);
        assert!(world.check(EMAIL, "203.0.113.9").await.is_ok());
    }
    assert!(
        world.check("taro@example.com", "203.0.113.9").await.is_ok(),
        "another account"
    );
}

#[tokio::test]
async fn nobody_is_locked_out_of_where_they_have_signed_in_before() {
    let world = TestContext::new().await;
    let permit = world.check(EMAIL, OWNER_IP).await.unwrap();
    world.throttle.record_success(permit).await.unwrap();
    for at in 0..5 {
        world.check(EMAIL, &format!("203.0.113.{at}")).await.unwrap();
    }
    assert!(world.check(EMAIL, "203.0.113.9").await.is_err());
    let permit = world.check(EMAIL, OWNER_IP).await.unwrap();
    world.throttle.record_success(permit).await.unwrap();

    // It has a count of its own, which is as strict.
    for _ in 0..5 {
        world.check(EMAIL, OWNER_IP).await.unwrap();
    }
    assert_eq!(world.check(EMAIL, OWNER_IP).await.unwrap_err(), 15);
    world.clock.advance_seconds(15);
    let permit = world.check(EMAIL, OWNER_IP).await.unwrap();
    world.throttle.record_success(permit).await.unwrap();
    assert!(
        world.check(EMAIL, OWNER_IP).await.is_ok(),
        "success makes it forget"
    );

    // Who comes by a link in a mail is known as well.
    world.throttle.trust_ip(EMAIL, "192.0.2.7").await.unwrap();
    assert!(world.check(EMAIL, "192.0.2.7").await.is_ok());
}

#[tokio::test]
async fn whoever_knows_the_password_is_not_counted() {
    let world = TestContext::new().await;
    for at in 0..20 {
        let permit = world.check(EMAIL, &format!("198.51.100.{at}")).await.unwrap();
        world.throttle.record_success(permit).await.unwrap();
    }
    for _ in 0..150 {
        let permit = world.check(EMAIL, OWNER_IP).await.unwrap();
        world.throttle.record_success(permit).await.unwrap();
    }
}

#[tokio::test]
async fn of_many_guesses_at_once_five_are_looked_at() {
    let world = TestContext::new().await;
    let guesses = join_all((0..60).map(|_| world.check(EMAIL, "203.0.113.9"))).await;
    let looked_at = guesses.iter().filter(|guess| guess.is_ok()).count();
    assert!((1..=5).contains(&looked_at), "{looked_at}");
}

#[tokio::test]
async fn an_address_has_a_hundred_failures_an_hour_at_all_accounts_together() {
    let world = TestContext::new().await;
    let email = |at: usize| format!("person-{at}@example.com");
    let guesses: Vec<String> = (0..120).map(email).collect();
    let answers = join_all(guesses.iter().map(|email| world.check(email, "203.0.113.9"))).await;
    assert_eq!(answers.iter().filter(|guess| guess.is_ok()).count(), 100);
    let wait = world
        .check("another@example.com", "203.0.113.9")
        .await
        .unwrap_err();
    assert!((1..=3_600).contains(&wait));
    assert!(world.check("another@example.com", "203.0.113.10").await.is_ok());
    world.clock.advance_seconds(wait);
    assert!(world.check("another@example.com", "203.0.113.9").await.is_ok());
}

#[tokio::test]
async fn a_mailbox_is_not_flooded() {
    let world = TestContext::new().await;
    let may = join_all((0..20).map(|_| world.throttle.check_mail_quota(EMAIL))).await;
    assert_eq!(may.into_iter().filter(|may| matches!(may, Ok(true))).count(), 5);
    assert!(world.throttle.check_mail_quota("taro@example.com").await.unwrap());
    world.clock.advance_seconds(3_600);
    assert!(world.throttle.check_mail_quota(EMAIL).await.unwrap());
}
