//! Optimistic concurrency control with If-Match, under concurrent requests.

use serde_json::json;
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp};

/// The database decides which request wins, not the read before it: in some of the repetitions, both requests
/// have read the same version when they write.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn one_of_two_concurrent_changes_wins(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let id = app.create_product("Iron kettle", 1).await;
    for version in 1..=20 {
        let change = |price: i64| {
            app.patch(format!("/v1/products/{id}"))
                .bearer_auth(&app.admin_token)
                .header("If-Match", format!("\"{version}\""))
                .json(&json!({"price": price}))
                .fetch()
        };
        let (one, other) = tokio::join!(change(2 * version), change(2 * version + 1));
        let (winner, loser) = if one.status == 200 {
            (one, other)
        } else {
            (other, one)
        };
        assert_eq!(
            (winner.status, loser.problem()),
            (200, "412 precondition-failed".to_owned())
        );

        let read = app.get(format!("/v1/products/{id}")).fetch().await;
        assert_eq!(read.body, winner.body);
        assert_eq!(read.header("etag"), format!("\"{}\"", version + 1));
    }
    assert_eq!(app.product_outbox_events().await.len(), 21);
}

/// The test locks the row, so that the removal reads version 1 before the other change commits version 2.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn change_based_on_a_stale_version_is_rejected_after_a_lock_wait(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let id = app.create_product("Iron kettle", 1).await;

    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("UPDATE catalog.products SET version = version + 1")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let removal = app
        .delete(format!("/v1/products/{id}"))
        .bearer_auth(&app.admin_token)
        .header("If-Match", "\"1\"");
    let commit_after_lock_wait = async {
        // Commit only after the removal waits for the lock.
        loop {
            let waits: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM pg_stat_activity
                                WHERE datname = current_database() AND wait_event_type = 'Lock')",
            )
            .fetch_one(&pool)
            .await
            .unwrap();
            if waits {
                break;
            }
            tokio::task::yield_now().await;
        }
        transaction.commit().await.unwrap();
    };
    let (response, ()) = tokio::join!(removal.fetch(), commit_after_lock_wait);
    assert_eq!(response.problem(), "412 precondition-failed");
    assert_eq!(app.product_outbox_events().await.len(), 1, "only ProductCreated");
}
