//! Database credentials in Secrets Manager, and pools that follow their rotation.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sqlx::{PgPool, error::DatabaseError};
use url::Url;

use crate::{Config, ConfigError, connect_options};

/// How often a pool's credentials are checked. A refused password delays requests by at most this time.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The content of a secret. Other members are ignored.
#[derive(Deserialize)]
#[serde(untagged)]
enum Credentials {
    /// As RDS and its rotation functions write it.
    Rds {
        username: String,
        password: SecretString,
        host: String,
        port: u16,
        dbname: String,
    },
    /// A URL, for a local system.
    Url { url: SecretString },
}

/// The message contains no part of the secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The parser's message is dropped, because it could quote the password.
    #[error(
        r#"the database credentials are neither {{"username","password","host","port","dbname"}} nor {{"url"}}"#
    )]
    Malformed,
    #[error("the database host is invalid")]
    InvalidHost,
    #[error("the database URL cannot be used: {0}")]
    InvalidUrl(ConfigError),
}

/// The URL of the database, from the text of a secret.
pub fn url_from_secret(text: &SecretString) -> Result<SecretString, CredentialsError> {
    let credentials = serde_json::from_str(text.expose_secret()).map_err(|_| CredentialsError::Malformed)?;
    let url = match credentials {
        Credentials::Url { url } => url,
        Credentials::Rds {
            username,
            password,
            host,
            port,
            dbname,
        } => {
            let mut url = Url::parse("postgres://host").expect("the URL is valid");
            url.set_host(Some(&host))
                .map_err(|_| CredentialsError::InvalidHost)?;
            // The setters escape all reserved characters but `%`. They fail only for a URL without a host.
            let escape = |text: &str| text.replace('%', "%25");
            let set = url
                .set_username(&escape(&username))
                .and_then(|()| url.set_password(Some(&escape(password.expose_secret()))))
                .and_then(|()| url.set_port(Some(port)));
            set.map_err(|()| CredentialsError::InvalidHost)?;
            url.set_path(&escape(&dbname));
            String::from(url).into()
        }
    };
    connect_options(&url, None).map_err(CredentialsError::InvalidUrl)?;
    Ok(url)
}

/// Keeps the credentials of `pools`, which were connected with `config`, equal to its URL. When PostgreSQL
/// refuses the password, reads the secret again at once. Open connections stay open. Returns at once if the
/// URL is fixed, and otherwise never.
pub async fn follow_secret<const N: usize>(pools: [PgPool; N], config: Config) {
    let Config { url, ca_file, .. } = config;
    if url.is_fixed() {
        return;
    }
    let mut applied = url.current().await;
    loop {
        let refused = match pools[0].acquire().await {
            Err(sqlx::Error::Database(error)) => is_refused_password(&*error),
            _ => false,
        };
        let current = if refused {
            url.read_again(&applied).await
        } else {
            Some(url.current().await)
        };
        if let Some(current) = current
            && !Arc::ptr_eq(&current, &applied)
        {
            match connect_options(&current, ca_file.as_deref()) {
                Ok(options) => {
                    for pool in &pools {
                        pool.set_connect_options(options.clone());
                    }
                    applied = current;
                    tracing::info!("new database connections use the changed credentials");
                }
                Err(error) => {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::error!(error, "the changed database credentials cannot be used");
                }
            }
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}

/// `invalid_password` or `invalid_authorization_specification`, as PostgreSQL answers an unknown user.
fn is_refused_password(error: &dyn DatabaseError) -> bool {
    matches!(error.code().as_deref(), Some("28P01" | "28000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(secret: &str) -> Result<String, String> {
        let url = url_from_secret(&secret.to_owned().into());
        url.map(|url| url.expose_secret().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn understands_a_secret_of_rds() {
        let secret = r#"{"username": "auth", "password": "p@ss/w:rd?#%41", "engine": "postgres",
            "host": "db.example.com", "port": 5432, "dbname": "matsuri", "dbInstanceIdentifier": "db-1"}"#;
        assert_eq!(
            url(secret).unwrap(),
            "postgres://auth:p%40ss%2Fw%3Ard%3F%23%2541@db.example.com:5432/matsuri"
        );
    }

    #[test]
    fn understands_a_url() {
        let secret = r#"{"url": "postgres://auth:auth@127.0.0.1:5432/matsuri"}"#;
        assert_eq!(
            url(secret).unwrap(),
            "postgres://auth:auth@127.0.0.1:5432/matsuri"
        );
    }

    #[test]
    fn refuses_a_url_that_does_not_verify_the_server() {
        let error = url(r#"{"url": "postgres://auth:auth@db.example/matsuri?sslmode=require"}"#).unwrap_err();
        assert!(error.contains("verify-full"), "{error}");
    }

    #[test]
    fn errors_do_not_quote_the_secret() {
        for secret in [
            "hunter2",
            r#"{"url": 5, "password": "hunter2"}"#,
            r#"{"username": "auth", "password": "hunter2", "host": "db", "port": "many", "dbname": "x"}"#,
            r#"{"username": "auth", "password": "hunter2", "host": "a b", "port": 1, "dbname": "x"}"#,
            r#"{"url": "hunter2"}"#,
        ] {
            let error = url(secret).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
