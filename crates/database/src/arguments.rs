//! The arguments and environment variables of a program that connects to the database.

use std::path::PathBuf;

use domain::Clock;
use secrecy::SecretString;
use secrets::{MAX_AGE, Secret, SecretError};

use crate::{Config, url_from_secret};

/// The database that a program connects to.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseArguments {
    /// The PostgreSQL database: `postgres://user:password@host:port/name`
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        required_unless_present = "database_credentials_secret"
    )]
    database_url: Option<SecretString>,

    /// The name of the secret in Secrets Manager with the database's URL or credentials, instead of
    /// DATABASE_URL. The program follows its changes
    #[arg(long, env = "DATABASE_CREDENTIALS_SECRET")]
    database_credentials_secret: Option<String>,

    /// A file with the certificates (PEM) of the CAs that sign the database's certificate
    /// [default: `sslrootcert` in the URL, and the public CAs]
    #[arg(long, env = "DATABASE_CA_FILE")]
    database_ca_file: Option<PathBuf>,
}

impl DatabaseArguments {
    /// The connection settings. Fails when the secret cannot be read or parsed.
    pub async fn config(&self, max_connections: u32, clock: &Clock) -> Result<Config, SecretError> {
        let url = match (&self.database_credentials_secret, &self.database_url) {
            (Some(name), _) => {
                let client = aws_sdk_secretsmanager::Client::new(&aws_client::sdk_config().await);
                Secret::load(client, name.clone(), MAX_AGE, clock.clone(), |text| {
                    Ok(url_from_secret(text)?)
                })
                .await?
            }
            (None, url) => Secret::fixed(url.clone().expect("clap requires one of the two arguments")),
        };
        Ok(Config {
            url,
            ca_file: self.database_ca_file.clone(),
            max_connections,
        })
    }
}
