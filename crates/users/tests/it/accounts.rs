//! Registering, and proving who one is.

use domain::{UserId, ids::uuid_v7};
use serde_json::json;
use sqlx::PgPool;
use tokens::Role;
use users::{AuditFilter, DisplayName, NewAuditEntry, Registration, Users};

use crate::support::{TestClock, email, new_user_with_password, outbox_events, register, traceparent};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_person_and_the_event_are_there_together(pool: PgPool) {
    let hands = TestClock::new();
    let users = Users::new(pool.clone(), hands.clock());
    let user = register(&users, &new_user_with_password("Hanako@Example.com")).await;
    assert_eq!(user.email, "hanako@example.com");
    assert_eq!((user.role, user.email_verified_at), (Role::Customer, None));
    assert_eq!(user.created_at, hands.now());

    let found = users
        .find_by_email(&email("hanako@example.com"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.user, user);
    assert_eq!(found.password_hash.as_deref(), Some("$argon2id$a hash"));
    assert_eq!(users.find_by_id(user.id).await.unwrap(), Some(user.clone()));
    assert!(
        users
            .find_by_email(&email("taro@example.com"))
            .await
            .unwrap()
            .is_none()
    );

    let events = outbox_events(&pool).await;
    let [(kind, data)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(kind, "UserRegistered");
    assert_eq!(data["user_id"], json!(user.id));
    assert!(!data.to_string().contains('@'), "{data}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_first_administrator_is_made_and_noted(pool: PgPool) {
    let hands = TestClock::new();
    let users = Users::new(pool, hands.clock());
    let (id, name) = (UserId::new(hands.now()), DisplayName::parse("Operator").unwrap());
    let make = async |address: &str, role: Role| {
        // Entries of one millisecond have no order.
        hands.advance_millis(1);
        users.upsert_account(id, &email(address), &name, role).await
    };
    make("root@example.com", Role::Admin).await.unwrap();
    let user = users.find_by_id(id).await.unwrap().unwrap();
    assert_eq!(
        (user.role, user.email.as_str()),
        (Role::Admin, "root@example.com")
    );
    assert_eq!(
        user.email_verified_at, None,
        "nobody has shown that the address is theirs"
    );
    let known = users.find_by_email(&email("root@example.com")).await.unwrap();
    assert_eq!(known.unwrap().password_hash, None);

    let verified_at = hands.now();
    assert!(users.mark_email_verified(id, "root@example.com").await.unwrap());
    make("root@example.com", Role::Support).await.unwrap();
    let again = users.find_by_id(id).await.unwrap().unwrap();
    assert_eq!(
        (again.role, again.email_verified_at),
        (Role::Support, Some(verified_at))
    );
    make("other@example.com", Role::Support).await.unwrap();
    let moved = users.find_by_id(id).await.unwrap().unwrap();
    assert_eq!(
        moved.email_verified_at, None,
        "another address is shown to be theirs anew"
    );
    let log = users.audit_log(&AuditFilter::default(), 10, None).await.unwrap();
    let noted: Vec<_> = log.entries.iter().map(|record| &record.details["role"]).collect();
    assert_eq!(noted, ["support", "support", "admin"]);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn of_many_who_register_with_one_address_at_once_one_does(pool: PgPool) {
    let users = Users::new(pool.clone(), TestClock::new().clock());
    let new = new_user_with_password("hanako@example.com");
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let (users, new) = (users.clone(), new.clone());
            tokio::spawn(async move { users.register(&new, traceparent()).await.unwrap() })
        })
        .collect();
    let (mut first, mut taken) = (Vec::new(), Vec::new());
    for one in tries {
        match one.await.unwrap() {
            Registration::Created(user) => first.push(user),
            Registration::AlreadyRegistered(user) => taken.push(user),
        }
    }
    assert_eq!((first.len(), taken.len()), (1, 7));
    assert!(taken.iter().all(|user| *user == first[0]));
    assert_eq!(outbox_events(&pool).await.len(), 1);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_address_is_found_to_be_ones_own_once_and_only_if_it_is(pool: PgPool) {
    let hands = TestClock::new();
    let users = Users::new(pool, hands.clock());
    let user = register(&users, &new_user_with_password("hanako@example.com")).await;
    assert!(
        !users
            .mark_email_verified(user.id, "taro@example.com")
            .await
            .unwrap()
    );
    assert_eq!(
        users
            .find_by_id(user.id)
            .await
            .unwrap()
            .unwrap()
            .email_verified_at,
        None
    );

    hands.advance_millis(1_000);
    let then = hands.now();
    assert!(users.mark_email_verified(user.id, &user.email).await.unwrap());
    hands.advance_millis(1_000);
    assert!(users.mark_email_verified(user.id, &user.email).await.unwrap());
    let verified = users.find_by_id(user.id).await.unwrap().unwrap();
    assert_eq!(verified.email_verified_at, Some(then));
    assert_eq!(verified.updated_at, then);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn another_password_ends_what_was_signed_in_before(pool: PgPool) {
    let hands = TestClock::new();
    let users = Users::new(pool, hands.clock());
    let user = register(&users, &new_user_with_password("hanako@example.com")).await;
    let valid_from = async || {
        users
            .account_status(user.id)
            .await
            .unwrap()
            .unwrap()
            .tokens_valid_from
    };
    assert_eq!(valid_from().await, hands.now());

    hands.advance_millis(5_000);
    assert!(
        users
            .change_password(user.id, "another hash", None)
            .await
            .unwrap()
    );
    assert!(valid_from().await > hands.now());
    let changed = users.find_by_email(&email(&user.email)).await.unwrap().unwrap();
    assert_eq!(changed.password_hash.as_deref(), Some("another hash"));
    assert_eq!(changed.user.email_verified_at, None);

    assert!(
        users
            .change_password(user.id, "a third", Some(&user.email))
            .await
            .unwrap()
    );
    let proven = users.find_by_id(user.id).await.unwrap().unwrap();
    assert_eq!(proven.email_verified_at, Some(hands.now()));

    let elsewhere = users
        .change_password(user.id, "a fourth", Some("taro@example.com"))
        .await;
    assert!(!elsewhere.unwrap(), "the address is not theirs any more");
    let nobody = UserId(uuid_v7(hands.now()));
    assert!(!users.change_password(nobody, "a fifth", None).await.unwrap());
    let kept = users.find_by_email(&email(&user.email)).await.unwrap().unwrap();
    assert_eq!(kept.password_hash.as_deref(), Some("a third"));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn signing_out_everywhere_never_lets_older_tokens_in_again(pool: PgPool) {
    let hands = TestClock::new();
    let users = Users::new(pool, hands.clock());
    let user = register(&users, &new_user_with_password("hanako@example.com")).await;
    hands.advance_millis(5_000);
    users.revoke_tokens(user.id).await.unwrap();
    let revoked = users
        .account_status(user.id)
        .await
        .unwrap()
        .unwrap()
        .tokens_valid_from;
    assert!(revoked > hands.now());
    // A machine whose clock is behind.
    hands.advance_millis(-3_000);
    users.revoke_tokens(user.id).await.unwrap();
    let standing = users.account_status(user.id).await.unwrap().unwrap();
    assert_eq!(standing.tokens_valid_from, revoked);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn what_was_done_is_noted(pool: PgPool) {
    let hands = TestClock::new();
    let users = Users::new(pool.clone(), hands.clock());
    let actor = UserId(uuid_v7(hands.now()));
    let entry = NewAuditEntry {
        actor: Some(actor),
        action: "login",
        subject: Some(actor.to_string()),
        client_ip: Some("203.0.113.9".to_owned()),
        trace_id: None,
        details: json!({"provider": "github"}),
    };
    users.record_audit(&entry).await.unwrap();
    let (action, subject, details): (String, Option<String>, serde_json::Value) =
        sqlx::query_as("SELECT action, subject, details FROM audit_log")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!((action.as_str(), subject), ("login", Some(actor.to_string())));
    assert_eq!(details, json!({"provider": "github"}));
}
