//! Function errors with stable names, which Step Functions matches.

use lambda_runtime::Diagnostic;

/// A function error with a stable name.
///
/// Lambda reports a failed invocation as `{"errorType": …, "errorMessage": …}`, and Step Functions matches
/// `ErrorEquals` against `errorType`. The Lambda runtime derives `errorType` from the Rust type path by
/// default. This crate sets it to [`name`](Self::name), which does not change when the type is renamed.
///
/// ```
/// use lambda_shared::{FunctionError, InvocationFailure};
///
/// #[derive(Debug, thiserror::Error)]
/// enum ReserveError {
///     #[error("not enough of {0}")]
///     InsufficientStock(String),
///     #[error("the warehouse cannot be reached")]
///     Unavailable(#[source] std::io::Error),
/// }
///
/// impl FunctionError for ReserveError {
///     fn name(&self) -> &'static str {
///         match self {
///             Self::InsufficientStock(_) => "InsufficientStock",
///             Self::Unavailable(_) => "Unavailable",
///         }
///     }
///
///     fn is_business_error(&self) -> bool {
///         matches!(self, Self::InsufficientStock(_))
///     }
/// }
///
/// let failure = InvocationFailure::from(ReserveError::InsufficientStock("tea".into()));
/// let diagnostic = lambda_runtime::Diagnostic::from(failure);
/// assert_eq!(diagnostic.error_type, "InsufficientStock");
/// ```
pub trait FunctionError: std::error::Error {
    /// The `errorType` that Lambda reports.
    fn name(&self) -> &'static str;

    /// Whether this is an expected business result, such as a declined card, and not a malfunction. Business
    /// errors are logged at level INFO. Malfunctions are logged at level ERROR, which alarms count.
    fn is_business_error(&self) -> bool;
}

/// A failed invocation: a [`FunctionError`] reduced to its name and its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationFailure {
    /// See [`FunctionError::name`].
    pub name: &'static str,
    /// The messages of the error and all its sources, joined by `: `.
    pub message: String,
    /// See [`FunctionError::is_business_error`].
    pub is_business_error: bool,
}

impl<E: FunctionError> From<E> for InvocationFailure {
    fn from(error: E) -> Self {
        Self {
            name: error.name(),
            message: error_chain(&error),
            is_business_error: error.is_business_error(),
        }
    }
}

impl From<InvocationFailure> for Diagnostic {
    fn from(failure: InvocationFailure) -> Self {
        Self {
            error_type: failure.name.to_owned(),
            error_message: failure.message,
        }
    }
}

/// The messages of an error and all its sources, joined by `: `.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the store failed")]
    struct StoreFailed(#[source] std::io::Error);

    impl FunctionError for StoreFailed {
        fn name(&self) -> &'static str {
            "Unavailable"
        }

        fn is_business_error(&self) -> bool {
            false
        }
    }

    #[test]
    fn message_contains_all_sources_and_error_type_is_the_name() {
        let failure = InvocationFailure::from(StoreFailed(std::io::Error::other("connection refused")));
        let diagnostic = Diagnostic::from(failure);
        assert_eq!(diagnostic.error_type, "Unavailable");
        assert_eq!(diagnostic.error_message, "the store failed: connection refused");
    }
}
