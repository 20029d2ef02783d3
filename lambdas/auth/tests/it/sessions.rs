//! Sessions, used by several at once and by those who have no right to them.

use auth::{
    email_link::{EmailLinks, LinkPurpose},
    refresh_token::RefreshToken,
    sessions::{LogoutOutcome, RefreshOutcome, Sessions},
    sessions_table::SessionsTable,
};
use aws_sdk_dynamodb::Client;
use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{UserId, ids::uuid_v7};
use futures::future::join_all;
use lambda_shared::testing::create_table;

use crate::test_clock::TestClock;

const SECONDS_PER_DAY: i64 = 24 * 3600;

struct TestContext {
    sessions_table: SessionsTable,
    sessions: Sessions,
    clock: TestClock,
    user_id: UserId,
}

impl TestContext {
    async fn new() -> Self {
        let aws = aws_client::sdk_config().await;
        let table = create_table(&aws, &["session_id"]).await;
        let (store, hands) = (SessionsTable::new(Client::new(&aws), table), TestClock::default());
        let pepper = BASE64_STANDARD.encode([7; 32]).parse().unwrap();
        Self {
            sessions: Sessions::new(store.clone(), pepper, hands.clock()),
            user_id: UserId(uuid_v7(hands.now())),
            sessions_table: store,
            clock: hands,
        }
    }

    async fn successor(&self, token: &RefreshToken) -> Option<RefreshToken> {
        match self.sessions.refresh(token).await.unwrap() {
            RefreshOutcome::Refreshed {
                user_id,
                successor: next,
                ..
            } => {
                assert_eq!(user_id, self.user_id);
                Some(next)
            }
            _ => None,
        }
    }
}

#[tokio::test]
async fn a_session_goes_on_for_as_long_as_it_is_used() {
    let world = TestContext::new().await;
    let mut token = world.sessions.create(world.user_id).await.unwrap();
    for _ in 0..4 {
        world.clock.advance_seconds(29 * SECONDS_PER_DAY);
        let next = world.successor(&token).await.unwrap();
        assert_ne!(next, token);
        token = next;
    }
    world.clock.advance_seconds(30 * SECONDS_PER_DAY + 1);
    assert!(matches!(
        world.sessions.refresh(&token).await.unwrap(),
        RefreshOutcome::NotFound
    ));
}

#[tokio::test]
async fn all_who_show_a_token_at_once_get_the_same_successor_and_it_is_good() {
    let world = TestContext::new().await;
    let mut token = world.sessions.create(world.user_id).await.unwrap();
    for _ in 0..5 {
        let successors = join_all((0..10).map(|_| world.successor(&token))).await;
        let first = successors[0].clone().unwrap();
        assert!(successors.iter().all(|next| next.as_ref() == Some(&first)));
        token = first;
    }
    assert!(world.successor(&token).await.is_some());
}

#[tokio::test]
async fn the_token_before_is_good_for_ten_seconds_more_and_then_it_betrays() {
    let world = TestContext::new().await;
    let first = world.sessions.create(world.user_id).await.unwrap();
    let second = world.successor(&first).await.unwrap();
    world.clock.advance_seconds(9);
    assert_eq!(world.successor(&first).await, Some(second.clone()));
    world.clock.advance_seconds(2);
    let reused = world.sessions.refresh(&first).await.unwrap();
    assert!(matches!(reused, RefreshOutcome::ReuseDetected { user_id } if user_id == world.user_id));
    assert!(matches!(
        world.sessions.refresh(&second).await.unwrap(),
        RefreshOutcome::NotFound
    ));
    assert!(
        matches!(
            world.sessions.refresh(&first).await.unwrap(),
            RefreshOutcome::NotFound
        ),
        "it is told once"
    );
}

#[tokio::test]
async fn an_older_token_betrays_at_once_and_one_of_many_tells() {
    let world = TestContext::new().await;
    let first = world.sessions.create(world.user_id).await.unwrap();
    let second = world.successor(&first).await.unwrap();
    let third = world.successor(&second).await.unwrap();
    let shown = join_all((0..10).map(|_| world.sessions.refresh(&first))).await;
    let told = shown
        .into_iter()
        .filter(|shown| matches!(shown, Ok(RefreshOutcome::ReuseDetected { .. })));
    assert_eq!(told.count(), 1);
    assert!(world.successor(&third).await.is_none());
}

#[tokio::test]
async fn one_persons_theft_ends_no_other_session() {
    let world = TestContext::new().await;
    let one = world.sessions.create(world.user_id).await.unwrap();
    let other = world.sessions.create(world.user_id).await.unwrap();
    let second = world.successor(&one).await.unwrap();
    world.successor(&second).await.unwrap();
    assert!(matches!(
        world.sessions.refresh(&one).await.unwrap(),
        RefreshOutcome::ReuseDetected { .. }
    ));
    assert!(world.successor(&other).await.is_some());
}

#[tokio::test]
async fn whoever_leaves_has_left() {
    let world = TestContext::new().await;
    let first = world.sessions.create(world.user_id).await.unwrap();
    let second = world.successor(&first).await.unwrap();
    assert_eq!(world.sessions.owner(&second).await.unwrap(), Some(world.user_id));
    let left = LogoutOutcome {
        user_id: world.user_id,
        reuse_detected: false,
    };
    assert_eq!(world.sessions.logout(&second).await.unwrap(), Some(left));
    assert_eq!(world.sessions.logout(&second).await.unwrap(), None);
    assert!(world.successor(&second).await.is_none());

    let first = world.sessions.create(world.user_id).await.unwrap();
    let second = world.successor(&first).await.unwrap();
    world.successor(&second).await.unwrap();
    assert_eq!(world.sessions.owner(&first).await.unwrap(), None);
    assert!(
        world
            .sessions
            .logout(&first)
            .await
            .unwrap()
            .unwrap()
            .reuse_detected
    );
}

#[tokio::test]
async fn a_link_is_good_once_for_its_purpose_and_its_time() {
    let world = TestContext::new().await;
    let links = EmailLinks::new(world.sessions_table.clone(), world.clock.clock());
    let issue = async |purpose| {
        links
            .create(purpose, world.user_id, "hanako@example.com")
            .await
            .unwrap()
            .0
    };

    let reset = issue(LinkPurpose::ResetPassword).await;
    assert!(
        links
            .consume(LinkPurpose::VerifyEmail, &reset)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        links
            .consume(LinkPurpose::ResetPassword, "another")
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        links
            .find(LinkPurpose::ResetPassword, &reset)
            .await
            .unwrap()
            .is_some()
    );
    let taken = join_all((0..10).map(|_| links.consume(LinkPurpose::ResetPassword, &reset))).await;
    let taken: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
    let [link] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!(link.user_id, world.user_id);
    assert!(link.matches_email("hanako@example.com") && !link.matches_email("taro@example.com"));

    let (reset, verify) = (
        issue(LinkPurpose::ResetPassword).await,
        issue(LinkPurpose::VerifyEmail).await,
    );
    world.clock.advance_seconds(3_601);
    assert!(
        links
            .find(LinkPurpose::ResetPassword, &reset)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        links
            .consume(LinkPurpose::ResetPassword, &reset)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        links
            .find(LinkPurpose::VerifyEmail, &verify)
            .await
            .unwrap()
            .is_some()
    );
    world.clock.advance_seconds(SECONDS_PER_DAY);
    assert!(
        links
            .consume(LinkPurpose::VerifyEmail, &verify)
            .await
            .unwrap()
            .is_none()
    );
}
