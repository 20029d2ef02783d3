//! Hashes passwords and verifies them against stored hashes.

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::{self, phc::PasswordHash},
};
use tokens::random_token;

use super::{MAX_BYTES, Password};

/// OWASP's minimum for argon2id: 19 MiB of memory, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A hash without a known password: its output is random. [`verify`] uses it for e-mail addresses without an
/// account, so that the verification takes as long as any other.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$z6PxHvETDBqgHmrlyg4Efw$G1JaMBl2y5NBicalF4lWEsQJgq25D7tgRQSuvEA9SFI";

/// A password could not be hashed, or the stored hash is malformed.
#[derive(Debug, thiserror::Error)]
#[error("argon2 failed: {0}")]
pub struct PasswordHashError(String);

impl Password {
    /// Hashes the password with a random salt. The result is in the PHC format.
    pub fn hash(&self) -> Result<String, PasswordHashError> {
        let salt = random_token::random_bytes::<16>();
        let hash: PasswordHash = argon2()?
            .hash_password_with_salt(self.as_str().as_bytes(), &salt)
            .map_err(hash_error)?;
        Ok(hash.to_string())
    }
}

/// Whether the password has the stored hash. Without a stored hash, it takes as long and returns `false`.
pub fn verify(password: &str, stored_hash: Option<&str>) -> Result<bool, PasswordHashError> {
    // No stored password is longer than the limit. Hashing megabytes would be a way to overload the function.
    let password = if password.len() > MAX_BYTES { "" } else { password };
    let verified = argon2()?.verify_password(password.as_bytes(), stored_hash.unwrap_or(DUMMY_HASH));
    match verified {
        Ok(()) => Ok(stored_hash.is_some()),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(hash_error(error)),
    }
}

fn argon2() -> Result<Argon2<'static>, PasswordHashError> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| PasswordHashError(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_error(error: password_hash::Error) -> PasswordHashError {
    PasswordHashError(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use users::{DisplayName, EmailAddress};

    use super::*;

    fn hash(password: &str) -> String {
        let email = EmailAddress::parse("hanako@example.com").unwrap();
        let name = DisplayName::parse("Hanako Matsuri").unwrap();
        Password::validate(password, &email, &name)
            .unwrap()
            .hash()
            .unwrap()
    }

    #[test]
    fn hash_is_salted_and_verifies_only_the_exact_password() {
        let stored = hash("correct horse");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_ne!(stored, hash("correct horse"), "each hash has its own salt");
        assert!(verify("correct horse", Some(&stored)).unwrap());
        for wrong in ["correct horse ", "Correct horse", "", &"a".repeat(100_000)] {
            assert!(!verify(wrong, Some(&stored)).unwrap());
        }
    }

    #[test]
    fn verification_without_a_stored_hash_fails_and_takes_as_long() {
        let stored = hash("correct horse");
        let time = |stored: Option<&str>| {
            let started = Instant::now();
            assert!(!verify("wrong horse", stored).unwrap());
            started.elapsed()
        };
        // The measurements alternate and only the shortest ones count: other load on the machine only adds
        // time, and a real difference remains in the minimum.
        let (mut with_hash, mut without_hash) = (time(Some(&stored)), time(None));
        let is_similar = (0..50).any(|_| {
            with_hash = with_hash.min(time(Some(&stored)));
            without_hash = without_hash.min(time(None));
            (0.7..1.4).contains(&(with_hash.as_secs_f64() / without_hash.as_secs_f64()))
        });
        assert!(is_similar, "{with_hash:?} and {without_hash:?}");
    }

    #[test]
    fn malformed_stored_hash_is_an_error() {
        assert!(verify("password", Some("plain text")).is_err());
    }
}
