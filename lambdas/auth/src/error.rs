//! What each error is to the client.

use std::error::Error as StdError;

use axum::http::{HeaderValue, StatusCode, header};
use chrono::TimeDelta;
use lambda_shared::InitError;
use web::{FieldError, Problem};

use crate::{access::IssueError, oauth::ProviderError, password::HashError, store::StoreError};

/// Why a request was not answered as its client hoped.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The request itself is at fault.
    #[error("the request is refused")]
    Refused(Problem),
    /// A part of the body says what cannot be.
    #[error("the body is not valid")]
    Invalid(Vec<FieldError>),
    /// The address or the password is wrong. Which of them is not told.
    #[error("the address or the password is wrong")]
    Credentials,
    /// The refresh token is good for nothing, or not any more.
    #[error("the refresh token is not valid")]
    Session,
    /// The link of a mail is good for nothing, or not any more.
    #[error("the link is not valid")]
    Link,
    /// Too much was tried before.
    #[error("too many tries")]
    Wait(TimeDelta),
    /// The sign-in at a provider did not begin in this browser, or long ago.
    #[error("the sign-in was not begun here")]
    NotBegunHere,
    /// The person turned back at the provider.
    #[error("the provider did not let the person in")]
    Denied,
    /// The provider does not say that the address is the person's.
    #[error("the provider has not verified the address")]
    ProviderUnverified,
    /// There is an account with the address, of which it is not certain that it is the same person's.
    #[error("the address belongs to an account")]
    SignInFirst,
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The accounts cannot be read or written.
    #[error("the accounts' database failed")]
    Accounts(#[from] sqlx::Error),
    /// See [`HashError`].
    #[error(transparent)]
    Hash(#[from] HashError),
    /// See [`IssueError`].
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// See [`ProviderError`].
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// There are no signing keys yet.
    #[error("the signing keys cannot be read")]
    Keys(#[source] InitError),
}

impl From<Problem> for AuthError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Refused(problem) => problem,
            AuthError::Invalid(errors) => Self::invalid(&errors),
            AuthError::Credentials => Self::new(
                StatusCode::UNAUTHORIZED,
                "invalid-credentials",
                "The address or the password is wrong",
            )
            .detail("Check both, or have a link sent with which to choose a new password."),
            AuthError::Session => {
                Self::new(StatusCode::UNAUTHORIZED, "session-ended", "The session has ended")
                    .detail("Sign in again.")
            }
            AuthError::Link => Self::new(
                StatusCode::BAD_REQUEST,
                "invalid-link",
                "The link is not valid any more",
            )
            .detail("Links are good once and for a short time. Ask for a new one."),
            AuthError::Wait(wait) => wait_for(wait),
            AuthError::NotBegunHere => Self::new(
                StatusCode::BAD_REQUEST,
                "sign-in-not-begun",
                "This sign-in was not begun in this browser",
            )
            .detail("Begin again."),
            AuthError::Denied => Self::new(
                StatusCode::FORBIDDEN,
                "sign-in-denied",
                "The provider did not sign you in",
            )
            .detail("Begin again, or sign in with your password."),
            AuthError::ProviderUnverified => Self::new(
                StatusCode::CONFLICT,
                "address-not-verified",
                "The provider has not verified your address",
            )
            .detail("Verify it there, or register here with a password."),
            AuthError::SignInFirst => Self::new(
                StatusCode::CONFLICT,
                "sign-in-first",
                "There is an account with this address",
            )
            .detail("Sign in with its password and follow the link in our mail, then come this way again."),
            AuthError::Store(error) => down(&error),
            AuthError::Accounts(error) => match error {
                sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => down(&error),
                error => Self::internal(&error),
            },
            AuthError::Provider(error) => bad_gateway(&error),
            AuthError::Hash(error) => Self::internal(&error),
            AuthError::Issue(error) => Self::internal(&error),
            AuthError::Keys(error) => down(&*error),
        }
    }
}

fn wait_for(wait: TimeDelta) -> Problem {
    // A second begun is a second waited.
    let seconds = (wait.num_milliseconds() + 999) / 1000;
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-tries", "Too many tries")
        .detail(format!("Try again in {seconds} seconds."))
        .header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// 503: a store is out of reach, which another attempt may find mended.
fn down(error: &(dyn StdError + 'static)) -> Problem {
    tracing::error!(error, "a store cannot be reached");
    Problem::unavailable()
}

/// 502: the provider did not answer as it should.
fn bad_gateway(error: &(dyn StdError + 'static)) -> Problem {
    tracing::error!(error, "a provider failed");
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "provider-failed",
        "The provider did not answer",
    )
    .detail("Try again, or sign in with your password.")
}
