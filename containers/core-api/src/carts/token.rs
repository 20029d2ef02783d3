//! The identifiers of carts: the id of the DynamoDB item and the token of an anonymous cart.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::UserId;
use sha2::{Digest, Sha256};
use tokens::random_token::random_bytes;

/// 256 bits, which cannot be guessed.
const TOKEN_BYTES: usize = 32;

/// The secret token of an anonymous cart. It grants full access to the cart, so the table stores only its
/// digest.
#[derive(Clone)]
pub struct CartToken([u8; TOKEN_BYTES]);

/// The text is not a cart token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cart token is 43 characters of base64url")]
pub struct InvalidCartToken;

/// The key of a cart in the sessions table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CartId(String);

impl CartToken {
    #[must_use]
    pub fn generate() -> Self {
        Self(random_bytes())
    }

    /// Parses the text that [`Self::expose`] returned.
    pub fn parse(text: &str) -> Result<Self, InvalidCartToken> {
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| InvalidCartToken)?;
        bytes.try_into().map(Self).map_err(|_| InvalidCartToken)
    }

    /// The token as text, to be sent to the client.
    #[must_use]
    pub fn expose(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl std::fmt::Debug for CartToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CartToken")
    }
}

impl CartId {
    /// The cart of a user.
    #[must_use]
    pub fn for_user(user_id: UserId) -> Self {
        Self(format!("cart#user#{user_id}"))
    }

    /// The anonymous cart that the token belongs to.
    #[must_use]
    pub fn for_token(token: &CartToken) -> Self {
        let digest = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token.0));
        Self(format!("cart#anonymous#{digest}"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_round_trips_and_is_not_revealed_by_cart_id_or_debug() {
        let token = CartToken::generate();
        let text = token.expose();
        assert_eq!(text.len(), 43);
        let id = CartId::for_token(&token);
        assert_eq!(CartId::for_token(&CartToken::parse(&text).unwrap()), id);
        assert!(!id.as_str().contains(&text));
        assert_ne!(CartId::for_token(&CartToken::generate()), id);
        assert!(!format!("{token:?}").contains(&text));
    }

    #[test]
    fn rejects_malformed_tokens() {
        let valid = CartToken::generate().expose();
        for malformed in [
            "",
            "cart",
            &valid[1..],
            &format!("{valid}A"),
            &format!("{}!", &valid[1..]),
        ] {
            assert_eq!(
                CartToken::parse(malformed).err(),
                Some(InvalidCartToken),
                "{malformed}"
            );
        }
    }
}
