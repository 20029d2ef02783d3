//! Sessions, used by several at once and by those who have no right to them.

use auth::{
    links::{Links, Purpose},
    refresh_token::RefreshToken,
    sessions::{Left, Sessions, Shown},
    store::Store,
};
use aws_sdk_dynamodb::Client;
use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{UserId, ids::uuid_v7};
use futures::future::join_all;
use lambda_shared::testing::create_table;

use crate::hands::Hands;

const DAY: i64 = 24 * 3600;

struct World {
    store: Store,
    sessions: Sessions,
    hands: Hands,
    user_id: UserId,
}

impl World {
    async fn new() -> Self {
        let aws = cloud::sdk_config().await;
        let table = create_table(&aws, &["session_id"]).await;
        let (store, hands) = (Store::new(Client::new(&aws), table), Hands::default());
        let pepper = BASE64_STANDARD.encode([7; 32]).parse().unwrap();
        Self {
            sessions: Sessions::new(store.clone(), pepper, hands.clock()),
            user_id: UserId(uuid_v7(hands.now())),
            store,
            hands,
        }
    }

    async fn next(&self, token: &RefreshToken) -> Option<RefreshToken> {
        match self.sessions.show(token).await.unwrap() {
            Shown::Good { user_id, next, .. } => {
                assert_eq!(user_id, self.user_id);
                Some(next)
            }
            _ => None,
        }
    }
}

#[tokio::test]
async fn a_session_goes_on_for_as_long_as_it_is_used() {
    let world = World::new().await;
    let mut token = world.sessions.begin(world.user_id).await.unwrap();
    for _ in 0..4 {
        world.hands.pass_seconds(29 * DAY);
        let next = world.next(&token).await.unwrap();
        assert_ne!(next, token);
        token = next;
    }
    world.hands.pass_seconds(30 * DAY + 1);
    assert!(matches!(
        world.sessions.show(&token).await.unwrap(),
        Shown::Unknown
    ));
}

#[tokio::test]
async fn all_who_show_a_token_at_once_get_the_same_successor_and_it_is_good() {
    let world = World::new().await;
    let mut token = world.sessions.begin(world.user_id).await.unwrap();
    for _ in 0..5 {
        let successors = join_all((0..10).map(|_| world.next(&token))).await;
        let first = successors[0].clone().unwrap();
        assert!(successors.iter().all(|next| next.as_ref() == Some(&first)));
        token = first;
    }
    assert!(world.next(&token).await.is_some());
}

#[tokio::test]
async fn the_token_before_is_good_for_ten_seconds_more_and_then_it_betrays() {
    let world = World::new().await;
    let first = world.sessions.begin(world.user_id).await.unwrap();
    let second = world.next(&first).await.unwrap();
    world.hands.pass_seconds(9);
    assert_eq!(world.next(&first).await, Some(second.clone()));
    world.hands.pass_seconds(2);
    let reused = world.sessions.show(&first).await.unwrap();
    assert!(matches!(reused, Shown::Reused { user_id } if user_id == world.user_id));
    assert!(matches!(
        world.sessions.show(&second).await.unwrap(),
        Shown::Unknown
    ));
    assert!(
        matches!(world.sessions.show(&first).await.unwrap(), Shown::Unknown),
        "it is told once"
    );
}

#[tokio::test]
async fn an_older_token_betrays_at_once_and_one_of_many_tells() {
    let world = World::new().await;
    let first = world.sessions.begin(world.user_id).await.unwrap();
    let second = world.next(&first).await.unwrap();
    let third = world.next(&second).await.unwrap();
    let shown = join_all((0..10).map(|_| world.sessions.show(&first))).await;
    let told = shown
        .into_iter()
        .filter(|shown| matches!(shown, Ok(Shown::Reused { .. })));
    assert_eq!(told.count(), 1);
    assert!(world.next(&third).await.is_none());
}

#[tokio::test]
async fn one_persons_theft_ends_no_other_session() {
    let world = World::new().await;
    let one = world.sessions.begin(world.user_id).await.unwrap();
    let other = world.sessions.begin(world.user_id).await.unwrap();
    let second = world.next(&one).await.unwrap();
    world.next(&second).await.unwrap();
    assert!(matches!(
        world.sessions.show(&one).await.unwrap(),
        Shown::Reused { .. }
    ));
    assert!(world.next(&other).await.is_some());
}

#[tokio::test]
async fn whoever_leaves_has_left() {
    let world = World::new().await;
    let first = world.sessions.begin(world.user_id).await.unwrap();
    let second = world.next(&first).await.unwrap();
    assert_eq!(world.sessions.owner(&second).await.unwrap(), Some(world.user_id));
    let left = Left {
        user_id: world.user_id,
        stolen: false,
    };
    assert_eq!(world.sessions.leave(&second).await.unwrap(), Some(left));
    assert_eq!(world.sessions.leave(&second).await.unwrap(), None);
    assert!(world.next(&second).await.is_none());

    let first = world.sessions.begin(world.user_id).await.unwrap();
    let second = world.next(&first).await.unwrap();
    world.next(&second).await.unwrap();
    assert_eq!(world.sessions.owner(&first).await.unwrap(), None);
    assert!(world.sessions.leave(&first).await.unwrap().unwrap().stolen);
}

#[tokio::test]
async fn a_link_is_good_once_for_its_purpose_and_its_time() {
    let world = World::new().await;
    let links = Links::new(world.store.clone(), world.hands.clock());
    let issue = async |purpose| {
        links
            .issue(purpose, world.user_id, "hanako@example.com")
            .await
            .unwrap()
            .0
    };

    let reset = issue(Purpose::Reset).await;
    assert!(links.take(Purpose::Verify, &reset).await.unwrap().is_none());
    assert!(links.take(Purpose::Reset, "another").await.unwrap().is_none());
    assert!(links.find(Purpose::Reset, &reset).await.unwrap().is_some());
    let taken = join_all((0..10).map(|_| links.take(Purpose::Reset, &reset))).await;
    let taken: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
    let [link] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!(link.user_id, world.user_id);
    assert!(link.speaks_for("hanako@example.com") && !link.speaks_for("taro@example.com"));

    let (reset, verify) = (issue(Purpose::Reset).await, issue(Purpose::Verify).await);
    world.hands.pass_seconds(3_601);
    assert!(links.find(Purpose::Reset, &reset).await.unwrap().is_none());
    assert!(links.take(Purpose::Reset, &reset).await.unwrap().is_none());
    assert!(links.find(Purpose::Verify, &verify).await.unwrap().is_some());
    world.hands.pass_seconds(DAY);
    assert!(links.take(Purpose::Verify, &verify).await.unwrap().is_none());
}
