//! The telephone number of an account. A code that was sent to it by SMS verifies it.
//!
//! The codes are bounded per account, per number and in all: an SMS costs money, and a number may belong to a
//! person who has not asked for it. The bounds and the responses do not depend on the numbers of other
//! accounts.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use chrono::TimeDelta;
use database::DatabaseError;
use domain::{Timestamp, UserId, ids::uuid_v7};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;
use tokens::random_token::random_bytes;

use crate::{NewAuditEntry, Users, audit};

/// How long a code is valid.
pub const CODE_LIFETIME: TimeDelta = TimeDelta::minutes(10);

/// How often a user may enter a code before it becomes invalid.
pub const MAX_CODE_ATTEMPTS: u32 = 5;

/// Codes of one account in an hour.
const MAX_PER_ACCOUNT_AND_HOUR: i64 = 5;

/// Codes of one account in a day.
const MAX_PER_ACCOUNT_AND_DAY: i64 = 10;

/// Codes to one number in a day, from all accounts.
const MAX_PER_NUMBER_AND_DAY: i64 = 5;

/// A new code. It must go into an SMS to the number and nowhere else.
#[derive(Debug)]
pub struct PhoneCode {
    pub code: SecretString,
    pub expires_at: Timestamp,
}

/// No code was created.
#[derive(Debug, thiserror::Error)]
pub enum PhoneCodeError {
    #[error("too many codes were requested")]
    TooManyCodes,
    #[error("the account does not exist")]
    AccountNotFound,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for PhoneCodeError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// The number was not verified.
#[derive(Debug, thiserror::Error)]
pub enum PhoneVerificationError {
    /// The code is wrong or has expired, or there is none. The same code can be tried `attempts_left` times.
    #[error("the code is not valid; attempts left: {attempts_left}")]
    InvalidCode { attempts_left: u32 },
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for PhoneVerificationError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl Users {
    /// Creates a code that verifies `phone_number`, in the format E.164. It replaces an earlier code. The
    /// verified number of the account stays until the code is used. The same transaction writes `entry`.
    ///
    /// All accounts together get at most `max_codes_per_hour` codes.
    pub async fn create_phone_code(
        &self,
        user_id: UserId,
        phone_number: &str,
        max_codes_per_hour: u32,
        entry: &NewAuditEntry,
    ) -> Result<PhoneCode, PhoneCodeError> {
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        if !lock_account(&mut transaction, user_id).await? {
            return Err(PhoneCodeError::AccountNotFound);
        }
        let number_digest = digest(&SHA256, phone_number.as_bytes());
        count_code(
            &mut transaction,
            user_id,
            number_digest.as_ref(),
            max_codes_per_hour,
            now,
        )
        .await?;
        let code = random_code();
        let expires_at = now + CODE_LIFETIME;
        sqlx::query!(
            "INSERT INTO accounts.phone_verifications (user_id, phone_number, code_digest, attempts, expires_at)
             VALUES ($1, $2, $3, 0, $4)
             ON CONFLICT (user_id) DO UPDATE
             SET phone_number = $2, code_digest = $3, attempts = 0, expires_at = $4",
            user_id.0,
            phone_number,
            code_digest(user_id, phone_number, &code),
            expires_at,
        )
        .execute(&mut *transaction)
        .await?;
        audit::insert(&mut transaction, entry, now).await?;
        transaction.commit().await?;
        Ok(PhoneCode {
            code: code.into(),
            expires_at,
        })
    }

    /// Uses a code. The number to which it was sent becomes the account's number and is returned. The same
    /// transaction writes `entry`.
    pub async fn verify_phone_code(
        &self,
        user_id: UserId,
        code: &SecretString,
        entry: &NewAuditEntry,
    ) -> Result<String, PhoneVerificationError> {
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        let pending = if lock_account(&mut transaction, user_id).await? {
            sqlx::query!(
                "UPDATE accounts.phone_verifications SET attempts = attempts + 1
                 WHERE user_id = $1 AND expires_at > $2 AND attempts < $3
                 RETURNING phone_number, code_digest, attempts",
                user_id.0,
                now,
                i16::try_from(MAX_CODE_ATTEMPTS).expect("the constant is small"),
            )
            .fetch_optional(&mut *transaction)
            .await?
        } else {
            None
        };
        let Some(pending) = pending else {
            return Err(PhoneVerificationError::InvalidCode { attempts_left: 0 });
        };
        let given = code_digest(user_id, &pending.phone_number, code.expose_secret());
        if verify_slices_are_equal(&given, &pending.code_digest).is_err() {
            transaction.commit().await?;
            let attempts = u32::try_from(pending.attempts).unwrap_or(MAX_CODE_ATTEMPTS);
            let attempts_left = MAX_CODE_ATTEMPTS.saturating_sub(attempts);
            return Err(PhoneVerificationError::InvalidCode { attempts_left });
        }
        sqlx::query!(
            "UPDATE accounts.users
             SET phone_number = $2, updated_at = GREATEST($3, updated_at + interval '1 microsecond')
             WHERE id = $1",
            user_id.0,
            pending.phone_number,
            now,
        )
        .execute(&mut *transaction)
        .await?;
        delete_code(&mut transaction, user_id).await?;
        audit::insert(&mut transaction, entry, now).await?;
        transaction.commit().await?;
        Ok(pending.phone_number)
    }

    /// Removes the number of the account, sets the preference `order_sms` to false, and makes an unused code
    /// invalid. The same transaction writes `entry`, unless the account has no number. Idempotent.
    pub async fn remove_phone_number(
        &self,
        user_id: UserId,
        entry: &NewAuditEntry,
    ) -> Result<(), DatabaseError> {
        let now = self.now();
        let mut transaction = self.pool.begin().await?;
        let updated = sqlx::query!(
            r#"UPDATE accounts.users
               SET phone_number = NULL, preferences = preferences || '{"order_sms": false}',
                   updated_at = GREATEST($2, updated_at + interval '1 microsecond')
               WHERE id = $1 AND deleted_at IS NULL AND phone_number IS NOT NULL"#,
            user_id.0,
            now,
        )
        .execute(&mut *transaction)
        .await?;
        delete_code(&mut transaction, user_id).await?;
        if updated.rows_affected() == 1 {
            audit::insert(&mut transaction, entry, now).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// Locks the account, so that its number changes in no other transaction. Returns `false` when it does not
/// exist or was deleted.
async fn lock_account(connection: &mut PgConnection, user_id: UserId) -> Result<bool, DatabaseError> {
    let account = sqlx::query!(
        "SELECT id FROM accounts.users WHERE id = $1 AND deleted_at IS NULL FOR UPDATE",
        user_id.0,
    );
    Ok(account.fetch_optional(connection).await?.is_some())
}

/// Counts a code, unless a bound is reached.
async fn count_code(
    connection: &mut PgConnection,
    user_id: UserId,
    number_digest: &[u8],
    max_codes_per_hour: u32,
    now: Timestamp,
) -> Result<(), PhoneCodeError> {
    // Concurrent requests would not see each other's codes.
    sqlx::query!("LOCK TABLE accounts.phone_codes_sent IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *connection)
        .await?;
    let (an_hour_ago, a_day_ago) = (now - TimeDelta::hours(1), now - TimeDelta::days(1));
    sqlx::query!(
        "DELETE FROM accounts.phone_codes_sent WHERE sent_at <= $1",
        a_day_ago
    )
    .execute(&mut *connection)
    .await?;
    let sent = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE user_id = $1) AS "account_and_day!",
                  count(*) FILTER (WHERE user_id = $1 AND sent_at > $3) AS "account_and_hour!",
                  count(*) FILTER (WHERE number_digest = $2) AS "number_and_day!",
                  count(*) FILTER (WHERE sent_at > $3) AS "hour!"
           FROM accounts.phone_codes_sent"#,
        user_id.0,
        number_digest,
        an_hour_ago,
    )
    .fetch_one(&mut *connection)
    .await?;
    if sent.account_and_day >= MAX_PER_ACCOUNT_AND_DAY
        || sent.account_and_hour >= MAX_PER_ACCOUNT_AND_HOUR
        || sent.number_and_day >= MAX_PER_NUMBER_AND_DAY
        || sent.hour >= i64::from(max_codes_per_hour)
    {
        return Err(PhoneCodeError::TooManyCodes);
    }
    sqlx::query!(
        "INSERT INTO accounts.phone_codes_sent (id, user_id, number_digest, sent_at) VALUES ($1, $2, $3, $4)",
        uuid_v7(now),
        user_id.0,
        number_digest,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the unused code of an account, and the number to which it was sent.
pub(crate) async fn delete_code(connection: &mut PgConnection, user_id: UserId) -> Result<(), DatabaseError> {
    sqlx::query!(
        "DELETE FROM accounts.phone_verifications WHERE user_id = $1",
        user_id.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Six random digits. The remainder prefers no code measurably: 2⁶⁴ is much larger than a million.
fn random_code() -> String {
    format!("{:06}", u64::from_be_bytes(random_bytes()) % 1_000_000)
}

/// The digest with account and number: a code is valid for these only. It does not hide the code from a
/// reader of the table, who can try all of them, but the code expires soon.
fn code_digest(user_id: UserId, phone_number: &str, code: &str) -> Vec<u8> {
    let text = format!("{user_id}#{phone_number}#{code}");
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}
