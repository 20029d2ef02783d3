//! Errors that a state machine can tell apart.

use lambda_runtime::Diagnostic;

/// An error of a function, with a name.
///
/// Lambda answers a failed invocation with `{"errorType": …, "errorMessage": …}`, and Step Functions matches
/// `ErrorEquals` against `errorType`. The runtime would derive it from the Rust type's path; here it is what
/// [`name`](Self::name) says, exactly, so that it survives a refactoring and can be written into a workflow.
///
/// ```
/// use lambda_shared::{Failure, FunctionError};
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
///     fn is_refusal(&self) -> bool {
///         matches!(self, Self::InsufficientStock(_))
///     }
/// }
///
/// let diagnostic = lambda_runtime::Diagnostic::from(Failure::from(ReserveError::InsufficientStock("tea".into())));
/// assert_eq!(diagnostic.error_type, "InsufficientStock");
/// ```
pub trait FunctionError: std::error::Error {
    /// The name under which Lambda reports it.
    fn name(&self) -> &'static str;

    /// Whether it is an answer of the business, such as a declined card, and not a fault of any program.
    /// Answers are logged as information, faults as errors, which alarms count.
    fn is_business_error(&self) -> bool;
}

/// A [`FunctionError`] on its way out: its name, and its message with those of all that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationFailure {
    /// See [`FunctionError::name`].
    pub name: &'static str,
    /// What happened, and why, and why that.
    pub message: String,
    /// See [`FunctionError::is_refusal`].
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

/// An error's message and those of its sources, in one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
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
    fn the_message_tells_the_whole_story_under_the_bare_name() {
        let failure = InvocationFailure::from(StoreFailed(std::io::Error::other("connection refused")));
        let diagnostic = Diagnostic::from(failure);
        assert_eq!(diagnostic.error_type, "Unavailable");
        assert_eq!(diagnostic.error_message, "the store failed: connection refused");
    }
}
