//! The policy for new passwords: length, and strength as the estimator `zxcvbn` measures it.
//!
//! Measured for `zxcvbn` 3 (x86-64, release): 2.9 MB more executable, 70 ms once per process to load its
//! dictionaries, then 0.1 to 0.5 ms for usual passwords and at most 30 ms for 40 characters. Its time grows
//! with the square of the length and reaches a second at 100 characters, hence [`MAX_ESTIMATED_CHARS`].

use users::{DisplayName, EmailAddress};
use zxcvbn::{Score, zxcvbn};

use super::MAX_BYTES;

const MIN_CHARS: usize = 8;
const MAX_CHARS: usize = 128;

/// The estimator sees only the first characters of a password. A prefix that is strong enough makes the whole
/// password strong enough.
const MAX_ESTIMATED_CHARS: usize = 40;

/// The lowest accepted score: an attacker needs more than a million guesses.
const MIN_SCORE: Score = Score::Two;

/// A password that satisfies the policy.
#[derive(Clone)]
pub struct Password(String);

/// The password does not satisfy the policy. The messages are for the user who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordPolicyError {
    #[error("a password must have at least {MIN_CHARS} characters")]
    TooShort,
    #[error("a password can have at most {MAX_CHARS} characters")]
    TooLong,
    #[error("a password must not be the e-mail address or the name")]
    Guessable,
    #[error(
        "this password is too easy to guess: add uncommon words, and avoid common passwords, names, dates, \
         keyboard patterns and repeated characters"
    )]
    TooWeak,
}

impl Password {
    /// Checks a new password of the user with this e-mail address and name. All characters are allowed.
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
        if score(text, email.as_str(), name.as_str()) < MIN_SCORE {
            return Err(PasswordPolicyError::TooWeak);
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Loads the estimator's dictionaries, so that the first request does not wait for them.
pub fn warm_up_strength_estimator() {
    zxcvbn("Warm-up 2024", &[]);
}

fn score(text: &str, email: &str, name: &str) -> Score {
    let prefix: String = text.chars().take(MAX_ESTIMATED_CHARS).collect();
    let parts = |text| str::split(text, |c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    let user_inputs: Vec<&str> = [email, name]
        .into_iter()
        .chain(parts(email))
        .chain(parts(name))
        .collect();
    zxcvbn(&prefix, &user_inputs).score()
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validate(text: &str) -> Result<Password, PasswordPolicyError> {
        let email = EmailAddress::parse("hanako.m@example.com").unwrap();
        Password::validate(text, &email, &DisplayName::parse("Hanako Matsuri").unwrap())
    }

    #[test]
    fn length_is_limited_and_email_and_name_are_rejected() {
        let varied: String = (0..129).map(|i| char::from(33 + (i * 37 % 90) as u8)).collect();
        assert!(validate("xk7 quit").is_ok());
        assert!(validate("祭り囃子と太鼓の音").is_ok());
        assert!(validate(&varied[..128]).is_ok());
        for (text, error) in [
            ("1234567", PasswordPolicyError::TooShort),
            ("祭り囃子と太鼓", PasswordPolicyError::TooShort),
            (&*varied, PasswordPolicyError::TooLong),
            (&*"👨‍👩‍👧‍👦".repeat(21), PasswordPolicyError::TooLong),
            ("Hanako.M@Example.com", PasswordPolicyError::Guessable),
            (" hanako matsuri", PasswordPolicyError::Guessable),
        ] {
            assert_eq!(validate(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn weak_passwords_are_rejected() {
        for weak in [
            "12345678",
            "password",
            "P@ssw0rd1",
            "qwertyuiop",
            "1qaz2wsx3edc",
            "iloveyou2",
            "abcdefgh1",
            "summer2024",
            "hanako1985",
            "matsuri123",
            "HanakoMatsuri",
            "hanako.m@example.com1",
            &"a".repeat(128),
        ] {
            assert_eq!(
                validate(weak).unwrap_err(),
                PasswordPolicyError::TooWeak,
                "{weak}"
            );
        }
    }

    #[test]
    fn passphrases_and_random_passwords_are_accepted() {
        for strong in [
            "correct horse",
            "battery staple",
            "a guess of mine",
            "a third password",
            "tG8#qLw2",
            "0198c1f2-7c7e-7000-8000-0242ac120002",
        ] {
            assert!(validate(strong).is_ok(), "{strong}");
        }
    }
}
