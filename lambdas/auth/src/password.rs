//! Passwords: which are taken, how they are kept, and how one is compared with what is kept.

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::{self, phc::PasswordHash},
};
use users::{DisplayName, EmailAddress};

use crate::random_token;

/// What OWASP asks of argon2id at the least: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

const MIN_CHARS: usize = 8;
const MAX_CHARS: usize = 128;
const MAX_BYTES: usize = 512;

/// The hash of a password that nobody knows: it was made up, not computed. Who gives the address of no account
/// has their password compared with it, which takes as long as with any other.
const DUMMY_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$z6PxHvETDBqgHmrlyg4Efw$G1JaMBl2y5NBicalF4lWEsQJgq25D7tgRQSuvEA9SFI";

/// A password that may be had here.
#[derive(Clone)]
pub struct Password(String);

/// Why a password may not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordPolicyError {
    /// Too short to be worth guessing at.
    #[error("a password has at least {MIN_CHARS} characters")]
    TooShort,
    /// More than anybody remembers, and work for us.
    #[error("a password has at most {MAX_CHARS} characters")]
    TooLong,
    /// What somebody would try first.
    #[error("a password is neither the address nor the name")]
    Guessable,
}

/// A password could not be hashed, or what is kept of one is no hash.
#[derive(Debug, thiserror::Error)]
#[error("argon2 failed: {0}")]
pub struct PasswordHashError(String);

impl Password {
    /// Takes any characters, as they come; length counts, and that it is neither the address nor the name.
    pub fn validate(
        text: &str,
        email: &EmailAddress,
        name: &DisplayName,
    ) -> Result<Self, PasswordPolicyError> {
        let chars = text.chars().count();
        if chars < MIN_CHARS {
            return Err(PasswordPolicyError::TooShort);
        }
        if chars > MAX_CHARS || text.len() > MAX_BYTES {
            return Err(PasswordPolicyError::TooLong);
        }
        let folded = text.trim().to_lowercase();
        if folded == email.as_str() || folded == name.as_str().to_lowercase() {
            return Err(PasswordPolicyError::Guessable);
        }
        Ok(Self(text.to_owned()))
    }

    /// What is kept of it: argon2id in the PHC format, with a salt of its own.
    pub fn hash(&self) -> Result<String, PasswordHashError> {
        let salt = random_token::random_bytes::<16>();
        let hash: PasswordHash = argon2()?
            .hash_password_with_salt(self.0.as_bytes(), &salt)
            .map_err(hash_error)?;
        Ok(hash.to_string())
    }
}

/// Whether `given` is the password of which `kept` is the hash. Without one it is wrong, and takes as long.
pub fn verify(given: &str, kept: Option<&str>) -> Result<bool, PasswordHashError> {
    // No password is longer; a hash of megabytes would be work that anybody could give us.
    let given = if given.len() > MAX_BYTES { "" } else { given };
    let verified = argon2()?.verify_password(given.as_bytes(), kept.unwrap_or(DUMMY_HASH));
    match verified {
        Ok(()) => Ok(kept.is_some()),
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

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn validate(text: &str) -> Result<Password, PasswordPolicyError> {
        let email = EmailAddress::parse("hanako@example.com").unwrap();
        Password::validate(text, &email, &DisplayName::parse("Hanako Matsuri").unwrap())
    }

    #[test]
    fn length_counts_and_what_is_known_of_the_person_does_not_do() {
        assert!(validate("12345678").is_ok());
        assert!(validate("祭り囃子と太鼓の音").is_ok());
        assert!(validate(&"a".repeat(128)).is_ok());
        for (text, why) in [
            ("1234567", PasswordPolicyError::TooShort),
            ("祭り囃子と太鼓", PasswordPolicyError::TooShort),
            (&*"a".repeat(129), PasswordPolicyError::TooLong),
            (&*"👨‍👩‍👧‍👦".repeat(21), PasswordPolicyError::TooLong),
            ("Hanako@Example.com", PasswordPolicyError::Guessable),
            (" hanako matsuri", PasswordPolicyError::Guessable),
        ] {
            assert_eq!(validate(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn only_the_password_itself_opens_what_is_kept_of_it() {
        let password = validate("correct horse").unwrap();
        let kept = password.hash().unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, password.hash().unwrap(), "each has a salt of its own");
        assert!(verify("correct horse", Some(&kept)).unwrap());
        for wrong in ["correct horse ", "Correct horse", "", &"a".repeat(100_000)] {
            assert!(!verify(wrong, Some(&kept)).unwrap());
        }
    }

    #[test]
    fn without_a_hash_it_is_wrong_and_takes_as_long() {
        let kept = validate("correct horse").unwrap().hash().unwrap();
        let time = |kept: Option<&str>| {
            let started = Instant::now();
            assert!(!verify("wrong horse", kept).unwrap());
            started.elapsed()
        };
        // In turns, and the shortest of each: what else the machine does only ever adds, and a difference that is
        // there stays however often it is measured.
        let (mut somebody, mut nobody) = (time(Some(&kept)), time(None));
        let alike = (0..50).any(|_| {
            somebody = somebody.min(time(Some(&kept)));
            nobody = nobody.min(time(None));
            (0.7..1.4).contains(&(somebody.as_secs_f64() / nobody.as_secs_f64()))
        });
        assert!(alike, "{somebody:?} and {nobody:?}");
    }

    #[test]
    fn what_is_no_hash_is_an_error_and_no_password() {
        assert!(verify("password", Some("plain text")).is_err());
    }
}
