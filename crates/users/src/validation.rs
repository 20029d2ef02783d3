//! Validated text: an [`EmailAddress`] or a [`DisplayName`] that exists is valid.

use std::fmt;

use serde::Deserialize;

/// The longest address that SMTP carries (RFC 5321, 4.5.3.1.3, with its erratum).
const MAX_EMAIL_BYTES: usize = 254;

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
        let is_valid_part = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_graphic() && !"@,;:<>()[]\\\"".contains(c))
        };
        match text.split_once('@') {
            Some((local, host))
                if is_valid_part(local) && is_valid_part(host) && text.len() <= MAX_EMAIL_BYTES =>
            {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(InvalidEmailAddress),
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
        let breaks_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if text.is_empty() || text.chars().count() > MAX_NAME_CHARS || text.contains(breaks_line) {
            return Err(InvalidDisplayName);
        }
        Ok(Self(text.to_owned()))
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
    fn email_address_rejects_invalid_text() {
        for invalid in [
            "",
            "hanako",
            "@example.com",
            "hanako@",
            "a@example.com,b@example.com",
            "a@b@example.com",
            "Hanako <hanako@example.com>",
            "hanako@example.com\r\nBcc: evil@example.com",
            "hanako @example.com",
            "花子@example.com",
            &format!("{}@example.com", "a".repeat(243)),
        ] {
            assert_eq!(
                EmailAddress::parse(invalid),
                Err(InvalidEmailAddress),
                "{invalid}"
            );
        }
        let longest = format!("{}@example.com", "a".repeat(242));
        assert_eq!(EmailAddress::parse(&longest).unwrap().as_str(), longest);
    }

    #[test]
    fn display_name_is_one_line_of_at_most_100_characters() {
        assert_eq!(DisplayName::parse(" 祭 花子 ").unwrap().as_str(), "祭 花子");
        assert!(DisplayName::parse(&"祭".repeat(100)).is_ok());
        for invalid in ["", "  ", "a\nb", "a\u{2028}b", "a\0b", &"祭".repeat(101)] {
            assert_eq!(
                DisplayName::parse(invalid),
                Err(InvalidDisplayName),
                "{invalid:?}"
            );
        }
    }
}
