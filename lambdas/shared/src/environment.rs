//! Configuration from environment variables, typed, read once.

use std::{collections::HashMap, fmt, str::FromStr};

/// The environment of a program, or one made up for a test.
///
/// An empty variable counts as none: templates set a variable to nothing where they mean that it is not there.
///
/// ```
/// use lambda_shared::Environment;
///
/// let environment = Environment::from([("PORT", "3000"), ("RETRIES", "many")]);
/// assert_eq!(environment.required::<u16>("PORT").unwrap(), 3000);
/// assert_eq!(environment.optional::<u16>("ADMIN_PORT").unwrap(), None);
///
/// let wrong = environment.required::<u8>("RETRIES").unwrap_err();
/// assert_eq!(wrong.to_string(), "the variable RETRIES is not valid: invalid digit found in string");
/// let missing = environment.required::<String>("TABLE").unwrap_err();
/// assert_eq!(missing.to_string(), "the variable TABLE is not set");
/// ```
#[derive(Clone)]
pub struct Environment(HashMap<String, String>);

/// A variable that a program cannot start with. It never shows the value, which may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// It is not there, or empty.
    #[error("the variable {0} is not set")]
    Missing(&'static str),
    /// It is there and does not parse.
    #[error("the variable {name} is not valid: {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What the parser says.
        reason: String,
    },
}

impl Environment {
    /// The variables of this process. What is not Unicode is left out.
    #[must_use]
    pub fn from_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// A variable that has to be there. Fails when it is not, or does not parse.
    pub fn required<T>(&self, name: &'static str) -> Result<T, EnvironmentError>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.optional(name)?.ok_or(EnvironmentError::Missing(name))
    }

    /// A variable that may be there. Fails when it is there and does not parse.
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
    /// The names only: among the values are credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_none() {
        let environment = Environment::from([("TABLE", "")]);
        assert_eq!(
            environment.required::<String>("TABLE"),
            Err(EnvironmentError::Missing("TABLE"))
        );
        assert_eq!(environment.optional::<u16>("TABLE"), Ok(None));
    }

    #[test]
    fn neither_debug_nor_an_error_shows_a_value() {
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
