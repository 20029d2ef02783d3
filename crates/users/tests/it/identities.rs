//! Sign-in identities at Google and GitHub.

use sqlx::PgPool;
use users::{Credential, Identity, NewUser, Provider, Registration, Users};

use crate::support::{TestClock, new_user_with_password, outbox_events, register, traceparent};

fn github_identity(subject: &str) -> Identity {
    Identity {
        provider: Provider::GitHub,
        subject: subject.to_owned(),
    }
}

fn new_user_with_github(address: &str, subject: &str) -> NewUser {
    NewUser {
        credential: Credential::Identity(github_identity(subject)),
        ..new_user_with_password(address)
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn user_is_found_by_the_identity_that_they_registered_with(pool: PgPool) {
    let users = Users::new(pool, TestClock::new().clock());
    let user = register(&users, &new_user_with_github("hanako@example.com", "17")).await;
    assert!(
        user.email_verified_at.is_some(),
        "the provider has verified the address"
    );
    assert_eq!(
        users.find_by_identity(&github_identity("17")).await.unwrap(),
        Some(user)
    );
    assert_eq!(
        users.find_by_identity(&github_identity("18")).await.unwrap(),
        None
    );
    let google = Identity {
        provider: Provider::Google,
        ..github_identity("17")
    };
    assert_eq!(users.find_by_identity(&google).await.unwrap(), None);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn identity_stays_linked_to_the_first_account(pool: PgPool) {
    let users = Users::new(pool, TestClock::new().clock());
    let hanako = register(&users, &new_user_with_password("hanako@example.com")).await;
    let taro = register(&users, &new_user_with_password("taro@example.com")).await;
    assert!(
        users
            .link_identity(hanako.id, &github_identity("17"))
            .await
            .unwrap()
    );
    assert!(
        users
            .link_identity(hanako.id, &github_identity("17"))
            .await
            .unwrap()
    );
    assert!(
        !users
            .link_identity(taro.id, &github_identity("17"))
            .await
            .unwrap()
    );
    assert_eq!(
        users.find_by_identity(&github_identity("17")).await.unwrap(),
        Some(hanako)
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn registration_with_a_known_identity_or_email_creates_no_second_account(pool: PgPool) {
    let users = Users::new(pool.clone(), TestClock::new().clock());
    let hanako = register(&users, &new_user_with_github("hanako@example.com", "17")).await;
    let same_identity = new_user_with_github("hanako.new@example.com", "17");
    let same_identity = users.register(&same_identity, traceparent()).await.unwrap();
    assert_eq!(same_identity, Registration::AlreadyRegistered(hanako.clone()));
    let same_email = new_user_with_github("hanako@example.com", "18");
    let same_email = users.register(&same_email, traceparent()).await.unwrap();
    assert_eq!(same_email, Registration::AlreadyRegistered(hanako));
    assert_eq!(
        users.find_by_identity(&github_identity("18")).await.unwrap(),
        None
    );
    assert_eq!(outbox_events(&pool).await.len(), 1);
}
