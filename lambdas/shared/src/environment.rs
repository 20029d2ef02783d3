//! Typed configuration from environment variables.

use std::{collections::HashMap, fmt, str::FromStr};

/// The environment variables of a process, or a fixed set in a test.
///
/// An empty variable counts as unset: deployment templates set optional variables to the empty string.
///
/// ```
/// use lambda_shared::Environment;
///
/// let environment = Environment::from([("PORT", "3000"), ("RETRIES", "many")]);
/// assert_eq!(environment.required::<u16>("PORT").unwrap(), 3000);
/// assert_eq!(environment.optional::<u16>("ADMIN_PORT").unwrap(), None);
///
/// let invalid = environment.required::<u8>("RETRIES").unwrap_err();
/// let message = "the environment variable RETRIES is invalid: invalid digit found in string";
/// assert_eq!(invalid.to_string(), message);
/// let missing = environment.required::<String>("TABLE").unwrap_err();
/// assert_eq!(missing.to_string(), "the environment variable TABLE is not set");
/// ```
#[derive(Clone)]
pub struct Environment(HashMap<String, String>);

/// A missing or invalid environment variable. The error does not contain the value, which may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// The variable is unset or empty.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// The variable is set and cannot be parsed.
    #[error("the environment variable {name} is invalid: {reason}")]
    Invalid {
        /// The name of the variable.
        name: &'static str,
        /// The parser's message.
        reason: String,
    },
}

impl Environment {
    /// The environment variables of this process. Names and values that are not Unicode are ignored.
    #[must_use]
    pub fn from_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// A required variable. Fails when it is unset or cannot be parsed.
    pub fn required<T>(&self, name: &'static str) -> Result<T, EnvironmentError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.optional(name)?.ok_or(EnvironmentError::Missing(name))
    }

    /// An optional variable. Fails when it is set and cannot be parsed.
    pub fn optional<T>(&self, name: &'static str) -> Result<Option<T>, EnvironmentError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let invalid = |reason: T::Err| EnvironmentError::Invalid {
            name,
            reason: reason.to_string(),
        };
        let value = self.0.get(name).filter(|value| !value.is_empty());
        value.map(|value| value.parse().map_err(invalid)).transpose()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(
            variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        )
    }
}

impl fmt::Debug for Environment {
    /// Shows the names only: values may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variable_counts_as_unset() {
        let environment = Environment::from([("TABLE", "")]);
        assert_eq!(
            environment.required::<String>("TABLE"),
            Err(EnvironmentError::Missing("TABLE"))
        );
        assert_eq!(environment.optional::<u16>("TABLE"), Ok(None));
    }

    #[test]
    fn debug_and_errors_hide_values() {
        let environment = Environment::from([("API_KEY", "hunter2")]);
        assert!(!format!("{environment:?}").contains("hunter2"));
        assert!(
            !environment
                .required::<u16>("API_KEY")
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
    }
}
