//! The login throttle under sequential and concurrent password guessing.

use auth::{
    login_throttle::{AttemptPermit, LoginThrottle, ThrottleDecision},
    sessions_table::SessionsTable,
};
use aws_sdk_dynamodb::Client;
use dynamodb_table::testing::create_table;
use futures::future::join_all;

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
        let clock = TestClock::default();
        let sessions_table = SessionsTable::new(Client::new(&aws), table);
        Self {
            throttle: LoginThrottle::new(sessions_table, 100, clock.clock()),
            clock,
        }
    }

    /// The permit, or the number of seconds to wait for one.
    async fn check(&self, email: &str, ip: &str) -> Result<AttemptPermit, i64> {
        match self.throttle.check(email, ip).await.unwrap() {
            ThrottleDecision::Allowed(permit) => Ok(permit),
            ThrottleDecision::Blocked(wait) => Err((wait.num_milliseconds() + 999) / 1_000),
        }
    }
}

#[tokio::test]
async fn backoff_from_untrusted_addresses_grows_after_five_failures() {
    let context = TestContext::new().await;
    for index in 0..5 {
        assert!(context.check(EMAIL, &format!("203.0.113.{index}")).await.is_ok());
    }
    for wait in [15, 30, 60] {
        assert_eq!(context.check(EMAIL, "203.0.113.9").await.unwrap_err(), wait);
        context.clock.advance_seconds(wait);
        assert!(context.check(EMAIL, "203.0.113.9").await.is_ok());
    }
    assert!(
        context.check("taro@example.com", "203.0.113.9").await.is_ok(),
        "another account"
    );
}

#[tokio::test]
async fn trusted_address_is_not_locked_out_by_others() {
    let context = TestContext::new().await;
    let permit = context.check(EMAIL, OWNER_IP).await.unwrap();
    context.throttle.record_success(permit).await.unwrap();
    for index in 0..5 {
        context.check(EMAIL, &format!("203.0.113.{index}")).await.unwrap();
    }
    assert!(context.check(EMAIL, "203.0.113.9").await.is_err());
    let permit = context.check(EMAIL, OWNER_IP).await.unwrap();
    context.throttle.record_success(permit).await.unwrap();

    // The trusted address has its own counter with the same limits.
    for _ in 0..5 {
        context.check(EMAIL, OWNER_IP).await.unwrap();
    }
    assert_eq!(context.check(EMAIL, OWNER_IP).await.unwrap_err(), 15);
    context.clock.advance_seconds(15);
    let permit = context.check(EMAIL, OWNER_IP).await.unwrap();
    context.throttle.record_success(permit).await.unwrap();
    assert!(
        context.check(EMAIL, OWNER_IP).await.is_ok(),
        "a success resets the counter"
    );

    // A link in a mail makes an address trusted as well.
    context.throttle.trust_ip(EMAIL, "192.0.2.7").await.unwrap();
    assert!(context.check(EMAIL, "192.0.2.7").await.is_ok());
}

#[tokio::test]
async fn successful_logins_are_not_counted() {
    let context = TestContext::new().await;
    for index in 0..20 {
        let permit = context
            .check(EMAIL, &format!("198.51.100.{index}"))
            .await
            .unwrap();
        context.throttle.record_success(permit).await.unwrap();
    }
    for _ in 0..150 {
        let permit = context.check(EMAIL, OWNER_IP).await.unwrap();
        context.throttle.record_success(permit).await.unwrap();
    }
}

#[tokio::test]
async fn at_most_five_concurrent_guesses_are_allowed() {
    let context = TestContext::new().await;
    let decisions = join_all((0..60).map(|_| context.check(EMAIL, "203.0.113.9"))).await;
    let allowed = decisions.iter().filter(|decision| decision.is_ok()).count();
    assert!((1..=5).contains(&allowed), "{allowed}");
}

#[tokio::test]
async fn an_ip_address_has_100_failures_per_hour_over_all_accounts() {
    let context = TestContext::new().await;
    let email = |index: usize| format!("user-{index}@example.com");
    let emails: Vec<String> = (0..120).map(email).collect();
    let decisions = join_all(emails.iter().map(|email| context.check(email, "203.0.113.9"))).await;
    assert_eq!(decisions.iter().filter(|decision| decision.is_ok()).count(), 100);
    let wait = context
        .check("another@example.com", "203.0.113.9")
        .await
        .unwrap_err();
    assert!((1..=3_600).contains(&wait));
    assert!(context.check("another@example.com", "203.0.113.10").await.is_ok());
    context.clock.advance_seconds(wait);
    assert!(context.check("another@example.com", "203.0.113.9").await.is_ok());
}

#[tokio::test]
async fn mails_per_address_are_limited_to_five_per_hour() {
    let context = TestContext::new().await;
    let within_quota = join_all((0..20).map(|_| context.throttle.check_mail_quota(EMAIL))).await;
    assert_eq!(
        within_quota
            .into_iter()
            .filter(|result| matches!(result, Ok(true)))
            .count(),
        5
    );
    assert!(
        context
            .throttle
            .check_mail_quota("taro@example.com")
            .await
            .unwrap()
    );
    context.clock.advance_seconds(3_600);
    assert!(context.throttle.check_mail_quota(EMAIL).await.unwrap());
}
