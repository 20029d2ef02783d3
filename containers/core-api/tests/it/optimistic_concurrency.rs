//! Two at once.

use serde_json::json;
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp};

/// The race is won in the database, not by looking first: run often enough, both requests have read the same
/// version when they write.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn of_two_changes_to_the_same_version_one_is_made(pool: PgPool) {
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
        assert_eq!((winner.status, loser.problem()), (200, "412 outdated".to_owned()));

        let read = app.get(format!("/v1/products/{id}")).fetch().await;
        assert_eq!(read.body, winner.body);
        assert_eq!(read.header("etag"), format!("\"{}\"", version + 1));
    }
    assert_eq!(app.product_outbox_events().await.len(), 21);
}

/// With the row held, both requests have read before either writes: the database's own condition decides.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_change_that_was_decided_before_another_was_committed_is_refused(pool: PgPool) {
    let app = TestApp::start(pool.clone()).await;
    let id = app.create_product("Iron kettle", 1).await;

    let mut holder = pool.begin().await.unwrap();
    sqlx::query("UPDATE products SET version = version + 1")
        .execute(&mut *holder)
        .await
        .unwrap();
    let removal = app
        .delete(format!("/v1/products/{id}"))
        .bearer_auth(&app.admin_token)
        .header("If-Match", "\"1\"");
    let waiting = async {
        // Committed only once the removal waits behind it.
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
        holder.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(removal.fetch(), waiting);
    assert_eq!(answer.problem(), "412 outdated");
    assert_eq!(
        app.product_outbox_events().await.len(),
        1,
        "only its coming has been told"
    );
}
