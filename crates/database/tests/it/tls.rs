//! The local PostgreSQL accepts encrypted connections only, as RDS does, and clients verify its certificate.

use std::path::PathBuf;

use database::{Config, testing::keys_dir};
use secrets::Secret;
use sqlx::{
    ConnectOptions, PgPool,
    postgres::{PgConnectOptions, PgSslMode},
};

/// Connects as programs do, to `host`, and trusting the CAs in `ca_file`. Returns the error's text.
async fn connect(pool: &PgPool, host: &str, ca_file: Option<PathBuf>) -> Result<(), String> {
    // Without the `sslrootcert` of the pool.
    let options = pool.connect_options();
    let url = format!(
        "postgres://auth:auth@{host}:{}/{}",
        options.get_port(),
        options.get_database().unwrap(),
    );
    let config = Config {
        url: Secret::fixed(url.into()),
        ca_file,
        max_connections: 1,
    };
    let connected = database::connect_lazy(&config).await.unwrap().acquire().await;
    connected.map(drop).map_err(|error| format!("{error:?}"))
}

fn key_file(name: &str) -> Option<PathBuf> {
    Some(keys_dir().join(name))
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_server_refuses_a_plaintext_connection(pool: PgPool) {
    let plaintext = PgConnectOptions::clone(&pool.connect_options()).ssl_mode(PgSslMode::Disable);
    let error = plaintext.connect().await.unwrap_err().to_string();
    assert!(error.contains("no encryption"), "{error}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_certificate_of_the_configured_ca_is_accepted(pool: PgPool) {
    assert_eq!(
        connect(&pool, "127.0.0.1", key_file("database-ca.pem")).await,
        Ok(())
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_certificate_of_an_unknown_ca_is_refused(pool: PgPool) {
    // Only public CAs, or a file without the CA that signed the certificate.
    for ca_file in [None, key_file("database-cert.pem")] {
        let error = connect(&pool, "127.0.0.1", ca_file).await.unwrap_err();
        assert!(error.contains("UnknownIssuer"), "{error}");
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_certificate_of_another_host_is_refused(pool: PgPool) {
    // Another name of this machine, which the certificate does not contain.
    let error = connect(&pool, "0.0.0.0", key_file("database-ca.pem"))
        .await
        .unwrap_err();
    assert!(error.contains("NotValidForName"), "{error}");
}
