//! Validates the members of request bodies. An error names each invalid member with a JSON pointer.

use http_server::FieldError;
use users::{DisplayName, EmailAddress};

use crate::{AuthError, password::Password};

/// The validated body of a registration.
pub(crate) struct ValidRegistration {
    pub(crate) email: EmailAddress,
    pub(crate) name: DisplayName,
    pub(crate) password: Password,
}

/// Reports an invalid address and an invalid name together. The password is checked when both are valid,
/// because the password policy depends on them.
pub(crate) fn validate_registration(
    email: &str,
    name: &str,
    password: &str,
) -> Result<ValidRegistration, AuthError> {
    let email = EmailAddress::parse(email).map_err(|error| field_error("/email", &error));
    let name = DisplayName::parse(name).map_err(|error| field_error("/name", &error));
    match (email, name) {
        (Ok(email), Ok(name)) => Ok(ValidRegistration {
            password: validate_password(password, &email, &name)?,
            email,
            name,
        }),
        (email, name) => Err(AuthError::InvalidBody(
            email.err().into_iter().chain(name.err()).collect(),
        )),
    }
}

pub(crate) fn validate_email(text: &str) -> Result<EmailAddress, AuthError> {
    EmailAddress::parse(text).map_err(|error| AuthError::InvalidBody(vec![field_error("/email", &error)]))
}

/// Checks a new password against the policy, for the user with this e-mail address and name.
pub(crate) fn validate_password(
    text: &str,
    email: &EmailAddress,
    name: &DisplayName,
) -> Result<Password, AuthError> {
    Password::validate(text, email, name)
        .map_err(|error| AuthError::InvalidBody(vec![field_error("/password", &error)]))
}

fn field_error(pointer: &str, error: &dyn std::error::Error) -> FieldError {
    FieldError {
        pointer: pointer.to_owned(),
        detail: error.to_string(),
    }
}
