//! Registration, e-mail verification, password changes, token revocation and the audit log.

use std::error::Error;

use domain::{UserId, ids::uuid_v7};
use serde_json::json;
use sqlx::PgPool;
use tokens::Role;
use users::{AuditFilter, DisplayName, NewAuditEntry, Registration, UnknownRole, UserFilter, Users};

use crate::support::{TestClock, email, new_user_with_password, outbox_events, register, traceparent};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn register_creates_the_account_and_its_event(pool: PgPool) {
    let test_clock = TestClock::new();
    let users = Users::new(pool.clone(), test_clock.clock());
    let user = register(&users, &new_user_with_password("Hanako@Example.com")).await;
    assert_eq!(user.email, "hanako@example.com");
    assert_eq!((user.role, user.email_verified_at), (Role::Customer, None));
    assert_eq!(user.created_at, test_clock.now());

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
    let [(detail_type, data)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(detail_type, "UserRegistered");
    assert_eq!(data["user_id"], json!(user.id));
    assert!(!data.to_string().contains('@'), "{data}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn upsert_account_creates_an_administrator_and_audits_it(pool: PgPool) {
    let test_clock = TestClock::new();
    let users = Users::new(pool, test_clock.clock());
    let (id, name) = (
        UserId::new(test_clock.now()),
        DisplayName::parse("Operator").unwrap(),
    );
    let upsert = async |address: &str, role: Role| {
        // The order of audit log entries within one millisecond is undefined.
        test_clock.advance_millis(1);
        users.upsert_account(id, &email(address), &name, role).await
    };
    upsert("root@example.com", Role::Admin).await.unwrap();
    let user = users.find_by_id(id).await.unwrap().unwrap();
    assert_eq!(
        (user.role, user.email.as_str()),
        (Role::Admin, "root@example.com")
    );
    assert_eq!(
        user.email_verified_at, None,
        "an operator cannot verify the address for the user"
    );
    let credentials = users.find_by_email(&email("root@example.com")).await.unwrap();
    assert_eq!(credentials.unwrap().password_hash, None);

    let verified_at = test_clock.now();
    assert!(users.mark_email_verified(id, "root@example.com").await.unwrap());
    upsert("root@example.com", Role::Support).await.unwrap();
    let updated = users.find_by_id(id).await.unwrap().unwrap();
    assert_eq!(
        (updated.role, updated.email_verified_at),
        (Role::Support, Some(verified_at))
    );
    upsert("other@example.com", Role::Support).await.unwrap();
    let moved = users.find_by_id(id).await.unwrap().unwrap();
    assert_eq!(
        moved.email_verified_at, None,
        "a new address must be verified again"
    );
    let log = users.audit_log(&AuditFilter::default(), 10, None).await.unwrap();
    let roles: Vec<_> = log.entries.iter().map(|entry| &entry.details["role"]).collect();
    assert_eq!(roles, ["support", "support", "admin"]);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn concurrent_registrations_with_one_email_create_one_account(pool: PgPool) {
    let users = Users::new(pool.clone(), TestClock::new().clock());
    let new_user = new_user_with_password("hanako@example.com");
    let registrations: Vec<_> = (0..8)
        .map(|_| {
            let (users, new_user) = (users.clone(), new_user.clone());
            tokio::spawn(async move { users.register(&new_user, traceparent()).await.unwrap() })
        })
        .collect();
    let (mut created, mut existing) = (Vec::new(), Vec::new());
    for registration in registrations {
        match registration.await.unwrap() {
            Registration::Created(user) => created.push(user),
            Registration::AlreadyRegistered(user) => existing.push(user),
            Registration::Conflict => panic!("no account was deleted"),
        }
    }
    assert_eq!((created.len(), existing.len()), (1, 7));
    assert!(existing.iter().all(|user| *user == created[0]));
    assert_eq!(outbox_events(&pool).await.len(), 1);
}

/// The account that conflicts with a registration may be deleted before the registration reads it.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn registrations_that_race_with_deletions_do_not_fail(pool: PgPool) {
    let users = Users::new(pool, TestClock::new().clock());
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let users = users.clone();
            tokio::spawn(async move {
                let new_user = new_user_with_password("hanako@example.com");
                for _ in 0..25 {
                    let registration = users.register(&new_user, traceparent()).await.unwrap();
                    if let Registration::Created(user) = registration {
                        assert!(users.delete(user.id, &deletion_entry(user.id)).await.unwrap());
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn deletion_entry(user_id: UserId) -> NewAuditEntry {
    NewAuditEntry {
        actor: Some(user_id),
        action: "account_deleted",
        subject: Some(user_id.to_string()),
        client_ip: None,
        trace_id: None,
        details: json!({}),
    }
}

/// A newer version may have added the role; a fallback to another role would grant or remove permissions.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn unknown_role_in_the_database_is_an_error(pool: PgPool) {
    let users = Users::new(pool.clone(), TestClock::new().clock());
    let user = register(&users, &new_user_with_password("hanako@example.com")).await;
    sqlx::query("ALTER TABLE accounts.users DROP CONSTRAINT users_role_check")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("UPDATE accounts.users SET role = 'owner'")
        .execute(&pool)
        .await
        .unwrap();

    let address = email(&user.email);
    for error in [
        users.find_by_id(user.id).await.unwrap_err(),
        users.find_by_email(&address).await.map(drop).unwrap_err(),
        users.account_status(user.id).await.unwrap_err(),
        users.profile(user.id).await.unwrap_err(),
        users.list(&UserFilter::default(), 10, None).await.unwrap_err(),
    ] {
        let column_error = error.source().unwrap();
        assert_eq!(
            column_error.source().unwrap().downcast_ref::<UnknownRole>(),
            Some(&UnknownRole("owner".to_owned()))
        );
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn email_verification_keeps_the_first_time_and_needs_the_current_address(pool: PgPool) {
    let test_clock = TestClock::new();
    let users = Users::new(pool, test_clock.clock());
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

    test_clock.advance_millis(1_000);
    let verified_at = test_clock.now();
    assert!(users.mark_email_verified(user.id, &user.email).await.unwrap());
    test_clock.advance_millis(1_000);
    assert!(users.mark_email_verified(user.id, &user.email).await.unwrap());
    let verified = users.find_by_id(user.id).await.unwrap().unwrap();
    assert_eq!(verified.email_verified_at, Some(verified_at));
    assert_eq!(verified.updated_at, verified_at);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn password_change_revokes_earlier_tokens_and_needs_the_current_address(pool: PgPool) {
    let test_clock = TestClock::new();
    let users = Users::new(pool, test_clock.clock());
    let user = register(&users, &new_user_with_password("hanako@example.com")).await;
    let valid_from = async || {
        users
            .account_status(user.id)
            .await
            .unwrap()
            .unwrap()
            .tokens_valid_from
    };
    assert_eq!(valid_from().await, test_clock.now());

    test_clock.advance_millis(5_000);
    assert!(
        users
            .change_password(user.id, "another hash", None)
            .await
            .unwrap()
    );
    assert!(valid_from().await > test_clock.now());
    let changed = users.find_by_email(&email(&user.email)).await.unwrap().unwrap();
    assert_eq!(changed.password_hash.as_deref(), Some("another hash"));
    assert_eq!(changed.user.email_verified_at, None);

    assert!(
        users
            .change_password(user.id, "a third", Some(&user.email))
            .await
            .unwrap()
    );
    let verified = users.find_by_id(user.id).await.unwrap().unwrap();
    assert_eq!(verified.email_verified_at, Some(test_clock.now()));

    let outdated_address = users
        .change_password(user.id, "a fourth", Some("taro@example.com"))
        .await;
    assert!(
        !outdated_address.unwrap(),
        "the address no longer belongs to the account"
    );
    let unknown_user = UserId(uuid_v7(test_clock.now()));
    assert!(
        !users
            .change_password(unknown_user, "a fifth", None)
            .await
            .unwrap()
    );
    let unchanged = users.find_by_email(&email(&user.email)).await.unwrap().unwrap();
    assert_eq!(unchanged.password_hash.as_deref(), Some("a third"));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn token_revocation_never_moves_back_in_time(pool: PgPool) {
    let test_clock = TestClock::new();
    let users = Users::new(pool, test_clock.clock());
    let user = register(&users, &new_user_with_password("hanako@example.com")).await;
    test_clock.advance_millis(5_000);
    users.revoke_tokens(user.id).await.unwrap();
    let revoked = users
        .account_status(user.id)
        .await
        .unwrap()
        .unwrap()
        .tokens_valid_from;
    assert!(revoked > test_clock.now());
    // The next call runs on a machine whose clock is behind.
    test_clock.advance_millis(-3_000);
    users.revoke_tokens(user.id).await.unwrap();
    let status = users.account_status(user.id).await.unwrap().unwrap();
    assert_eq!(status.tokens_valid_from, revoked);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn record_audit_stores_the_entry(pool: PgPool) {
    let test_clock = TestClock::new();
    let users = Users::new(pool.clone(), test_clock.clock());
    let actor = UserId(uuid_v7(test_clock.now()));
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
        sqlx::query_as("SELECT action, subject, details FROM accounts.audit_log")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!((action.as_str(), subject), ("login", Some(actor.to_string())));
    assert_eq!(details, json!({"provider": "github"}));
}

/// Signing out everywhere, a new password and a deletion publish from when on tokens are valid, in the same
/// transaction.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn revocations_of_tokens_are_published(pool: PgPool) {
    let test_clock = TestClock::new();
    let users = Users::new(pool.clone(), test_clock.clock());
    let user = register(&users, &new_user_with_password("hanako@example.com")).await;
    let expected = |published: usize, at: domain::Timestamp| {
        let valid_from = at + chrono::TimeDelta::milliseconds(1);
        (
            published,
            json!({"user_id": user.id, "tokens_valid_from": valid_from}),
        )
    };
    let published = async || {
        let mut events = outbox_events(&pool).await;
        events.retain(|(detail_type, _)| detail_type == "UserTokensRevoked");
        (events.len(), events.pop().unwrap().1)
    };
    test_clock.advance_millis(1_000);
    users.revoke_tokens(user.id).await.unwrap();
    assert_eq!(published().await, expected(1, test_clock.now()));
    test_clock.advance_millis(1_000);
    assert!(users.change_password(user.id, "another", None).await.unwrap());
    assert_eq!(published().await, expected(2, test_clock.now()));
    let unknown_user = UserId(uuid_v7(test_clock.now()));
    assert!(
        !users
            .change_password(unknown_user, "a third", None)
            .await
            .unwrap()
    );
    assert_eq!(published().await.0, 2);
    test_clock.advance_millis(1_000);
    let entry = NewAuditEntry {
        actor: Some(user.id),
        action: "account_deleted",
        subject: None,
        client_ip: None,
        trace_id: None,
        details: json!({}),
    };
    assert!(users.delete(user.id, &entry).await.unwrap());
    assert_eq!(published().await, expected(3, test_clock.now()));
    assert!(!users.delete(user.id, &entry).await.unwrap());
    assert_eq!(published().await.0, 3);
}
