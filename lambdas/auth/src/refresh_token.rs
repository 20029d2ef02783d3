//! Refresh tokens: how one looks, which comes next, and what it means that one comes a second time.
//!
//! A token is `<family>.<secret>`. A sign-in begins a family, and each use of its newest token makes the next one.
//! The next is computed from the one that is shown, so two programs that show the same token at once get the same
//! successor, and neither loses its session. Without the pepper nobody computes it.

use std::{fmt, str::FromStr};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use domain::{Timestamp, UserId};
use uuid::Uuid;

use crate::random_token;

/// For so long after a token was used it may be used once more: the first answer may have been lost on its way,
/// or two pages have asked at once.
const REUSE_GRACE_PERIOD: TimeDelta = TimeDelta::seconds(10);

/// The digits of 32 bytes in base64 without padding.
const SECRET_LEN: usize = 43;

/// A refresh token, as its bearer shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    family_id: Uuid,
    text: String,
}

/// Text that was never a refresh token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a refresh token")]
pub struct InvalidRefreshToken;

/// What the next token is computed with, besides the one before.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

/// A pepper that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the refresh pepper is not 32 bytes in base64")]
pub struct InvalidPepper;

/// What is kept of a family: digests, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFamily {
    /// Whose.
    pub user_id: UserId,
    /// The digest of the newest token.
    pub current_digest: String,
    /// The digest of the one before.
    pub previous_digest: Option<String>,
    /// When the newest became that.
    pub rotated_at: Timestamp,
    /// When its person signed in.
    pub signed_in_at: Timestamp,
}

/// What is to be done with a token that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationDecision {
    /// It is the newest: its successor takes its place.
    Rotate,
    /// It was the newest a moment ago: its bearer gets the same successor once more.
    RepeatSuccessor,
    /// It is an old one. Two have it, and one of them has stolen it.
    ReuseDetected,
}

impl RefreshToken {
    /// The first token of a family.
    #[must_use]
    pub fn generate(family: Uuid) -> Self {
        Self::from_parts(family, &random_token::generate())
    }

    /// The token that takes this one's place.
    #[must_use]
    pub fn successor(&self, pepper: &Pepper) -> Self {
        let tag = hmac::sign(&pepper.0, self.text.as_bytes());
        Self::from_parts(self.family_id, &BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// Which family it belongs to.
    #[must_use]
    pub fn family_id(&self) -> Uuid {
        self.family_id
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> String {
        random_token::digest(&self.text)
    }

    /// As its bearer gets it.
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
        let (family, secret) = text.split_once('.').ok_or(InvalidRefreshToken)?;
        let digits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if secret.len() != SECRET_LEN || !secret.bytes().all(digits) {
            return Err(InvalidRefreshToken);
        }
        let token = Self::from_parts(family.parse().map_err(|_| InvalidRefreshToken)?, secret);
        // An UUID may be written in several ways, and a token only in one.
        if token.text == text {
            Ok(token)
        } else {
            Err(InvalidRefreshToken)
        }
    }
}

impl FromStr for Pepper {
    type Err = InvalidPepper;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| InvalidPepper)?;
        if bytes.len() != 32 {
            return Err(InvalidPepper);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

impl TokenFamily {
    /// Whether it is the digest of the newest token, or of the one before.
    #[must_use]
    pub fn is_current_or_previous(&self, digest: &str) -> bool {
        self.current_digest == digest || self.previous_digest.as_deref() == Some(digest)
    }

    /// What to do with a token of this family of which `digest` is the digest.
    #[must_use]
    pub fn evaluate(&self, digest: &str, now: Timestamp) -> RotationDecision {
        if self.current_digest == digest {
            RotationDecision::Rotate
        } else if self.previous_digest.as_deref() == Some(digest)
            && now - self.rotated_at <= REUSE_GRACE_PERIOD
        {
            RotationDecision::RepeatSuccessor
        } else {
            RotationDecision::ReuseDetected
        }
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken")
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper")
    }
}

#[cfg(test)]
mod tests {
    use domain::ids::uuid_v7;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn pepper(byte: u8) -> Pepper {
        BASE64_STANDARD.encode([byte; 32]).parse().unwrap()
    }

    #[test]
    fn a_token_reads_back_as_it_was_written_and_nothing_else_does() {
        let token = RefreshToken::generate(uuid_v7(NOW));
        let text = token.clone().into_string();
        assert_eq!(text.parse::<RefreshToken>().unwrap(), token);
        let family = token.family_id();
        for wrong in [
            "",
            ".",
            &text.to_uppercase(),
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}A"),
            &text.replace('-', ""),
            &format!("{{{family}}}.{}", "A".repeat(43)),
            &format!("{family}.{}", "é".repeat(21)),
            &format!("{family}.{}", "=".repeat(43)),
        ] {
            assert!(wrong.parse::<RefreshToken>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_successor_is_the_same_for_all_who_ask_and_unknown_without_the_pepper() {
        let token = RefreshToken::generate(uuid_v7(NOW));
        let next = token.successor(&pepper(1));
        assert_eq!(next, token.successor(&pepper(1)));
        assert_ne!(next, token.successor(&pepper(2)));
        assert_ne!(next, token);
        assert_eq!(next.family_id(), token.family_id());
        assert_ne!(next.successor(&pepper(1)), next);
        assert_eq!(next.clone().into_string().parse::<RefreshToken>().unwrap(), next);
    }

    #[test]
    fn a_pepper_has_32_bytes() {
        for wrong in ["", "c2hvcnQ=", "not base64!"] {
            assert_eq!(wrong.parse::<Pepper>().unwrap_err(), InvalidPepper, "{wrong}");
        }
        assert!(
            format!("{}\n", BASE64_STANDARD.encode([7; 32]))
                .parse::<Pepper>()
                .is_ok()
        );
    }

    #[test]
    fn the_newest_is_followed_the_one_before_repeated_for_a_moment_and_any_other_betrays() {
        let family = TokenFamily {
            user_id: UserId::new(NOW),
            current_digest: "c".to_owned(),
            previous_digest: Some("b".to_owned()),
            rotated_at: NOW,
            signed_in_at: NOW,
        };
        let at = |seconds| NOW + TimeDelta::seconds(seconds);
        assert_eq!(family.evaluate("c", at(0)), RotationDecision::Rotate);
        assert_eq!(family.evaluate("c", at(1_000_000)), RotationDecision::Rotate);
        assert_eq!(family.evaluate("b", at(0)), RotationDecision::RepeatSuccessor);
        assert_eq!(family.evaluate("b", at(10)), RotationDecision::RepeatSuccessor);
        assert_eq!(family.evaluate("b", at(11)), RotationDecision::ReuseDetected);
        assert_eq!(family.evaluate("a", at(0)), RotationDecision::ReuseDetected);

        let fresh = TokenFamily {
            previous_digest: None,
            ..family
        };
        assert_eq!(fresh.evaluate("c", at(0)), RotationDecision::Rotate);
        assert_eq!(fresh.evaluate("b", at(0)), RotationDecision::ReuseDetected);
    }
}
