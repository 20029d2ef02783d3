//! What each error is to the client.

use std::error::Error as StdError;

use axum::http::{HeaderValue, StatusCode, header};
use chrono::TimeDelta;
use http_server::{FieldError, Problem};
use lambda_shared::InitError;

use crate::{
    access_token::IssueTokenError, oauth::ProviderError, password::PasswordHashError,
    sessions_table::SessionsTableError,
};

/// Why a request was not answered as its client hoped.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The request itself is at fault.
    #[error("the request is refused")]
    Rejected(Problem),
    /// A part of the body says what cannot be.
    #[error("the body is not valid")]
    InvalidBody(Vec<FieldError>),
    /// Invalid credentials. Which of them is not told.
    #[error("the address or the password is wrong")]
    InvalidCredentials,
    /// The refresh token is good for nothing, or not any more.
    #[error("the refresh token is not valid")]
    SessionEnded,
    /// The link of a mail is good for nothing, or not any more.
    #[error("the link is not valid")]
    InvalidLink,
    /// Too much was tried before.
    #[error("too many tries")]
    TooManyAttempts(TimeDelta),
    /// The sign-in at a provider did not begin in this browser, or long ago.
    #[error("the sign-in was not begun here")]
    SignInNotStarted,
    /// The person turned back at the provider.
    #[error("the provider did not let the person in")]
    DeniedByProvider,
    /// The provider does not say that the address is the person's.
    #[error("the provider has not verified the address")]
    EmailNotVerifiedByProvider,
    /// There is an account with the address, of which it is not certain that it is the same person's.
    #[error("the address belongs to an account")]
    AccountExists,
    /// See [`StoreError`].
    #[error(transparent)]
    SessionsTable(#[from] SessionsTableError),
    /// The accounts cannot be read or written.
    #[error("the accounts' database failed")]
    Database(#[from] sqlx::Error),
    /// See [`HashError`].
    #[error(transparent)]
    PasswordHash(#[from] PasswordHashError),
    /// See [`IssueError`].
    #[error(transparent)]
    IssueToken(#[from] IssueTokenError),
    /// See [`ProviderError`].
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// There are no signing keys yet.
    #[error("the signing keys cannot be read")]
    SigningKeys(#[source] InitError),
}

impl From<Problem> for AuthError {
    fn from(problem: Problem) -> Self {
        Self::Rejected(problem)
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Rejected(problem) => problem,
            AuthError::InvalidBody(errors) => Self::invalid_body(&errors),
            AuthError::InvalidCredentials => Self::new(
                StatusCode::UNAUTHORIZED,
                "invalid-credentials",
                "Invalid credentials",
            )
            .detail("The e-mail address or the password is wrong. Check both, or request a password reset."),
            AuthError::SessionEnded => {
                Self::new(StatusCode::UNAUTHORIZED, "session-ended", "Session ended")
                    .detail("Sign in again.")
            }
            AuthError::InvalidLink => Self::new(
                StatusCode::BAD_REQUEST,
                "invalid-link",
                "Invalid or expired link",
            )
            .detail("A link works once and for a limited time. Request a new one."),
            AuthError::TooManyAttempts(wait) => too_many_attempts(wait),
            AuthError::SignInNotStarted => Self::new(
                StatusCode::BAD_REQUEST,
                "sign-in-not-started",
                "Sign-in was not started in this browser",
            )
            .detail("Start the sign-in again."),
            AuthError::DeniedByProvider => Self::new(
                StatusCode::FORBIDDEN,
                "sign-in-denied",
                "Sign-in denied by the provider",
            )
            .detail("Start the sign-in again, or sign in with your password."),
            AuthError::EmailNotVerifiedByProvider => Self::new(
                StatusCode::CONFLICT,
                "email-not-verified",
                "E-mail address not verified by the provider",
            )
            .detail("Verify your e-mail address at the provider, or register with a password."),
            AuthError::AccountExists => Self::new(
                StatusCode::CONFLICT,
                "account-exists",
                "An account with this e-mail address exists",
            )
            .detail("Sign in with the account's password and verify its e-mail address, then repeat the sign-in with the provider."),
            AuthError::SessionsTable(error) => service_unavailable(&error),
            AuthError::Database(error) => match error {
                sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => service_unavailable(&error),
                error => Self::internal(&error),
            },
            AuthError::Provider(error) => bad_gateway(&error),
            AuthError::PasswordHash(error) => Self::internal(&error),
            AuthError::IssueToken(error) => Self::internal(&error),
            AuthError::SigningKeys(error) => service_unavailable(&*error),
        }
    }
}

fn too_many_attempts(wait: TimeDelta) -> Problem {
    // A second begun is a second waited.
    let seconds = (wait.num_milliseconds() + 999) / 1000;
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-attempts",
        "Too many attempts",
    )
    .detail(format!("Try again in {seconds} seconds."))
    .header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// 503: a store is out of reach, which another attempt may find mended.
fn service_unavailable(error: &(dyn StdError + 'static)) -> Problem {
    tracing::error!(error, "a store cannot be reached");
    Problem::unavailable()
}

/// 502: the provider did not answer as it should.
fn bad_gateway(error: &(dyn StdError + 'static)) -> Problem {
    tracing::error!(error, "a provider failed");
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "provider-failed",
        "Sign-in provider failed",
    )
    .detail("Try again, or sign in with your password.")
}
