//! The auth family: one function each, in the file of its name.
//!
//! | function | what it does |
//! |---|---|
//! | [`register`] | takes a new person in |
//! | [`login`] | a session for an address and its password |
//! | [`refresh`] | the next tokens of a session |
//! | [`logout`] | ends a session, or all of a person's |
//! | [`password_forgot`], [`password_reset`] | another password, by a link in a mail |
//! | [`email_verify`] | shows that an address is one's own |
//! | [`oauth_start`], [`oauth_callback`] | a session by way of Google or GitHub |
//! | [`jwks`] | the keys that tokens are verified with |
//!
//! # What is told to whom
//!
//! Nobody learns from an answer, or from how long it takes, whether an address has an account here: what is not to
//! be done is done for nobody. Who owns the address learns it by mail. Whoever has an access token or a refresh
//! token is who it says; how such a token comes to be good for nothing is told in `refresh_token` and in the crate
//! `users`.
//!
//! # Variables
//!
//! | variable | functions | |
//! |---|---|---|
//! | `DATABASE_CREDENTIALS_SECRET` | all but `jwks` and `oauth-start` | the accounts' database; `core-api/db-credentials` if it is not set |
//! | `SESSIONS_TABLE` | all but `jwks` | sessions, links, tries |
//! | `NOTIFICATION_QUEUE_URL` | all that send mail | |
//! | `AUTH_ISSUER` | `login`, `refresh`, `oauth-callback`, `jwks` | in whose name tokens are issued |
//! | `USER_SIGNING_KEYS_SECRET` | the same | `ecommerce/user-signing-keys` if it is not set |
//! | `SIGNING_KEYS_CACHE_TTL_SECONDS` | the same | after how long they are read again; 300 if it is not set |
//! | `REFRESH_PEPPER_SECRET` | `login`, `refresh`, `logout`, `oauth-callback` | `ecommerce/refresh-pepper` if it is not set |
//! | `AUTH_JWKS_URI` | `jwks` | where the keys are, if not below the issuer |
//! | `MAX_LOGIN_FAILURES_PER_IP` | those with a password or a mail | wrong passwords an hour from one address; 100 if it is not set |
//! | `OAUTH_…`, `GOOGLE_…`, `GITHUB_…` | `oauth-start`, `oauth-callback` | see `oauth::Providers::of` |

pub mod access_token;
mod api_gateway;
mod audit;
pub mod backoff;
mod bootstrap;
pub mod email_link;
pub mod email_verify;
mod error;
pub mod jwks;
pub mod login;
pub mod login_throttle;
pub mod logout;
mod mailer;
mod oauth;
pub mod oauth_callback;
pub mod oauth_start;
pub mod password;
pub mod password_forgot;
pub mod password_reset;
pub mod random_token;
pub mod refresh;
pub mod refresh_token;
pub mod register;
pub mod secrets_manager;
pub mod sessions;
pub mod sessions_table;
pub mod signing_keys;
#[cfg(test)]
mod testing;
mod token_response;
mod validation;

pub use error::AuthError;
