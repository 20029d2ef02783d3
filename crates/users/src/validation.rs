//! An address and a name, which are valid because they exist.

use std::fmt;

use serde::Deserialize;

/// The longest address that SMTP carries (RFC 5321, 4.5.3.1.3, with its erratum).
const MAX_EMAIL_BYTES: usize = 254;

/// The longest name, in characters.
const MAX_NAME_CHARS: usize = 100;

/// An address that mail may be sent to, in small letters.
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

/// Text that is no address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an e-mail address: one `@`, no spaces, at most 254 characters, in ASCII")]
pub struct InvalidEmailAddress;

/// How a person wants to be called: one line of 1 to 100 characters.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DisplayName(String);

/// Text that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 100 characters on one line")]
pub struct InvalidDisplayName;

impl EmailAddress {
    /// Reads an address, whatever its case and the space around it.
    pub fn parse(text: &str) -> Result<Self, InvalidEmailAddress> {
        let text = text.trim();
        let plain = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_graphic() && !"@,;:<>()[]\\\"".contains(c))
        };
        match text.split_once('@') {
            Some((local, host)) if plain(local) && plain(host) && text.len() <= MAX_EMAIL_BYTES => {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(InvalidEmailAddress),
        }
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DisplayName {
    /// Reads a name, whatever the space around it.
    pub fn parse(text: &str) -> Result<Self, InvalidDisplayName> {
        let text = text.trim();
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        if text.is_empty() || text.chars().count() > MAX_NAME_CHARS || text.contains(breaks) {
            return Err(InvalidDisplayName);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
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
    /// Addresses stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress")
    }
}

impl fmt::Debug for DisplayName {
    /// Names stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonName")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_is_an_address() {
        for wrong in [
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
            assert_eq!(EmailAddress::parse(wrong), Err(InvalidEmailAddress), "{wrong}");
        }
        let longest = format!("{}@example.com", "a".repeat(242));
        assert_eq!(EmailAddress::parse(&longest).unwrap().as_str(), longest);
    }

    #[test]
    fn a_name_is_one_line_of_a_hundred_characters_at_most() {
        assert_eq!(DisplayName::parse(" 祭 花子 ").unwrap().as_str(), "祭 花子");
        assert!(DisplayName::parse(&"祭".repeat(100)).is_ok());
        for wrong in ["", "  ", "a\nb", "a\u{2028}b", "a\0b", &"祭".repeat(101)] {
            assert_eq!(DisplayName::parse(wrong), Err(InvalidDisplayName), "{wrong:?}");
        }
    }
}
