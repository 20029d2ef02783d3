//! What the functions are made of before their first invocation. Each takes only what it uses.

use aws_sdk_dynamodb::Client as DynamoDb;
use chrono::TimeDelta;
use database::Config;
use lambda_shared::{EnvironmentError, FunctionContext, InitError};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use users::Users;

use crate::{
    access_token::UserTokenIssuer,
    email_link::EmailLinks,
    login_throttle::{DEFAULT_MAX_FAILURES_PER_IP, LoginThrottle},
    mailer::Mailer,
    secrets_manager::SecretsManager,
    sessions::Sessions,
    sessions_table::SessionsTable,
    signing_keys::{CACHE_TTL, CachedSigningKeys},
};

/// A process answers one request at a time, and now and then a connection has died while it was frozen.
const MAX_DATABASE_CONNECTIONS: u32 = 2;

/// What is needed to reach the database, as Secrets Manager keeps it. What else may be in it is for others.
#[derive(Deserialize)]
struct DatabaseCredentials {
    url: SecretString,
}

/// The accounts, in the database of the secret that `DATABASE_CREDENTIALS_SECRET` names. While it is down the function
/// starts, and answers that it is not available.
pub(crate) async fn users(init: &FunctionContext) -> Result<Users, InitError> {
    let name = secret_name(init, "DATABASE_CREDENTIALS_SECRET", "core-api/db-credentials")?;
    let secret = secrets_manager(init).read(&name).await?;
    let DatabaseCredentials { url } = serde_json::from_str(secret.expose_secret())
        // The parser's own words could quote the password.
        .map_err(|_| format!("the secret {name} is not {{\"url\": …}}"))?;
    let pool = database::connect_lazy(&Config {
        url,
        max_connections: MAX_DATABASE_CONNECTIONS,
    })
    .map_err(|_| format!("the url in the secret {name} is not a PostgreSQL address"))?;
    if let Err(error) = pool.acquire().await {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::warn!(error, "the accounts' database is down");
    }
    Ok(Users::new(pool, init.clock.clone()))
}

/// The table `SESSIONS_TABLE`.
pub(crate) async fn sessions_table(init: &FunctionContext) -> Result<SessionsTable, InitError> {
    let table: String = init.environment.required("SESSIONS_TABLE")?;
    let store = SessionsTable::new(DynamoDb::new(&init.aws), table);
    store.warm_up().await?;
    Ok(store)
}

/// The sessions in `store`, with the pepper in the secret that `REFRESH_PEPPER_SECRET` names.
pub(crate) async fn sessions(init: &FunctionContext, store: SessionsTable) -> Result<Sessions, InitError> {
    let name = secret_name(init, "REFRESH_PEPPER_SECRET", "ecommerce/refresh-pepper")?;
    let pepper = secrets_manager(init).read(&name).await?.expose_secret().parse()?;
    Ok(Sessions::new(store, pepper, init.clock.clone()))
}

/// Access tokens in the name of `AUTH_ISSUER`, with the keys in the secret that `USER_SIGNING_KEYS_SECRET` names.
pub(crate) async fn issuer(init: &FunctionContext) -> Result<UserTokenIssuer, InitError> {
    let issuer = init.environment.required("AUTH_ISSUER")?;
    Ok(UserTokenIssuer::new(
        signing_keys(init).await?,
        issuer,
        init.clock.clone(),
    ))
}

/// The signing keys, in the secret that `USER_SIGNING_KEYS_SECRET` names, read again after
/// `SIGNING_KEYS_CACHE_TTL_SECONDS`.
pub(crate) async fn signing_keys(init: &FunctionContext) -> Result<CachedSigningKeys, InitError> {
    let name = secret_name(init, "USER_SIGNING_KEYS_SECRET", "ecommerce/user-signing-keys")?;
    let fresh: Option<u32> = init.environment.optional("SIGNING_KEYS_CACHE_TTL_SECONDS")?;
    let fresh = fresh.map_or(CACHE_TTL, |seconds| TimeDelta::seconds(seconds.into()));
    Ok(CachedSigningKeys::load(secrets_manager(init), name, fresh, init.clock.clone()).await?)
}

/// The links in `store`.
pub(crate) fn email_links(init: &FunctionContext, store: SessionsTable) -> EmailLinks {
    EmailLinks::new(store, init.clock.clone())
}

/// The counts of tries in `store`; an address may have `MAX_LOGIN_FAILURES_PER_IP` of them an hour.
pub(crate) fn login_throttle(
    init: &FunctionContext,
    store: SessionsTable,
) -> Result<LoginThrottle, EnvironmentError> {
    let most = init.environment.optional("MAX_LOGIN_FAILURES_PER_IP")?;
    let most = most.unwrap_or(DEFAULT_MAX_FAILURES_PER_IP);
    Ok(LoginThrottle::new(store, most, init.clock.clone()))
}

/// The queue at `NOTIFICATION_QUEUE_URL`.
pub(crate) fn mailer(init: &FunctionContext) -> Result<Mailer, EnvironmentError> {
    let queue = init.environment.required("NOTIFICATION_QUEUE_URL")?;
    let client = aws_sdk_sqs::Client::new(&init.aws);
    Ok(Mailer::new(client, queue, init.clock.clone()))
}

pub(crate) fn secrets_manager(init: &FunctionContext) -> SecretsManager {
    SecretsManager::new(aws_sdk_secretsmanager::Client::new(&init.aws))
}

/// The name of a secret, unless it is configured the one that the template gives it.
pub(crate) fn secret_name(
    init: &FunctionContext,
    variable: &'static str,
    usual: &str,
) -> Result<String, EnvironmentError> {
    let configured = init.environment.optional(variable)?;
    Ok(configured.unwrap_or_else(|| usual.to_owned()))
}
