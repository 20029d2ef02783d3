//! The auth functions: registration, sign-in, sessions, and the JWKS that verifies access tokens.
//!
//! [`handlers`] has one module per Lambda function. All functions are one executable.
//!
//! # Account enumeration
//!
//! No response reveals whether an e-mail address has an account, neither by its content nor by its duration:
//! for an unknown address, a function does the same work with dummy data. Only the owner of the address
//! learns it, by mail.
//!
//! An access token or a refresh token proves who its bearer is. `sessions::refresh_token` describes how a
//! refresh token becomes invalid, and the crate `users` how an access token does.
//!
//! # Environment variables
//!
//! A variable without a default is required.
//!
//! - `DATABASE_CREDENTIALS_SECRET`: name of the secret with the accounts database, as RDS writes it or as
//!   `{"url": …}`. Default `auth/db-credentials`. Read by all functions but `jwks` and `oauth-start`.
//! - `DATABASE_CA_FILE`: file with the certificates of the CAs that sign the database's certificate. Default:
//!   `sslrootcert` in the URL, and the public CAs. Read by the same functions.
//! - `SESSIONS_TABLE`: DynamoDB table of sessions, e-mail links, pending sign-ins and login attempts.
//!   Read by all functions but `jwks`.
//! - `NOTIFICATION_QUEUE_URL`: read by all functions that send mail.
//! - `AUTH_ISSUER`: the `iss` claim of access tokens. Read by `login`, `refresh`, `oauth-callback` and
//!   `jwks`.
//! - `USER_SIGNING_KEYS_SECRET`: name of the secret with the signing keys. Default
//!   `ecommerce/user-signing-keys`. Read by the same functions.
//! - `SIGNING_KEYS_CACHE_TTL_SECONDS`: age at which the signing keys are reloaded. Default 300. Read by
//!   the same functions.
//! - `REFRESH_PEPPER_SECRET`: name of the secret with the peppers of refresh tokens, the present one first.
//!   Default `ecommerce/refresh-pepper`. Read by `refresh`.
//! - `AUTH_JWKS_URI`: URL of the JWKS. Default `{AUTH_ISSUER}/.well-known/jwks.json`. Read by `jwks`.
//! - `CLOUDFRONT`: whether requests come through CloudFront: `unused`, `accepted` (or directly) or
//!   `required`. Default `unused`. Read by all functions but `jwks`.
//! - `CLOUDFRONT_ORIGIN_SECRET`: name of the secret with the values that prove that a request came through
//!   CloudFront. Default `ecommerce/cloudfront-origin`. Read by the same functions, if CloudFront is used.
//! - `MAX_LOGIN_FAILURES_PER_IP`: failed logins per IP address and hour, over all accounts. Default 100.
//!   Read by `login` and by all functions that send mail on request.
//! - `OAUTH_…`, `GOOGLE_…`, `GITHUB_…`: see `oauth::Providers::from_env`. Read by `oauth-start` and
//!   `oauth-callback`. Only `oauth-callback` reads the client secrets.

mod access_token;
mod account_mails;
mod api_document;
mod audit;
mod bootstrap;
pub mod email_link;
mod error;
pub mod handlers;
pub mod http;
pub mod login_throttle;
mod mailer;
mod oauth;
mod password;
pub mod sessions;
pub mod sessions_table;
mod signing_keys;
#[cfg(test)]
mod testing;
mod validation;

pub use api_document::openapi_document;
pub use error::AuthError;
