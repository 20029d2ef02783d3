//! Providers' accounts.

use sqlx::PgPool;
use users::{Identity, Key, NewUser, Provider, Registered, Users};

use crate::people::{Hands, by_password, events, register, trace};

fn github(subject: &str) -> Identity {
    Identity {
        provider: Provider::GitHub,
        subject: subject.to_owned(),
    }
}

fn by_github(address: &str, subject: &str) -> NewUser {
    NewUser {
        key: Key::Identity(github(subject)),
        ..by_password(address)
    }
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn a_person_comes_by_the_account_that_they_registered_with(pool: PgPool) {
    let users = Users::new(pool, Hands::new().clock());
    let user = register(&users, &by_github("hanako@example.com", "17")).await;
    assert!(user.email_verified_at.is_some(), "the provider says so");
    assert_eq!(users.find_by_identity(&github("17")).await.unwrap(), Some(user));
    assert_eq!(users.find_by_identity(&github("18")).await.unwrap(), None);
    let google = Identity {
        provider: Provider::Google,
        ..github("17")
    };
    assert_eq!(users.find_by_identity(&google).await.unwrap(), None);
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn an_account_is_linked_to_one_person_and_stays_theirs(pool: PgPool) {
    let users = Users::new(pool, Hands::new().clock());
    let hanako = register(&users, &by_password("hanako@example.com")).await;
    let taro = register(&users, &by_password("taro@example.com")).await;
    assert!(users.link_identity(hanako.id, &github("17")).await.unwrap());
    assert!(users.link_identity(hanako.id, &github("17")).await.unwrap());
    assert!(!users.link_identity(taro.id, &github("17")).await.unwrap());
    assert_eq!(users.find_by_identity(&github("17")).await.unwrap(), Some(hanako));
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn whoever_has_an_account_already_gets_no_second_one(pool: PgPool) {
    let users = Users::new(pool.clone(), Hands::new().clock());
    let hanako = register(&users, &by_github("hanako@example.com", "17")).await;
    let again = by_github("hanako.new@example.com", "17");
    let again = users.register(&again, trace()).await.unwrap();
    assert_eq!(again, Registered::Taken(hanako.clone()));
    let address = by_github("hanako@example.com", "18");
    let address = users.register(&address, trace()).await.unwrap();
    assert_eq!(address, Registered::Taken(hanako));
    assert_eq!(users.find_by_identity(&github("18")).await.unwrap(), None);
    assert_eq!(events(&pool).await.len(), 1);
}
