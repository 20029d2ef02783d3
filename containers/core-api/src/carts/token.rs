//! By what a cart is known.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::UserId;
use sha2::{Digest, Sha256};

/// As many as nobody guesses.
const TOKEN_BYTES: usize = 32;

/// What opens the cart of somebody who is not signed in. Who has it has the cart; the store has only its digest.
#[derive(Clone)]
pub struct CartToken([u8; TOKEN_BYTES]);

/// Text that is no cart token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cart token is 43 characters of base64url")]
pub struct InvalidCartToken;

/// A cart's key in the table of sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CartId(String);

impl CartToken {
    /// A token that nobody else has.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = [0; TOKEN_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
        Self(bytes)
    }

    /// The token that was given out as `text`.
    pub fn parse(text: &str) -> Result<Self, InvalidCartToken> {
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| InvalidCartToken)?;
        bytes.try_into().map(Self).map_err(|_| InvalidCartToken)
    }

    /// The token as it is given out.
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
    /// The cart of somebody who has an account.
    #[must_use]
    pub fn for_user(user_id: UserId) -> Self {
        Self(format!("cart#user#{user_id}"))
    }

    /// The cart that a token opens.
    #[must_use]
    pub fn for_token(token: &CartToken) -> Self {
        let digest = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token.0));
        Self(format!("cart#anonymous#{digest}"))
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_its_cart_does_not_tell_it() {
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
    fn anything_else_is_no_token() {
        let good = CartToken::generate().expose();
        for odd in [
            "",
            "cart",
            &good[1..],
            &format!("{good}A"),
            &format!("{}!", &good[1..]),
        ] {
            assert_eq!(CartToken::parse(odd).err(), Some(InvalidCartToken), "{odd}");
        }
    }
}
