//! The issuer of receipts: the business that is registered for consumption tax.

use std::{fmt, str::FromStr};

use domain::text::is_single_line;

/// The name and the address of an issuer have at most this many characters each, so that they fit on a page.
const MAX_CHARS: usize = 80;

/// The issuer as receipts show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) registration_number: RegistrationNumber,
}

/// The number under which the tax office has registered the issuer (登録番号): `T` and 13 digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationNumber(String);

/// Why a text cannot be a part of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuer {
    #[error("expected the letter T and 13 digits")]
    RegistrationNumber,
    #[error("expected 1 to {MAX_CHARS} characters on one line")]
    Text,
}

impl Issuer {
    /// Fails if the name or the address is blank, too long or on several lines.
    pub fn new(
        name: &str,
        address: &str,
        registration_number: RegistrationNumber,
    ) -> Result<Self, InvalidIssuer> {
        let line = |text: &str| {
            is_single_line(text, MAX_CHARS)
                .then(|| text.trim().to_owned())
                .ok_or(InvalidIssuer::Text)
        };
        Ok(Self {
            name: line(name)?,
            address: line(address)?,
            registration_number,
        })
    }
}

impl FromStr for RegistrationNumber {
    type Err = InvalidIssuer;

    fn from_str(text: &str) -> Result<Self, InvalidIssuer> {
        match text.strip_prefix('T') {
            Some(digits) if digits.len() == 13 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidIssuer::RegistrationNumber),
        }
    }
}

impl fmt::Display for RegistrationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registration_number_is_t_and_13_digits() {
        let number: RegistrationNumber = "T1234567890123".parse().unwrap();
        assert_eq!(number.to_string(), "T1234567890123");
        for invalid in [
            "",
            "T",
            "1234567890123",
            "t1234567890123",
            "T123456789012",
            "T12345678901234",
            "T123456789012X",
            "T１２３４",
        ] {
            assert_eq!(
                invalid.parse::<RegistrationNumber>(),
                Err(InvalidIssuer::RegistrationNumber),
                "{invalid}"
            );
        }
    }

    #[test]
    fn name_and_address_are_one_short_line_each() {
        let number: RegistrationNumber = "T1234567890123".parse().unwrap();
        let issuer = |name: &str, address: &str| Issuer::new(name, address, number.clone());
        assert!(issuer("株式会社まつり", "東京都台東区浅草1-1-1").is_ok());
        for (name, address) in [
            ("", "東京都"),
            ("まつり", " "),
            ("まつり\n", "東京都"),
            ("まつり", &"東".repeat(81)),
        ] {
            assert_eq!(issuer(name, address), Err(InvalidIssuer::Text));
        }
    }
}
