//! Builds the parts of the functions from the environment, once per process. Each function builds only what
//! it uses.

use aws_sdk_dynamodb::Client as DynamoDb;
use chrono::TimeDelta;
use database::Config;
use http_server::{CloudFrontMode, OriginSecrets};
use lambda_shared::{EnvironmentError, FunctionContext, InitError};
use secrecy::{ExposeSecret, SecretString};
use secrets::{InvalidSecret, MAX_AGE, Secret};
use users::Users;

use crate::{
    access_token::UserTokenIssuer,
    email_link::EmailLinks,
    http::CloudFront,
    login_throttle::{DEFAULT_MAX_FAILURES_PER_IP, LoginThrottle},
    mailer::Mailer,
    sessions::Peppers,
    sessions_table::SessionsTable,
    signing_keys::SigningKeys,
};

/// A process handles one request at a time. The second connection replaces one that died while the process
/// was frozen.
const MAX_DATABASE_CONNECTIONS: u32 = 2;

/// The accounts database, from the secret that `DATABASE_CREDENTIALS_SECRET` names and the CA certificates in
/// `DATABASE_CA_FILE`. The pool follows changes of the secret.
///
/// The function starts even when the database is unreachable, and then answers 503.
pub(crate) async fn users(context: &FunctionContext) -> Result<Users, InitError> {
    let name = secret_name(context, "DATABASE_CREDENTIALS_SECRET", "auth/db-credentials")?;
    let url = secret(context, name, MAX_AGE, |text| {
        Ok(database::url_from_secret(text)?)
    })
    .await?;
    let config = Config {
        url,
        ca_file: context.environment.optional("DATABASE_CA_FILE")?,
        max_connections: MAX_DATABASE_CONNECTIONS,
    };
    let pool = database::connect_lazy(&config).await?;
    if let Err(error) = pool.acquire().await {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::warn!(error, "the accounts database is unreachable");
    }
    tokio::spawn(database::follow_secret([pool.clone()], config));
    Ok(Users::new(pool, context.clock.clone()))
}

pub(crate) async fn sessions_table(context: &FunctionContext) -> Result<SessionsTable, InitError> {
    let name: String = context.environment.required("SESSIONS_TABLE")?;
    let sessions_table = SessionsTable::new(DynamoDb::new(&context.aws), name);
    sessions_table.warm_up().await?;
    Ok(sessions_table)
}

/// The peppers of the refresh tokens, from the secret that `REFRESH_PEPPER_SECRET` names.
pub(crate) async fn peppers(context: &FunctionContext) -> Result<Secret<Peppers>, InitError> {
    let name = secret_name(context, "REFRESH_PEPPER_SECRET", "ecommerce/refresh-pepper")?;
    secret(context, name, MAX_AGE, |text| Ok(text.expose_secret().parse()?)).await
}

pub(crate) async fn user_token_issuer(context: &FunctionContext) -> Result<UserTokenIssuer, InitError> {
    let issuer = context.environment.required("AUTH_ISSUER")?;
    Ok(UserTokenIssuer::new(
        signing_keys(context).await?,
        issuer,
        context.clock.clone(),
    ))
}

/// The signing keys from the secret that `USER_SIGNING_KEYS_SECRET` names. Keys of which none can sign now
/// are invalid.
pub(crate) async fn signing_keys(context: &FunctionContext) -> Result<Secret<SigningKeys>, InitError> {
    let name = secret_name(context, "USER_SIGNING_KEYS_SECRET", "ecommerce/user-signing-keys")?;
    let max_age: Option<u32> = context.environment.optional("SIGNING_KEYS_CACHE_TTL_SECONDS")?;
    let max_age = max_age.map_or(MAX_AGE, |seconds| TimeDelta::seconds(seconds.into()));
    let clock = context.clock.clone();
    secret(context, name, max_age, move |text| {
        let signing_keys = SigningKeys::parse(text)?;
        signing_keys.active_key(clock.now())?;
        Ok(signing_keys)
    })
    .await
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
    let secrets = secret(context, name, MAX_AGE, |text| {
        Ok(text.expose_secret().parse::<OriginSecrets>()?)
    })
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

pub(crate) async fn secret<T>(
    context: &FunctionContext,
    name: String,
    max_age: TimeDelta,
    parse: impl Fn(&SecretString) -> Result<T, InvalidSecret> + Send + Sync + 'static,
) -> Result<Secret<T>, InitError> {
    let client = aws_sdk_secretsmanager::Client::new(&context.aws);
    Ok(Secret::load(client, name, max_age, context.clock.clone(), parse).await?)
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
