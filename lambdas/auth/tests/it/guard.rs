//! Guessing at passwords, one after the other and a thousand at once.

use auth::{
    guard::{Admission, Guard, Permit},
    store::Store,
};
use aws_sdk_dynamodb::Client;
use futures::future::join_all;
use lambda_shared::testing::create_table;

use crate::hands::Hands;

const OWNER: &str = "198.51.100.1";
const EMAIL: &str = "hanako@example.com";

struct World {
    guard: Guard,
    hands: Hands,
}

impl World {
    async fn new() -> Self {
        let aws = cloud::sdk_config().await;
        let table = create_table(&aws, &["session_id"]).await;
        let hands = Hands::default();
        let store = Store::new(Client::new(&aws), table);
        Self {
            guard: Guard::new(store, 100, hands.clock()),
            hands,
        }
    }

    /// The permit, or for how many seconds there is none.
    async fn admit(&self, email: &str, address: &str) -> Result<Permit, i64> {
        match self.guard.admit(email, address).await.unwrap() {
            Admission::Now(permit) => Ok(permit),
            Admission::Wait(wait) => Err((wait.num_milliseconds() + 999) / 1_000),
        }
    }
}

#[tokio::test]
async fn after_five_failures_strangers_wait_longer_each_time() {
    let world = World::new().await;
    for at in 0..5 {
        assert!(world.admit(EMAIL, &format!("203.0.113.{at}")).await.is_ok());
    }
    for wait in [15, 30, 60] {
        assert_eq!(world.admit(EMAIL, "203.0.113.9").await.unwrap_err(), wait);
        world.hands.pass_seconds(wait);
        assert!(world.admit(EMAIL, "203.0.113.9").await.is_ok());
    }
    assert!(
        world.admit("taro@example.com", "203.0.113.9").await.is_ok(),
        "another account"
    );
}

#[tokio::test]
async fn nobody_is_locked_out_of_where_they_have_signed_in_before() {
    let world = World::new().await;
    let permit = world.admit(EMAIL, OWNER).await.unwrap();
    world.guard.succeeded(permit).await.unwrap();
    for at in 0..5 {
        world.admit(EMAIL, &format!("203.0.113.{at}")).await.unwrap();
    }
    assert!(world.admit(EMAIL, "203.0.113.9").await.is_err());
    let permit = world.admit(EMAIL, OWNER).await.unwrap();
    world.guard.succeeded(permit).await.unwrap();

    // It has a count of its own, which is as strict.
    for _ in 0..5 {
        world.admit(EMAIL, OWNER).await.unwrap();
    }
    assert_eq!(world.admit(EMAIL, OWNER).await.unwrap_err(), 15);
    world.hands.pass_seconds(15);
    let permit = world.admit(EMAIL, OWNER).await.unwrap();
    world.guard.succeeded(permit).await.unwrap();
    assert!(world.admit(EMAIL, OWNER).await.is_ok(), "success makes it forget");

    // Who comes by a link in a mail is known as well.
    world.guard.welcome(EMAIL, "192.0.2.7").await.unwrap();
    assert!(world.admit(EMAIL, "192.0.2.7").await.is_ok());
}

#[tokio::test]
async fn whoever_knows_the_password_is_not_counted() {
    let world = World::new().await;
    for at in 0..20 {
        let permit = world.admit(EMAIL, &format!("198.51.100.{at}")).await.unwrap();
        world.guard.succeeded(permit).await.unwrap();
    }
    for _ in 0..150 {
        let permit = world.admit(EMAIL, OWNER).await.unwrap();
        world.guard.succeeded(permit).await.unwrap();
    }
}

#[tokio::test]
async fn of_many_guesses_at_once_five_are_looked_at() {
    let world = World::new().await;
    let guesses = join_all((0..60).map(|_| world.admit(EMAIL, "203.0.113.9"))).await;
    let looked_at = guesses.iter().filter(|guess| guess.is_ok()).count();
    assert!((1..=5).contains(&looked_at), "{looked_at}");
}

#[tokio::test]
async fn an_address_has_a_hundred_failures_an_hour_at_all_accounts_together() {
    let world = World::new().await;
    let email = |at: usize| format!("person-{at}@example.com");
    let guesses: Vec<String> = (0..120).map(email).collect();
    let answers = join_all(guesses.iter().map(|email| world.admit(email, "203.0.113.9"))).await;
    assert_eq!(answers.iter().filter(|guess| guess.is_ok()).count(), 100);
    let wait = world
        .admit("another@example.com", "203.0.113.9")
        .await
        .unwrap_err();
    assert!((1..=3_600).contains(&wait));
    assert!(world.admit("another@example.com", "203.0.113.10").await.is_ok());
    world.hands.pass_seconds(wait);
    assert!(world.admit("another@example.com", "203.0.113.9").await.is_ok());
}

#[tokio::test]
async fn a_mailbox_is_not_flooded() {
    let world = World::new().await;
    let may = join_all((0..20).map(|_| world.guard.may_mail(EMAIL))).await;
    assert_eq!(may.into_iter().filter(|may| matches!(may, Ok(true))).count(), 5);
    assert!(world.guard.may_mail("taro@example.com").await.unwrap());
    world.hands.pass_seconds(3_600);
    assert!(world.guard.may_mail(EMAIL).await.unwrap());
}
