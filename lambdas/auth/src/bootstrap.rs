//! Builds the parts of the functions from the environment, once per process. Each function builds only what
//! it uses.

use aws_sdk_dynamodb::Client as DynamoDb;
use chrono::TimeDelta;
use database::Config;
use http_server::{CloudFrontMode, OriginSecrets};
use lambda_shared::{EnvironmentError, FunctionContext, InitError};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use users::Users;

use crate::{
    access_token::UserTokenIssuer,
    api_gateway::CloudFront,
    email_link::EmailLinks,
    login_throttle::{DEFAULT_MAX_FAILURES_PER_IP, LoginThrottle},
    mailer::Mailer,
    secrets_manager::{CACHE_TTL, CachedSecret, SecretsManager},
    sessions::Sessions,
    sessions_table::SessionsTable,
    signing_keys::{CachedSigningKeys, SigningKeys},
};

/// A process handles one request at a time. The second connection replaces one that died while the process
/// was frozen.
const MAX_DATABASE_CONNECTIONS: u32 = 2;

/// The part of the credentials secret that is used here. Other programs use its other members.
#[derive(Deserialize)]
struct DatabaseCredentials {
    url: SecretString,
}

/// The accounts database, from the secret that `DATABASE_CREDENTIALS_SECRET` names.
///
/// The function starts even when the database is unreachable, and then answers 503.
pub(crate) async fn users(context: &FunctionContext) -> Result<Users, InitError> {
    let name = secret_name(context, "DATABASE_CREDENTIALS_SECRET", "core-api/db-credentials")?;
    let secret = secrets_manager(context).read(&name).await?;
    let DatabaseCredentials { url } = serde_json::from_str(secret.expose_secret())
        // The parser's message could quote the password.
        .map_err(|_| format!("the secret {name} is not {{\"url\": …}}"))?;
    let pool = database::connect_lazy(&Config {
        url,
        max_connections: MAX_DATABASE_CONNECTIONS,
    })
    .map_err(|_| format!("the `url` in the secret {name} is not a PostgreSQL URL"))?;
    if let Err(error) = pool.acquire().await {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::warn!(error, "the accounts database is unreachable");
    }
    Ok(Users::new(pool, context.clock.clone()))
}

pub(crate) async fn sessions_table(context: &FunctionContext) -> Result<SessionsTable, InitError> {
    let name: String = context.environment.required("SESSIONS_TABLE")?;
    let sessions_table = SessionsTable::new(DynamoDb::new(&context.aws), name);
    sessions_table.warm_up().await?;
    Ok(sessions_table)
}

/// Reads the pepper of the refresh tokens from the secret that `REFRESH_PEPPER_SECRET` names.
pub(crate) async fn sessions(
    context: &FunctionContext,
    sessions_table: SessionsTable,
) -> Result<Sessions, InitError> {
    let name = secret_name(context, "REFRESH_PEPPER_SECRET", "ecommerce/refresh-pepper")?;
    let pepper = secrets_manager(context)
        .read(&name)
        .await?
        .expose_secret()
        .parse()?;
    Ok(Sessions::new(sessions_table, pepper, context.clock.clone()))
}

pub(crate) async fn user_token_issuer(context: &FunctionContext) -> Result<UserTokenIssuer, InitError> {
    let issuer = context.environment.required("AUTH_ISSUER")?;
    Ok(UserTokenIssuer::new(
        signing_keys(context).await?,
        issuer,
        context.clock.clone(),
    ))
}

/// Reads the signing keys from the secret that `USER_SIGNING_KEYS_SECRET` names. Fails when none of them can
/// sign now.
pub(crate) async fn signing_keys(context: &FunctionContext) -> Result<CachedSigningKeys, InitError> {
    let name = secret_name(context, "USER_SIGNING_KEYS_SECRET", "ecommerce/user-signing-keys")?;
    let cache_ttl: Option<u32> = context.environment.optional("SIGNING_KEYS_CACHE_TTL_SECONDS")?;
    let cache_ttl = cache_ttl.map_or(CACHE_TTL, |seconds| TimeDelta::seconds(seconds.into()));
    let signing_keys = CachedSecret::read(
        secrets_manager(context),
        name,
        cache_ttl,
        |secret| Ok(SigningKeys::parse(secret)?),
        context.clock.clone(),
    )
    .await?;
    signing_keys.current().await.active_key(context.clock.now())?;
    Ok(signing_keys)
}

/// How requests prove that they came through CloudFront, with the secrets from the secret that
/// `CLOUDFRONT_ORIGIN_SECRET` names. `None` when `CLOUDFRONT` is `unused` or not set.
pub(crate) async fn cloudfront(context: &FunctionContext) -> Result<Option<CloudFront>, InitError> {
    let mode = context.environment.optional("CLOUDFRONT")?;
    let is_required = match mode.unwrap_or(CloudFrontMode::Unused) {
        CloudFrontMode::Unused => return Ok(None),
        CloudFrontMode::Accepted => false,
        CloudFrontMode::Required => true,
    };
    let name = secret_name(context, "CLOUDFRONT_ORIGIN_SECRET", "ecommerce/cloudfront-origin")?;
    let secrets = CachedSecret::read(
        secrets_manager(context),
        name,
        CACHE_TTL,
        |secret| Ok(secret.expose_secret().parse::<OriginSecrets>()?),
        context.clock.clone(),
    )
    .await?;
    Ok(Some(CloudFront { secrets, is_required }))
}

pub(crate) fn email_links(context: &FunctionContext, sessions_table: SessionsTable) -> EmailLinks {
    EmailLinks::new(sessions_table, context.clock.clone())
}

pub(crate) fn login_throttle(
    context: &FunctionContext,
    sessions_table: SessionsTable,
) -> Result<LoginThrottle, EnvironmentError> {
    let max_failures_per_ip = context.environment.optional("MAX_LOGIN_FAILURES_PER_IP")?;
    Ok(LoginThrottle::new(
        sessions_table,
        max_failures_per_ip.unwrap_or(DEFAULT_MAX_FAILURES_PER_IP),
        context.clock.clone(),
    ))
}

pub(crate) fn mailer(context: &FunctionContext) -> Result<Mailer, EnvironmentError> {
    let queue_url = context.environment.required("NOTIFICATION_QUEUE_URL")?;
    let client = aws_sdk_sqs::Client::new(&context.aws);
    Ok(Mailer::new(client, queue_url, context.clock.clone()))
}

pub(crate) fn secrets_manager(context: &FunctionContext) -> SecretsManager {
    SecretsManager::new(aws_sdk_secretsmanager::Client::new(&context.aws))
}

/// The secret's name from the environment variable, or else the name that the deployment template gives the
/// secret.
pub(crate) fn secret_name(
    context: &FunctionContext,
    variable: &'static str,
    default: &str,
) -> Result<String, EnvironmentError> {
    let configured = context.environment.optional(variable)?;
    Ok(configured.unwrap_or_else(|| default.to_owned()))
}
