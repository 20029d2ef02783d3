//! Validated text: an [`EmailAddress`] or a [`DisplayName`] that exists is valid.

use std::fmt;

use domain::text::{is_email_address, is_single_line};
use serde::Deserialize;

const MAX_NAME_CHARS: usize = 100;

/// An e-mail address in lower case.
///
/// ```
/// use users::EmailAddress;
///
/// let email = EmailAddress::parse(" Hanako@Example.com ").unwrap();
/// assert_eq!(email.as_str(), "hanako@example.com");
/// assert!(EmailAddress::parse("Hanako <hanako@example.com>").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an e-mail address: expected one `@`, no spaces and at most 254 ASCII characters")]
pub struct InvalidEmailAddress;

/// A user's display name: one line of 1 to 100 characters.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DisplayName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 100 characters on one line")]
pub struct InvalidDisplayName;

impl EmailAddress {
    /// Trims white space and converts the address to lower case.
    pub fn parse(text: &str) -> Result<Self, InvalidEmailAddress> {
        let text = text.trim();
        if is_email_address(text) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(InvalidEmailAddress)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DisplayName {
    /// Trims white space.
    pub fn parse(text: &str) -> Result<Self, InvalidDisplayName> {
        let text = text.trim();
        if is_single_line(text, MAX_NAME_CHARS) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidDisplayName)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DisplayName {
    type Error = InvalidDisplayName;

    fn try_from(text: String) -> Result<Self, InvalidDisplayName> {
        Self::parse(&text)
    }
}

impl fmt::Debug for EmailAddress {
    /// Hides the address: logs must not contain e-mail addresses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress")
    }
}

impl fmt::Debug for DisplayName {
    /// Hides the name: logs must not contain names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DisplayName")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn email_address_is_trimmed_and_in_lower_case() {
        let email = EmailAddress::parse(" Hanako@Example.com ").unwrap();
        assert_eq!(email.as_str(), "hanako@example.com");
        assert_eq!(EmailAddress::parse("hanako"), Err(InvalidEmailAddress));
    }

    #[test]
    fn display_name_is_one_line_of_at_most_100_characters() {
        assert_eq!(DisplayName::parse(" 祭 花子 ").unwrap().as_str(), "祭 花子");
        assert!(DisplayName::parse(&"祭".repeat(100)).is_ok());
        for invalid in ["", "  ", "a\nb", &"祭".repeat(101)] {
            assert_eq!(
                DisplayName::parse(invalid),
                Err(InvalidDisplayName),
                "{invalid:?}"
            );
        }
    }
}
