//! The keys that sign user access tokens.
//!
//! Every key is published in the JWKS before it starts to sign and for some time after it has stopped, so
//! verifiers know each key before they see a token that it signed. The key with the latest `signs_from` that
//! is not in the future signs.

use domain::Timestamp;
use jsonwebtoken::{
    Algorithm, EncodingKey,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub struct SigningKeys {
    keys: Vec<SigningKey>,
}

pub struct SigningKey {
    /// The key id in the header of the tokens and in the JWKS.
    pub kid: String,
    pub encoding_key: EncodingKey,
    active_from: Timestamp,
    public_jwk: Jwk,
}

/// The content of the secret.
#[derive(Deserialize)]
struct StoredKeys {
    keys: Vec<StoredKey>,
}

#[derive(Deserialize)]
struct StoredKey {
    kid: String,
    private_key_pem: SecretString,
    signs_from: Timestamp,
}

/// No message of these errors contains key material.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeysError {
    /// The parser's message is dropped, because it could quote the secret.
    #[error(r#"the signing keys are not {{"keys":[{{"kid","private_key_pem","signs_from"}}]}}"#)]
    Malformed,
    #[error("the signing key {kid} is not an RSA key in PEM")]
    InvalidKey {
        kid: String,
        source: jsonwebtoken::errors::Error,
    },
    #[error("no signing key is active: every `signs_from` is in the future")]
    NoActiveKey,
}

impl SigningKeys {
    /// Parses the text of the secret.
    pub fn parse(secret: &SecretString) -> Result<Self, SigningKeysError> {
        let stored: StoredKeys =
            serde_json::from_str(secret.expose_secret()).map_err(|_| SigningKeysError::Malformed)?;
        let keys = stored.keys.into_iter().map(SigningKey::try_from);
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }

    /// The key that signs at the time `now`.
    pub fn active_key(&self, now: Timestamp) -> Result<&SigningKey, SigningKeysError> {
        self.keys
            .iter()
            .filter(|key| key.active_from <= now)
            .max_by_key(|key| key.active_from)
            .ok_or(SigningKeysError::NoActiveKey)
    }

    /// The public keys as a JWKS (RFC 7517), including keys that do not sign at present.
    #[must_use]
    pub fn jwk_set(&self) -> JwkSet {
        JwkSet {
            keys: self.keys.iter().map(|key| key.public_jwk.clone()).collect(),
        }
    }
}

impl TryFrom<StoredKey> for SigningKey {
    type Error = SigningKeysError;

    fn try_from(stored: StoredKey) -> Result<Self, SigningKeysError> {
        let invalid_key = |source| SigningKeysError::InvalidKey {
            kid: stored.kid.clone(),
            source,
        };
        let pem = stored.private_key_pem.expose_secret();
        let encoding_key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(invalid_key)?;
        let mut public_jwk = Jwk::from_encoding_key(&encoding_key, Algorithm::RS256).map_err(invalid_key)?;
        public_jwk.common.key_id = Some(stored.kid.clone());
        public_jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            encoding_key,
            active_from: stored.signs_from,
            public_jwk,
            kid: stored.kid,
        })
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.kid))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::private_key_pem;

    fn signing_keys(keys: &[(&str, i64)]) -> SigningKeys {
        let at = |seconds| Timestamp::from_timestamp(seconds, 0).unwrap();
        let keys: Vec<_> = keys
            .iter()
            .map(|(kid, signs_from)| {
                let signs_from = at(*signs_from);
                json!({"kid": kid, "private_key_pem": private_key_pem(), "signs_from": signs_from})
            })
            .collect();
        SigningKeys::parse(&json!({"keys": keys}).to_string().into()).unwrap()
    }

    #[test]
    fn latest_key_that_is_not_in_the_future_signs_and_all_are_published() {
        let signing_keys = signing_keys(&[("old", 0), ("next", 300), ("now", 100)]);
        let active_kid = |seconds| {
            let now = Timestamp::from_timestamp(seconds, 0).unwrap();
            signing_keys.active_key(now).map(|key| key.kid.clone())
        };
        assert_eq!(active_kid(99).unwrap(), "old");
        assert_eq!(active_kid(100).unwrap(), "now");
        assert_eq!(active_kid(299).unwrap(), "now");
        assert_eq!(active_kid(300).unwrap(), "next");
        assert!(matches!(active_kid(-1), Err(SigningKeysError::NoActiveKey)));

        let published = serde_json::to_value(signing_keys.jwk_set()).unwrap();
        let kids: Vec<_> = published["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| &key["kid"])
            .collect();
        assert_eq!(kids, ["old", "next", "now"]);
        let key = &published["keys"][0];
        assert_eq!(
            (&key["kty"], &key["alg"], &key["use"], &key["e"]),
            (&json!("RSA"), &json!("RS256"), &json!("sig"), &json!("AQAB"))
        );
        let private_members = ["d", "p", "q", "dp", "dq", "qi", "private_key_pem"];
        assert!(
            private_members.iter().all(|member| key.get(member).is_none()),
            "{key}"
        );
    }

    #[test]
    fn errors_do_not_contain_key_material() {
        for text in [
            "hunter2",
            r#"{"keys":"hunter2"}"#,
            r#"{"keys":[{"kid":"k","signs_from":"hunter2"}]}"#,
        ] {
            let error = SigningKeys::parse(&text.to_owned().into()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let epoch = Timestamp::UNIX_EPOCH;
        let not_pem = json!({"keys": [{"kid": "k1", "private_key_pem": "hunter2", "signs_from": epoch}]});
        let error = SigningKeys::parse(&not_pem.to_string().into()).unwrap_err();
        assert_eq!(error.to_string(), "the signing key k1 is not an RSA key in PEM");
    }
}
