//! The roles of the programs, and their passwords.

use std::num::NonZeroU32;

use aws_lc_rs::{
    digest, hmac,
    pbkdf2::{self, PBKDF2_HMAC_SHA256},
    rand,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, PgPool};
use strum::{IntoStaticStr, VariantArray};

/// PostgreSQL's default.
const SCRAM_ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("4096 is not zero");

/// The key of the advisory lock under which roles change, because PostgreSQL fails the second of two
/// concurrent changes instead of delaying it. The bytes spell "password".
const ROLE_LOCK: i64 = i64::from_be_bytes(*b"password");

/// The role with which a program connects. `migrations/0005_roles.sql` creates the roles and grants their
/// rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    CoreApi,
    StockService,
    /// The auth functions.
    Auth,
}

/// The password was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetPasswordError {
    /// PostgreSQL would normalise other characters before it hashes them.
    #[error("a password consists of visible ASCII characters")]
    InvalidCharacter,
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl Role {
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Sets the password with which a program logs in. `pool` must be connected as the owner of the database.
///
/// The statement contains a SCRAM verifier and not the password, so no log of a statement reveals it.
pub async fn set_password(
    pool: &PgPool,
    role: Role,
    password: &SecretString,
) -> Result<(), SetPasswordError> {
    let password = password.expose_secret();
    if password.is_empty() || !password.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SetPasswordError::InvalidCharacter);
    }
    let mut salt = [0; 16];
    rand::fill(&mut salt).expect("the operating system provides random bytes");
    let verifier = scram_verifier(password, &salt);
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(ROLE_LOCK)
        .execute(&mut *transaction)
        .await?;
    // The verifier consists of base64 and punctuation without quotes.
    let statement = format!("ALTER ROLE {} PASSWORD '{verifier}'", role.name());
    sqlx::query(AssertSqlSafe(statement))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// The form in which PostgreSQL stores a password (RFC 5803): `SCRAM-SHA-256$iterations:salt$stored:server`.
fn scram_verifier(password: &str, salt: &[u8]) -> String {
    let mut salted_password = [0; 32];
    pbkdf2::derive(
        PBKDF2_HMAC_SHA256,
        SCRAM_ITERATIONS,
        salt,
        password.as_bytes(),
        &mut salted_password,
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted_password);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${SCRAM_ITERATIONS}:{}${}:{}",
        BASE64_STANDARD.encode(salt),
        BASE64_STANDARD.encode(stored_key),
        BASE64_STANDARD.encode(server_key),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scram_verifier_equals_the_one_of_postgresql() {
        // From `ALTER ROLE … PASSWORD 'pencil'` in PostgreSQL 15.
        let salt = BASE64_STANDARD.decode("0HbK46LZ7tpJUpTkhiXmkg==").unwrap();
        assert_eq!(
            scram_verifier("pencil", &salt),
            "SCRAM-SHA-256$4096:0HbK46LZ7tpJUpTkhiXmkg==$1tqAK/FOW0dZngAm48DYXYa1etUiz+JFtyx/LOP6d4Q=:\
             8j/Y9NyZ4hwPNUnPb7FX6VKD5suJMD9brNV3nNCPW10="
        );
    }
}
