//! Random tokens, and the digests that are stored instead of the tokens themselves.

use aws_lc_rs::{digest, rand};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// Generates a token of 32 random bytes, encoded as URL-safe base64.
#[must_use]
pub fn generate() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<32>())
}

/// Returns bytes from the random number generator of the operating system.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system provides random bytes");
    bytes
}

/// SHA-256, encoded as URL-safe base64. Tokens need no salt: their 256 random bits cannot be guessed.
#[must_use]
pub fn digest(token: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_unique_and_have_32_bytes() {
        let (one, other) = (generate(), generate());
        assert_ne!(one, other);
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(one).unwrap().len(), 32);
    }

    #[test]
    fn digest_is_sha_256() {
        assert_eq!(digest("abc"), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
    }
}
