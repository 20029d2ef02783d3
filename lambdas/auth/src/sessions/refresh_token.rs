//! Refresh tokens and the derivation of their successors.
//!
//! A token is `<family id>.<secret>`. A sign-in starts a family, and each use of the current token creates
//! the next one. The successor is derived from the token that the client presents, with an HMAC keyed by the
//! pepper: two requests that present the same token at once get the same successor, so neither loses its
//! session. Without the pepper, the successor cannot be computed.
//!
//! To replace the pepper, write the new one before the present one into the secret. The earlier ones only
//! repeat successors that were derived a moment ago, and can be removed an hour later.

use std::{fmt, str::FromStr};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use tokens::random_token;
use uuid::Uuid;

/// The length of 32 bytes in base64 without padding.
const SECRET_LEN: usize = 43;

#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    family_id: Uuid,
    text: String,
}

/// The text does not have the format of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not a refresh token")]
pub struct InvalidRefreshToken;

/// A secret key of the successor derivation.
pub struct Pepper(hmac::Key);

/// The present pepper and earlier ones, newest first. Their text is separated by white space.
pub struct Peppers {
    present: Pepper,
    earlier: Vec<Pepper>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a refresh token pepper is not 32 bytes in base64, or there is none")]
pub struct InvalidPepper;

impl RefreshToken {
    /// Generates the first token of a family.
    #[must_use]
    pub fn generate(family_id: Uuid) -> Self {
        Self::from_parts(family_id, &random_token::generate())
    }

    /// The token that replaces this one.
    #[must_use]
    pub fn successor(&self, pepper: &Pepper) -> Self {
        let tag = hmac::sign(&pepper.0, self.text.as_bytes());
        Self::from_parts(self.family_id, &BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    #[must_use]
    pub fn family_id(&self) -> Uuid {
        self.family_id
    }

    /// The digest that is stored instead of the token.
    #[must_use]
    pub fn digest(&self) -> String {
        random_token::digest(&self.text)
    }

    /// The text that the client gets.
    #[must_use]
    pub fn into_string(self) -> String {
        self.text
    }

    fn from_parts(family_id: Uuid, secret: &str) -> Self {
        Self {
            family_id,
            text: format!("{family_id}.{secret}"),
        }
    }
}

impl FromStr for RefreshToken {
    type Err = InvalidRefreshToken;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (family_id, secret) = text.split_once('.').ok_or(InvalidRefreshToken)?;
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if secret.len() != SECRET_LEN || !secret.bytes().all(is_base64url) {
            return Err(InvalidRefreshToken);
        }
        let token = Self::from_parts(family_id.parse().map_err(|_| InvalidRefreshToken)?, secret);
        // A UUID has several spellings. Only the canonical one is a token, because the digest depends on the
        // spelling.
        if token.text == text {
            Ok(token)
        } else {
            Err(InvalidRefreshToken)
        }
    }
}

impl Peppers {
    /// The pepper of the tokens that are derived now.
    #[must_use]
    pub fn present(&self) -> &Pepper {
        &self.present
    }

    /// All peppers, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Pepper> {
        std::iter::once(&self.present).chain(&self.earlier)
    }
}

impl FromStr for Peppers {
    type Err = InvalidPepper;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut peppers = text.split_whitespace().map(Pepper::from_str);
        Ok(Self {
            present: peppers.next().ok_or(InvalidPepper)??,
            earlier: peppers.collect::<Result<_, _>>()?,
        })
    }
}

impl FromStr for Pepper {
    type Err = InvalidPepper;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| InvalidPepper)?;
        if bytes.len() != 32 {
            return Err(InvalidPepper);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken")
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peppers")
    }
}

#[cfg(test)]
mod tests {
    use domain::{Timestamp, ids::uuid_v7};

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn pepper(byte: u8) -> Pepper {
        BASE64_STANDARD.encode([byte; 32]).parse().unwrap()
    }

    #[test]
    fn token_round_trips_and_other_text_is_rejected() {
        let token = RefreshToken::generate(uuid_v7(NOW));
        let text = token.clone().into_string();
        assert_eq!(text.parse::<RefreshToken>().unwrap(), token);
        let family_id = token.family_id();
        for invalid in [
            "",
            ".",
            &text.to_uppercase(),
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}A"),
            &text.replace('-', ""),
            &format!("{{{family_id}}}.{}", "A".repeat(43)),
            &format!("{family_id}.{}", "é".repeat(21)),
            &format!("{family_id}.{}", "=".repeat(43)),
        ] {
            assert!(invalid.parse::<RefreshToken>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn successor_is_deterministic_and_depends_on_the_pepper() {
        let token = RefreshToken::generate(uuid_v7(NOW));
        let successor = token.successor(&pepper(1));
        assert_eq!(successor, token.successor(&pepper(1)));
        assert_ne!(successor, token.successor(&pepper(2)));
        assert_ne!(successor, token);
        assert_eq!(successor.family_id(), token.family_id());
        assert_ne!(successor.successor(&pepper(1)), successor);
        assert_eq!(
            successor.clone().into_string().parse::<RefreshToken>().unwrap(),
            successor
        );
    }

    #[test]
    fn peppers_have_32_bytes_and_the_first_one_is_present() {
        let [new, old] = [8, 7].map(|byte| BASE64_STANDARD.encode([byte; 32]));
        for invalid in ["", "\n", "c2hvcnQ=", "not base64!", &format!("{new} c2hvcnQ=")] {
            assert_eq!(
                invalid.parse::<Peppers>().unwrap_err(),
                InvalidPepper,
                "{invalid}"
            );
        }
        let peppers: Peppers = format!("{new}\n{old}\n").parse().unwrap();
        let token = RefreshToken::generate(uuid_v7(NOW));
        assert_eq!(token.successor(peppers.present()), token.successor(&pepper(8)));
        let successors = peppers.iter().map(|pepper| token.successor(pepper));
        assert!(successors.eq([8, 7].map(|byte| token.successor(&pepper(byte)))));
    }
}
