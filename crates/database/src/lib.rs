//! The PostgreSQL connection pool, the schema migrations and the roles of the programs.
//!
//! The programs share one database. Each owner of data has a schema, and each program connects with a role
//! that has the rights that it needs. `core-api migrate` applies the migrations as the owner of the database.

mod roles;
mod secret;
#[cfg(feature = "testing")]
pub mod testing;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub use roles::{Role, SetPasswordError, set_password};
pub use secret::{CredentialsError, follow_secret, url_from_secret};

/// The schema migrations in `migrations/`, in order.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// The database connection settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// `DATABASE_URL`: `postgres://user:password@host:port/name`.
    pub url: SecretString,
    /// The maximum number of connections of one process.
    pub max_connections: u32,
}

/// A connection pool that connects on first use, so that a service starts and reports that it is not ready
/// while the database is down. Fails when the URL is malformed.
pub fn connect_lazy(config: &Config) -> Result<PgPool, sqlx::Error> {
    let options = connect_options(&config.url)?;
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        // Long enough for the first second of a load spike, and shorter than the timeouts of clients.
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options))
}

fn connect_options(url: &SecretString) -> Result<PgConnectOptions, sqlx::Error> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    // A statement that takes longer is waiting for a lock while it holds locks that others wait for.
    Ok(options.options([("statement_timeout", "10s"), ("lock_timeout", "5s")]))
}

/// Applies pending migrations. Idempotent, and safe to run concurrently: it takes a lock in the database.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    MIGRATOR.run(pool).await
}
