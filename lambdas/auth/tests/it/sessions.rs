//! Sessions under concurrent refreshes and refresh token theft, and e-mail links.

use auth::{
    email_link::{EmailLinks, LinkPurpose},
    sessions::{LogoutOutcome, Peppers, RefreshOutcome, RefreshToken, Sessions},
    sessions_table::SessionsTable,
};
use aws_sdk_dynamodb::Client;
use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{UserId, ids::uuid_v7};
use dynamodb_table::testing::create_table;
use futures::future::join_all;
use secrets::Secret;

use crate::test_clock::TestClock;

const SECONDS_PER_DAY: i64 = 24 * 3600;

struct TestContext {
    sessions_table: SessionsTable,
    sessions: Sessions,
    peppers: Secret<Peppers>,
    clock: TestClock,
    user_id: UserId,
}

impl TestContext {
    async fn new() -> Self {
        let aws = aws_client::sdk_config().await;
        let table = create_table(&aws, &["session_id"]).await;
        let sessions_table = SessionsTable::new(Client::new(&aws), table);
        let clock = TestClock::default();
        let peppers = BASE64_STANDARD.encode([7; 32]).parse().unwrap();
        Self {
            sessions: Sessions::new(sessions_table.clone(), clock.clock()),
            peppers: Secret::fixed(peppers),
            user_id: UserId(uuid_v7(clock.now())),
            sessions_table,
            clock,
        }
    }

    /// Refreshes the session. Returns the next token, or `None` when the token is not valid.
    async fn successor(&self, token: &RefreshToken) -> Option<RefreshToken> {
        match self.sessions.refresh(token, &self.peppers).await.unwrap() {
            RefreshOutcome::Refreshed {
                user_id, successor, ..
            } => {
                assert_eq!(user_id, self.user_id);
                Some(successor)
            }
            _ => None,
        }
    }
}

#[tokio::test]
async fn session_lasts_while_it_is_refreshed_within_30_days() {
    let context = TestContext::new().await;
    let mut token = context.sessions.create(context.user_id).await.unwrap();
    for _ in 0..4 {
        context.clock.advance_seconds(29 * SECONDS_PER_DAY);
        let successor = context.successor(&token).await.unwrap();
        assert_ne!(successor, token);
        token = successor;
    }
    context.clock.advance_seconds(30 * SECONDS_PER_DAY + 1);
    assert!(matches!(
        context.sessions.refresh(&token, &context.peppers).await.unwrap(),
        RefreshOutcome::NotFound
    ));
}

#[tokio::test]
async fn concurrent_refreshes_get_the_same_valid_successor() {
    let context = TestContext::new().await;
    let mut token = context.sessions.create(context.user_id).await.unwrap();
    for _ in 0..5 {
        let successors = join_all((0..10).map(|_| context.successor(&token))).await;
        let first = successors[0].clone().unwrap();
        assert!(
            successors
                .iter()
                .all(|successor| successor.as_ref() == Some(&first))
        );
        token = first;
    }
    assert!(context.successor(&token).await.is_some());
}

#[tokio::test]
async fn previous_token_is_accepted_for_ten_seconds_and_then_ends_the_session() {
    let context = TestContext::new().await;
    let first = context.sessions.create(context.user_id).await.unwrap();
    let second = context.successor(&first).await.unwrap();
    context.clock.advance_seconds(9);
    assert_eq!(context.successor(&first).await, Some(second.clone()));
    context.clock.advance_seconds(2);
    let reused = context.sessions.refresh(&first, &context.peppers).await.unwrap();
    assert!(matches!(reused, RefreshOutcome::ReuseDetected { user_id } if user_id == context.user_id));
    assert!(matches!(
        context.sessions.refresh(&second, &context.peppers).await.unwrap(),
        RefreshOutcome::NotFound
    ));
    assert!(
        matches!(
            context.sessions.refresh(&first, &context.peppers).await.unwrap(),
            RefreshOutcome::NotFound
        ),
        "the reuse is reported once"
    );
}

#[tokio::test]
async fn older_token_ends_the_session_and_is_reported_once() {
    let context = TestContext::new().await;
    let first = context.sessions.create(context.user_id).await.unwrap();
    let second = context.successor(&first).await.unwrap();
    let third = context.successor(&second).await.unwrap();
    let outcomes = join_all((0..10).map(|_| context.sessions.refresh(&first, &context.peppers))).await;
    let reported = outcomes
        .into_iter()
        .filter(|outcome| matches!(outcome, Ok(RefreshOutcome::ReuseDetected { .. })));
    assert_eq!(reported.count(), 1);
    assert!(context.successor(&third).await.is_none());
}

#[tokio::test]
async fn token_reuse_ends_only_its_own_session() {
    let context = TestContext::new().await;
    let one = context.sessions.create(context.user_id).await.unwrap();
    let other = context.sessions.create(context.user_id).await.unwrap();
    let second = context.successor(&one).await.unwrap();
    context.successor(&second).await.unwrap();
    assert!(matches!(
        context.sessions.refresh(&one, &context.peppers).await.unwrap(),
        RefreshOutcome::ReuseDetected { .. }
    ));
    assert!(context.successor(&other).await.is_some());
}

#[tokio::test]
async fn logout_is_idempotent() {
    let context = TestContext::new().await;
    let first = context.sessions.create(context.user_id).await.unwrap();
    let second = context.successor(&first).await.unwrap();
    assert_eq!(
        context.sessions.owner(&second).await.unwrap(),
        Some(context.user_id)
    );
    let outcome = LogoutOutcome {
        user_id: context.user_id,
        reuse_detected: false,
    };
    assert_eq!(context.sessions.logout(&second).await.unwrap(), Some(outcome));
    assert_eq!(context.sessions.logout(&second).await.unwrap(), None);
    assert!(context.successor(&second).await.is_none());

    let first = context.sessions.create(context.user_id).await.unwrap();
    let second = context.successor(&first).await.unwrap();
    context.successor(&second).await.unwrap();
    assert_eq!(context.sessions.owner(&first).await.unwrap(), None);
    assert!(
        context
            .sessions
            .logout(&first)
            .await
            .unwrap()
            .unwrap()
            .reuse_detected
    );
}

#[tokio::test]
async fn link_works_once_for_its_purpose_until_it_expires() {
    let context = TestContext::new().await;
    let email_links = EmailLinks::new(context.sessions_table.clone(), context.clock.clock());
    let create = async |purpose| {
        email_links
            .create(purpose, context.user_id, "hanako@example.com")
            .await
            .unwrap()
            .0
    };

    let reset = create(LinkPurpose::ResetPassword).await;
    assert!(
        email_links
            .consume(LinkPurpose::VerifyEmail, &reset)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        email_links
            .consume(LinkPurpose::ResetPassword, "another")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        email_links
            .find(LinkPurpose::ResetPassword, &reset)
            .await
            .unwrap()
            .is_some()
    );
    let consumed = join_all((0..10).map(|_| email_links.consume(LinkPurpose::ResetPassword, &reset))).await;
    let links: Vec<_> = consumed.into_iter().filter_map(Result::unwrap).collect();
    let [link] = &links[..] else { panic!("{links:?}") };
    assert_eq!(link.user_id, context.user_id);
    assert!(link.matches_email("hanako@example.com") && !link.matches_email("taro@example.com"));

    let (reset, verify) = (
        create(LinkPurpose::ResetPassword).await,
        create(LinkPurpose::VerifyEmail).await,
    );
    context.clock.advance_seconds(3_601);
    assert!(
        email_links
            .find(LinkPurpose::ResetPassword, &reset)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        email_links
            .consume(LinkPurpose::ResetPassword, &reset)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        email_links
            .find(LinkPurpose::VerifyEmail, &verify)
            .await
            .unwrap()
            .is_some()
    );
    context.clock.advance_seconds(SECONDS_PER_DAY);
    assert!(
        email_links
            .consume(LinkPurpose::VerifyEmail, &verify)
            .await
            .unwrap()
            .is_none()
    );
}
