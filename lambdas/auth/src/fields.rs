//! The parts of bodies, checked, with the place of each that is wrong.

use users::{EmailAddress, PersonName};
use web::FieldError;

use crate::{AuthError, password::Password};

/// What a person says who registers.
pub(crate) struct Registration {
    pub(crate) email: EmailAddress,
    pub(crate) name: PersonName,
    pub(crate) password: Password,
}

/// Checks everything, and tells everything that is wrong.
pub(crate) fn registration(email: &str, name: &str, password: &str) -> Result<Registration, AuthError> {
    let email = EmailAddress::parse(email).map_err(|error| wrong("/email", &error));
    let name = PersonName::parse(name).map_err(|error| wrong("/name", &error));
    match (email, name) {
        (Ok(email), Ok(name)) => Ok(Registration {
            password: self::password(password, &email, &name)?,
            email,
            name,
        }),
        (email, name) => Err(AuthError::Invalid(
            email.err().into_iter().chain(name.err()).collect(),
        )),
    }
}

/// An address.
pub(crate) fn email(text: &str) -> Result<EmailAddress, AuthError> {
    EmailAddress::parse(text).map_err(|error| AuthError::Invalid(vec![wrong("/email", &error)]))
}

/// A password for the person of this address and name.
pub(crate) fn password(text: &str, email: &EmailAddress, name: &PersonName) -> Result<Password, AuthError> {
    Password::choose(text, email, name).map_err(|error| AuthError::Invalid(vec![wrong("/password", &error)]))
}

fn wrong(pointer: &str, error: &dyn std::error::Error) -> FieldError {
    FieldError {
        pointer: pointer.to_owned(),
        detail: error.to_string(),
    }
}
