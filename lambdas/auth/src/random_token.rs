//! Secrets that are made up here, and what is kept of them.

use aws_lc_rs::{digest, rand};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// A new secret of 32 bytes, from the operating system's randomness, as text that may stand in a link.
#[must_use]
pub fn generate() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<32>())
}

/// As many bytes as are asked for, from the operating system's randomness.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("a machine without randomness cannot serve");
    bytes
}

/// What is kept of a secret. Secrets have as much randomness as a digest, so it needs no salt.
#[must_use]
pub fn digest(secret: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_equal_and_each_has_32_bytes() {
        let (one, other) = (generate(), generate());
        assert_ne!(one, other);
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(one).unwrap().len(), 32);
    }

    #[test]
    fn a_digest_is_sha_256() {
        assert_eq!(digest("abc"), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
    }
}
