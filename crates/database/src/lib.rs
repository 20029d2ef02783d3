//! PostgreSQL: the connection pool, errors, pages, the schema migrations and the roles of the programs.
//!
//! The programs share one database. Each owner of data has a schema, and each program connects with a role
//! that has the rights that it needs. `core-api migrate` applies the migrations as the owner of the database.

#[cfg(feature = "arguments")]
mod arguments;
mod error;
mod page;
mod roles;
mod secret;
#[cfg(feature = "testing")]
pub mod testing;

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use secrets::Secret;
use sqlx::{
    PgPool,
    migrate::{MigrateError, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};

#[cfg(feature = "arguments")]
pub use arguments::DatabaseArguments;
pub use error::DatabaseError;
pub use page::truncate_page;
pub use roles::{Role, SetPasswordError, set_password};
pub use secret::{CredentialsError, follow_secret, url_from_secret};

/// The schema migrations in `migrations/`, in order.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// The database connection settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// `postgres://user:password@host:port/name`.
    pub url: Secret<SecretString>,
    /// `DATABASE_CA_FILE`: the certificates, in PEM, of the CAs that may sign the server's certificate beside
    /// the public CAs. It takes precedence over `sslrootcert` in the URL.
    pub ca_file: Option<PathBuf>,
    /// The maximum number of connections of one process.
    pub max_connections: u32,
}

/// The connection settings are invalid. No message contains the URL.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("it is not a PostgreSQL URL")]
    InvalidUrl(#[source] sqlx::Error),
    #[error(
        "its `sslmode` does not verify the server: omit it or use verify-full (`disable` is accepted for a \
         server on this machine only)"
    )]
    Unverified,
    #[error("cannot read the CA file {0}")]
    CaFile(PathBuf, #[source] io::Error),
}

/// A connection pool that connects on first use, so that a service starts and reports that it is not ready
/// while the database is down. Connections are encrypted, and the server's certificate must be valid for the
/// host in the URL. The pool keeps its credentials unless [`follow_secret`] runs.
pub async fn connect_lazy(config: &Config) -> Result<PgPool, ConfigError> {
    let options = connect_options(&*config.url.current().await, config.ca_file.as_deref())?;
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        // Long enough for the first second of a load spike, and shorter than the timeouts of clients.
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(options))
}

fn connect_options(url: &SecretString, ca_file: Option<&Path>) -> Result<PgConnectOptions, ConfigError> {
    let options: PgConnectOptions = url.expose_secret().parse().map_err(ConfigError::InvalidUrl)?;
    let options = require_verification(options)?
        // A statement that takes longer is waiting for a lock while it holds locks that others wait for.
        .options([("statement_timeout", "10s"), ("lock_timeout", "5s")]);
    let Some(file) = ca_file else {
        return Ok(options);
    };
    let certificates = fs::read(file).map_err(|error| ConfigError::CaFile(file.to_owned(), error))?;
    Ok(options.ssl_root_cert_from_pem(certificates))
}

fn require_verification(options: PgConnectOptions) -> Result<PgConnectOptions, ConfigError> {
    match options.get_ssl_mode() {
        // sqlx prefers encryption, without verification, when the URL has no `sslmode`.
        PgSslMode::Prefer | PgSslMode::VerifyFull => Ok(options.ssl_mode(PgSslMode::VerifyFull)),
        PgSslMode::Disable if is_on_this_machine(&options) => Ok(options),
        _ => Err(ConfigError::Unverified),
    }
}

fn is_on_this_machine(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_matches(['[', ']']);
    options.get_socket().is_some()
        || host == "localhost"
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Applies pending migrations. Idempotent, and safe to run concurrently: it takes a lock in the database.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    MIGRATOR.run(pool).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssl_mode(url: &str) -> Result<&'static str, String> {
        match connect_options(&url.into(), None) {
            Ok(options) => Ok(match options.get_ssl_mode() {
                PgSslMode::VerifyFull => "verify-full",
                PgSslMode::Disable => "disable",
                other => panic!("{other:?}"),
            }),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_server_is_verified_unless_it_is_on_this_machine() {
        let remote = "postgres://user:password@db.example/shop";
        assert_eq!(ssl_mode(remote), Ok("verify-full"));
        assert_eq!(
            ssl_mode(&format!("{remote}?sslmode=verify-full")),
            Ok("verify-full")
        );
        for mode in ["disable", "allow", "require", "verify-ca"] {
            let refused = ssl_mode(&format!("{remote}?sslmode={mode}")).unwrap_err();
            assert!(refused.contains("verify-full"), "{mode}: {refused}");
        }
        for host in ["127.0.0.1", "[::1]", "localhost", "%2Fvar%2Frun%2Fpostgresql"] {
            let url = format!("postgres://user@{host}/shop");
            assert_eq!(ssl_mode(&url), Ok("verify-full"), "{host}");
            assert_eq!(
                ssl_mode(&format!("{url}?sslmode=disable")),
                Ok("disable"),
                "{host}"
            );
            assert!(ssl_mode(&format!("{url}?sslmode=require")).is_err(), "{host}");
        }
        for host in ["127.0.0.1.example", "localhost.example", "10.0.0.1"] {
            let url = format!("postgres://user@{host}/shop?sslmode=disable");
            assert!(ssl_mode(&url).is_err(), "{host}");
        }
    }

    #[test]
    fn errors_do_not_reveal_the_password() {
        for url in [
            "postgres://user:secret@host:port/shop",
            "postgres://user:secret@host/shop?sslmode=allow",
        ] {
            assert!(!ssl_mode(url).unwrap_err().contains("secret"));
        }
    }
}
