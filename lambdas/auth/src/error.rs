//! The errors of the auth functions, and the problem document (RFC 9457) that the client gets for each.

use std::error::Error as StdError;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::TimeDelta;
use database::DatabaseError;
use dynamodb_table::DynamoDbError;
use http_server::{FieldError, Problem};
use lambda_shared::InitError;

use crate::{access_token::IssueTokenError, oauth::ProviderError, password::PasswordHashError};

#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The request is invalid in a way that a problem document describes already.
    #[error("the request is rejected")]
    Rejected(Problem),
    #[error("the request body is invalid")]
    InvalidBody(Vec<FieldError>),
    /// The response does not tell whether the e-mail address or the password is wrong.
    #[error("the e-mail address or the password is wrong")]
    InvalidCredentials,
    /// The refresh token is invalid, has expired or was revoked.
    #[error("the refresh token is not valid")]
    SessionEnded,
    /// The e-mail link does not exist, has expired or was used.
    #[error("the e-mail link is not valid")]
    InvalidLink,
    /// The client may try again after this time.
    #[error("too many attempts")]
    TooManyAttempts(TimeDelta),
    /// The callback comes from another browser than the one that started the sign-in, or too late.
    #[error("the sign-in was not started in this browser")]
    SignInNotStarted,
    /// The user cancelled at the provider, or the provider refused.
    #[error("the provider denied the sign-in")]
    DeniedByProvider,
    #[error("the provider has not verified the e-mail address")]
    EmailNotVerifiedByProvider,
    /// An account has the e-mail address, and it is not certain that it belongs to the same person.
    #[error("an account with the e-mail address exists")]
    AccountExists,
    #[error(transparent)]
    DynamoDb(#[from] DynamoDbError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    PasswordHash(#[from] PasswordHashError),
    #[error(transparent)]
    IssueToken(#[from] IssueTokenError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The signing keys do not exist yet, or Secrets Manager is unreachable.
    #[error("the signing keys cannot be read")]
    SigningKeys(#[source] InitError),
}

impl From<Problem> for AuthError {
    fn from(problem: Problem) -> Self {
        Self::Rejected(problem)
    }
}

impl IntoResponse for AuthError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
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
                Self::new(StatusCode::UNAUTHORIZED, "session-ended", "Session ended").detail("Sign in again.")
            }
            AuthError::InvalidLink => {
                Self::new(StatusCode::BAD_REQUEST, "invalid-link", "Invalid or expired link")
                    .detail("A link works once and for a limited time. Request a new one.")
            }
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
            .detail(
                "Sign in with the account's password and verify its e-mail address, then repeat the sign-in \
                 with the provider.",
            ),
            AuthError::DynamoDb(error) if error.is_unavailable() => Self::dependency_unavailable(&error),
            AuthError::DynamoDb(error) => Self::internal(&error),
            AuthError::Database(error) if error.is_unavailable() => Self::dependency_unavailable(&error),
            AuthError::Database(error) => Self::internal(&error),
            AuthError::Provider(error) => bad_gateway(&error),
            AuthError::PasswordHash(error) => Self::internal(&error),
            AuthError::IssueToken(error) => Self::internal(&error),
            AuthError::SigningKeys(error) => Self::dependency_unavailable(&*error),
        }
    }
}

fn too_many_attempts(wait: TimeDelta) -> Problem {
    // Rounded up to whole seconds, so that the client does not return too early.
    let seconds = (wait.num_milliseconds() + 999) / 1000;
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many-attempts",
        "Too many attempts",
    )
    .detail(format!("Try again in {seconds} seconds."))
    .header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// 502: the identity provider is unreachable or sent an invalid response.
fn bad_gateway(error: &(dyn StdError + 'static)) -> Problem {
    tracing::error!(error, "an identity provider failed");
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "provider-failed",
        "Sign-in provider failed",
    )
    .detail("Try again, or sign in with your password.")
}
