//! The secrets that CloudFront sends: read from Secrets Manager, and again when they may have changed.

use std::{sync::Arc, time::Duration};

use aws_sdk_secretsmanager::Client;
use domain::Clock;
use http_server::OriginSecrets;
use secrecy::ExposeSecret;
use secrets::{MAX_AGE, Secret, SecretError};

/// How often the age of the cached secret is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the secret `name`. The returned value follows its changes until the service stops.
///
/// # Errors
/// When the secret cannot be read or parsed.
pub async fn load(client: Client, name: String, clock: Clock) -> Result<OriginSecrets, SecretError> {
    let secret = Secret::load(client, name, MAX_AGE, clock, |text| {
        Ok(text.expose_secret().parse::<OriginSecrets>()?)
    })
    .await?;
    let applied = OriginSecrets::clone(&*secret.current().await);
    tokio::spawn(follow(secret, applied.clone()));
    Ok(applied)
}

async fn follow(secret: Secret<OriginSecrets>, applied: OriginSecrets) {
    let mut known = secret.current().await;
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let current = secret.current().await;
        if !Arc::ptr_eq(&current, &known) {
            applied.replace(&current);
            known = current;
        }
    }
}
