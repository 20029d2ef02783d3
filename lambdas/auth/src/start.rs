//! What the functions are made of before their first invocation. Each takes only what it uses.

use aws_sdk_dynamodb::Client as DynamoDb;
use chrono::TimeDelta;
use database::Config;
use lambda_shared::{Init, InitError, InvalidEnvironment};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use users::Users;

use crate::{
    access::Issuer,
    guard::{FAILURES_PER_ADDRESS, Guard},
    keys::{FRESH, Keys},
    links::Links,
    mailer::Mailer,
    secrets::Secrets,
    sessions::Sessions,
    store::Store,
};

/// A process answers one request at a time, and now and then a connection has died while it was frozen.
const CONNECTIONS: u32 = 2;

/// What is needed to reach the database, as Secrets Manager keeps it. What else may be in it is for others.
#[derive(Deserialize)]
struct Credentials {
    url: SecretString,
}

/// The accounts, in the database of the secret that `DATABASE_CREDENTIALS_SECRET` names. While it is down the function
/// starts, and answers that it is not available.
pub(crate) async fn users(init: &Init) -> Result<Users, InitError> {
    let name = named(init, "DATABASE_CREDENTIALS_SECRET", "core-api/db-credentials")?;
    let secret = secrets(init).read(&name).await?;
    let Credentials { url } = serde_json::from_str(secret.expose_secret())
        // The parser's own words could quote the password.
        .map_err(|_| format!("the secret {name} is not {{\"url\": …}}"))?;
    let pool = database::connect(&Config {
        url,
        max_connections: CONNECTIONS,
    })
    .map_err(|_| format!("the url in the secret {name} is not a PostgreSQL address"))?;
    if let Err(error) = pool.acquire().await {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::warn!(error, "the accounts' database is down");
    }
    Ok(Users::new(pool, init.clock.clone()))
}

/// The table `SESSIONS_TABLE`.
pub(crate) async fn store(init: &Init) -> Result<Store, InitError> {
    let table: String = init.environment.required("SESSIONS_TABLE")?;
    let store = Store::new(DynamoDb::new(&init.aws), table);
    store.connect().await?;
    Ok(store)
}

/// The sessions in `store`, with the pepper in the secret that `REFRESH_PEPPER_SECRET` names.
pub(crate) async fn sessions(init: &Init, store: Store) -> Result<Sessions, InitError> {
    let name = named(init, "REFRESH_PEPPER_SECRET", "ecommerce/refresh-pepper")?;
    let pepper = secrets(init).read(&name).await?.expose_secret().parse()?;
    Ok(Sessions::new(store, pepper, init.clock.clone()))
}

/// Access tokens in the name of `AUTH_ISSUER`, with the keys in the secret that `USER_SIGNING_KEYS_SECRET` names.
pub(crate) async fn issuer(init: &Init) -> Result<Issuer, InitError> {
    let issuer = init.environment.required("AUTH_ISSUER")?;
    Ok(Issuer::new(keys(init).await?, issuer, init.clock.clone()))
}

/// The signing keys, in the secret that `USER_SIGNING_KEYS_SECRET` names, read again after
/// `SIGNING_KEYS_FRESH_SECONDS`.
pub(crate) async fn keys(init: &Init) -> Result<Keys, InitError> {
    let name = named(init, "USER_SIGNING_KEYS_SECRET", "ecommerce/user-signing-keys")?;
    let fresh: Option<u32> = init.environment.optional("SIGNING_KEYS_FRESH_SECONDS")?;
    let fresh = fresh.map_or(FRESH, |seconds| TimeDelta::seconds(seconds.into()));
    Ok(Keys::read(secrets(init), name, fresh, init.clock.clone()).await?)
}

/// The links in `store`.
pub(crate) fn links(init: &Init, store: Store) -> Links {
    Links::new(store, init.clock.clone())
}

/// The counts of tries in `store`; an address may have `FAILURES_PER_ADDRESS` of them an hour.
pub(crate) fn guard(init: &Init, store: Store) -> Result<Guard, InvalidEnvironment> {
    let most = init.environment.optional("FAILURES_PER_ADDRESS")?;
    let most = most.unwrap_or(FAILURES_PER_ADDRESS);
    Ok(Guard::new(store, most, init.clock.clone()))
}

/// The queue at `NOTIFICATION_QUEUE_URL`.
pub(crate) fn mailer(init: &Init) -> Result<Mailer, InvalidEnvironment> {
    let queue = init.environment.required("NOTIFICATION_QUEUE_URL")?;
    let client = aws_sdk_sqs::Client::new(&init.aws);
    Ok(Mailer::new(client, queue, init.clock.clone()))
}

pub(crate) fn secrets(init: &Init) -> Secrets {
    Secrets::new(aws_sdk_secretsmanager::Client::new(&init.aws))
}

/// The name of a secret, unless it is configured the one that the template gives it.
pub(crate) fn named(init: &Init, variable: &'static str, usual: &str) -> Result<String, InvalidEnvironment> {
    let configured = init.environment.optional(variable)?;
    Ok(configured.unwrap_or_else(|| usual.to_owned()))
}
