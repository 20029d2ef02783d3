//! Providers' accounts.

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
async fn a_person_comes_by_the_account_that_they_registered_with(pool: PgPool) {
    let users = Users::new(pool, TestClock::new().clock());
    let user = register(&users, &new_user_with_github("hanako@example.com", "17")).await;
    assert!(user.email_verified_at.is_some(), "the provider says so");
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
async fn an_account_is_linked_to_one_person_and_stays_theirs(pool: PgPool) {
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
async fn whoever_has_an_account_already_gets_no_second_one(pool: PgPool) {
    let users = Users::new(pool.clone(), TestClock::new().clock());
    let hanako = register(&users, &new_user_with_github("hanako@example.com", "17")).await;
    let again = new_user_with_github("hanako.new@example.com", "17");
    let again = users.register(&again, traceparent()).await.unwrap();
    assert_eq!(again, Registration::AlreadyRegistered(hanako.clone()));
    let address = new_user_with_github("hanako@example.com", "18");
    let address = users.register(&address, traceparent()).await.unwrap();
    assert_eq!(address, Registration::AlreadyRegistered(hanako));
    assert_eq!(
        users.find_by_identity(&github_identity("18")).await.unwrap(),
        None
    );
    assert_eq!(outbox_events(&pool).await.len(), 1);
}
