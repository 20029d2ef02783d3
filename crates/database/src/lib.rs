//! The one PostgreSQL database of the platform: its pool and its migrations.
//!
//! core-api and stock-service share the database and its migrations, and nothing else: products are written
//! by the one, stock by the other. `core-api migrate` brings a database up to date.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// Every change to the schema, in order.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// How to reach the database.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`: `postgres://user:password@host:port/name`.
    pub url: SecretString,
    /// How many connections one program may hold.
    pub max_connections: u32,
}

/// The pool of a program. It connects when it is first used, so that a program starts, and answers that it
/// is not ready, while the database is down.
pub fn connect_lazy(config: &Config) -> Result<PgPool, sqlx::Error> {
    let options: PgConnectOptions = config.url.expose_secret().parse()?;
    // A statement that takes this long is stuck behind a lock, and holds locks of its own.
    let options = options.options([("statement_timeout", "10s"), ("lock_timeout", "5s")]);
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        // Long enough for the first second of a sale, and short of what clients wait.
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options))
}

/// Brings the schema up to date. Safe to run twice, and at once from several places.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    MIGRATOR.run(pool).await
}
