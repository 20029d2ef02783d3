//! Which errors of a query mean that the database is unavailable.

use std::time::Duration;

use database::DatabaseError;
use sqlx::{
    Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// The error of a statement that fails with this SQLSTATE.
async fn error_with(sqlstate: &str, pool: &PgPool) -> DatabaseError {
    let statement = format!("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END $$");
    let error = sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(pool)
        .await
        .unwrap_err();
    let error = DatabaseError::from(error);
    assert_eq!(error.sqlstate().as_deref(), Some(sqlstate));
    error
}

#[sqlx::test(migrations = false)]
async fn restart_and_refused_connections_mean_that_the_database_is_unavailable(pool: PgPool) {
    for sqlstate in ["57P01", "57P02", "57P03", "53300", "28P01"] {
        assert!(error_with(sqlstate, &pool).await.is_unavailable(), "{sqlstate}");
    }
    // A unique violation, a statement timeout and a missing right.
    for sqlstate in ["23505", "57014", "42501"] {
        assert!(!error_with(sqlstate, &pool).await.is_unavailable(), "{sqlstate}");
    }
}

#[tokio::test]
async fn refused_connection_means_that_the_database_is_unavailable() {
    // No server listens on the port of the discard protocol.
    let connected = PgConnection::connect("postgres://matsuri@127.0.0.1:9/matsuri").await;
    let error = DatabaseError::from(connected.unwrap_err());
    assert!(error.is_unavailable(), "{error:?}");
    assert_eq!(error.sqlstate(), None);
}

#[sqlx::test(migrations = false)]
async fn exhausted_pool_means_that_the_database_is_unavailable(
    options: PgPoolOptions,
    connect_options: PgConnectOptions,
) {
    let pool = options
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy_with(connect_options);
    let _only_connection = pool.acquire().await.unwrap();
    let error = DatabaseError::from(pool.acquire().await.unwrap_err());
    assert!(error.is_unavailable(), "{error:?}");
}

#[sqlx::test(migrations = false)]
async fn value_that_the_program_does_not_know_is_no_unavailability(pool: PgPool) {
    let error = sqlx::query_scalar::<_, i64>("SELECT 'text'")
        .fetch_one(&pool)
        .await
        .unwrap_err();
    assert!(!DatabaseError::from(error).is_unavailable());
    assert!(!DatabaseError::invalid_value("role", "the role \"owner\" is unknown").is_unavailable());
}
