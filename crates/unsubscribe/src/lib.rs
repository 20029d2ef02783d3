//! The tokens of unsubscribe links in order mails (RFC 8058).
//!
//! A token names one account and permits one thing: to set its preference `order_mails` to false. It does
//! not expire, because customers unsubscribe from old mails as well. notification-sender signs tokens and
//! core-api verifies them.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::UserId;
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

/// What a token permits. It is part of the signed text, so that a signature for another purpose, made with
/// the same key, is no token.
const PURPOSE: &[u8] = b"matsuri unsubscribe order_mails\0";

const KEY_LEN: usize = 32;
const USER_ID_LEN: usize = 16;

/// The signing keys. The first one signs; all of them verify.
pub struct UnsubscribeKeys {
    first: hmac::Key,
    others: Vec<hmac::Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an unsubscribe key is not 32 bytes in base64, or there is none")]
pub struct InvalidUnsubscribeKeys;

impl UnsubscribeKeys {
    /// Parses the text of the secret `ecommerce/unsubscribe-keys`: keys of 32 bytes in base64, separated by
    /// white space.
    pub fn parse(text: &SecretString) -> Result<Self, InvalidUnsubscribeKeys> {
        let mut keys = text.expose_secret().split_whitespace().map(parse_key);
        Ok(Self {
            first: keys.next().ok_or(InvalidUnsubscribeKeys)??,
            others: keys.collect::<Result<_, _>>()?,
        })
    }

    /// The token with which the holder can unsubscribe this account. It consists of base64url characters.
    #[must_use]
    pub fn sign(&self, user_id: UserId) -> String {
        let tag = hmac::sign(&self.first, &signed_text(user_id));
        BASE64_URL_SAFE_NO_PAD.encode([&user_id.0.as_bytes()[..], tag.as_ref()].concat())
    }

    /// The account of a token. `None` if none of the keys has signed the token. Signatures are compared in
    /// constant time.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<UserId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (id, tag) = bytes.split_at_checked(USER_ID_LEN)?;
        let user_id = UserId(Uuid::from_slice(id).ok()?);
        let signed = signed_text(user_id);
        let mut keys = std::iter::once(&self.first).chain(&self.others);
        keys.any(|key| hmac::verify(key, &signed, tag).is_ok())
            .then_some(user_id)
    }
}

fn parse_key(text: &str) -> Result<hmac::Key, InvalidUnsubscribeKeys> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| InvalidUnsubscribeKeys)?;
    if bytes.len() != KEY_LEN {
        return Err(InvalidUnsubscribeKeys);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn signed_text(user_id: UserId) -> Vec<u8> {
    [PURPOSE, user_id.0.as_bytes()].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        BASE64_STANDARD.encode([byte; KEY_LEN])
    }

    fn keys(text: &str) -> UnsubscribeKeys {
        UnsubscribeKeys::parse(&text.to_owned().into()).unwrap()
    }

    fn user_id() -> UserId {
        UserId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001))
    }

    #[test]
    fn token_names_its_account() {
        let (keys, user_id) = (keys(&key(1)), user_id());
        let token = keys.sign(user_id);
        assert_eq!(keys.verify(&token), Some(user_id));
        assert!(!token.contains(&user_id.to_string()));
        let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        assert!(token.bytes().all(is_base64url), "{token}");
    }

    #[test]
    fn changed_token_is_rejected() {
        let keys = keys(&key(1));
        let token = keys.sign(user_id());
        let other = keys.sign(UserId(Uuid::from_u128(1)));
        let swapped = format!("{}{}", &other[..20], &token[20..]);
        for forged in ["", "a", "ö", &token[..21], &token[..token.len() - 4], &swapped] {
            assert_eq!(keys.verify(forged), None, "{forged}");
        }
        for position in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(keys.verify(&changed), None, "{position}");
        }
    }

    /// The new key is added at the end, so that everything verifies its tokens before one is signed.
    #[test]
    fn tokens_stay_valid_during_and_after_a_rotation() {
        let (before, during) = (keys(&key(1)), keys(&format!("{}\n{}\n", key(1), key(2))));
        let after = keys(&format!("{} {}", key(2), key(1)));
        let (old, new) = (during.sign(user_id()), after.sign(user_id()));
        assert_eq!(before.verify(&old), Some(user_id()));
        assert_ne!(old, new);
        for keys in [&during, &after] {
            assert_eq!(keys.verify(&old), Some(user_id()));
            assert_eq!(keys.verify(&new), Some(user_id()));
        }
        assert_eq!(keys(&key(2)).verify(&old), None, "the old key was removed");
    }

    #[test]
    fn invalid_keys_are_rejected() {
        for text in ["", " \n", "c2hvcnQ=", "not base64!"] {
            let parsed = UnsubscribeKeys::parse(&text.to_owned().into());
            assert_eq!(parsed.err(), Some(InvalidUnsubscribeKeys), "{text:?}");
        }
    }
}
