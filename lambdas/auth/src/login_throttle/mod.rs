//! Login throttling: slows down password guessing, per account and per client IP address.
//!
//! An IP address that has signed in to an account before is trusted there and has a counter of its own.
//! Password guessing from other addresses then delays only other addresses, so an attacker cannot lock the
//! owner out.

mod backoff;
mod counter_keys;

use aws_sdk_dynamodb::types::ReturnValue;
use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use dynamodb_table::{DynamoDbError, applied, number};
use serde::Deserialize;

use crate::sessions_table::SessionsTable;
use backoff::{Attempt, FailedAttempts, RESET_AFTER};

/// Failed logins per IP address and hour, over all accounts.
pub const DEFAULT_MAX_FAILURES_PER_IP: u32 = 100;

/// An IP address stays trusted for this long after a sign-in.
const TRUSTED_IP_TTL: TimeDelta = TimeDelta::days(90);

/// Mails on request, per e-mail address and hour.
const MAX_MAILS_PER_HOUR: i64 = 5;

/// Bounds the retries of a conditional write that concurrent attempts at the same account keep invalidating.
const MAX_WRITE_ATTEMPTS: usize = 10;

/// Clones share the DynamoDB client.
#[derive(Clone, Debug)]
pub struct LoginThrottle {
    sessions_table: SessionsTable,
    max_failures_per_ip: u32,
    clock: Clock,
}

/// The permission to verify a password. The attempt is counted as a failure until
/// [`LoginThrottle::record_success`].
#[derive(Debug)]
pub struct AttemptPermit {
    /// The item that counts the attempt: that of the account or that of the trusted IP address.
    account_key: String,
    previous: FailedAttempts,
    counted: FailedAttempts,
    ttl: TimeDelta,
    ip_key: String,
    trusted_ip_key: String,
}

#[derive(Debug)]
pub enum ThrottleDecision {
    Allowed(AttemptPermit),
    /// No attempt may be made for this long.
    Blocked(TimeDelta),
}

#[derive(Deserialize)]
struct HourlyCount {
    failures: i64,
}

impl LoginThrottle {
    #[must_use]
    pub fn new(sessions_table: SessionsTable, max_failures_per_ip: u32, clock: Clock) -> Self {
        Self {
            sessions_table,
            max_failures_per_ip,
            clock,
        }
    }

    /// Decides whether the client with this IP address may try to sign in as `email`, and counts the attempt.
    ///
    /// It does the same work for e-mail addresses without an account.
    pub async fn check(&self, email: &str, ip: &str) -> Result<ThrottleDecision, DynamoDbError> {
        let now = self.clock.now();
        let ip_key = counter_keys::ip_key(ip, now);
        let failures = self.add_to_hourly_count(&ip_key, 1, now).await?;
        if failures > i64::from(self.max_failures_per_ip) {
            return Ok(ThrottleDecision::Blocked(counter_keys::until_next_hour(now)));
        }
        let trusted_ip_key = counter_keys::trusted_ip_key(email, ip);
        for _ in 0..MAX_WRITE_ATTEMPTS {
            let trusted: Option<FailedAttempts> = self.sessions_table.find(&trusted_ip_key, now).await?;
            let (account_key, stored, ttl) = match trusted {
                Some(stored) => (trusted_ip_key.clone(), Some(stored), TRUSTED_IP_TTL),
                None => {
                    let account_key = counter_keys::account_key(email);
                    let stored = self.sessions_table.find(&account_key, now).await?;
                    (account_key, stored, RESET_AFTER)
                }
            };
            let previous = stored.unwrap_or_default();
            let counted = match previous.next_attempt(now) {
                Attempt::Blocked(wait) => return Ok(ThrottleDecision::Blocked(wait)),
                Attempt::Allowed(counted) => counted,
            };
            if self
                .replace_if_unchanged(&account_key, stored, counted, now + ttl, now)
                .await?
            {
                return Ok(ThrottleDecision::Allowed(AttemptPermit {
                    account_key,
                    previous,
                    counted,
                    ttl,
                    ip_key,
                    trusted_ip_key,
                }));
            }
        }
        // Concurrent attempts at the same account won every conditional write.
        Ok(ThrottleDecision::Blocked(TimeDelta::seconds(1)))
    }

    /// Takes the counted failure back, because the password was right, and trusts the IP address at this
    /// account.
    pub async fn record_success(&self, permit: AttemptPermit) -> Result<(), DynamoDbError> {
        let now = self.clock.now();
        self.add_to_hourly_count(&permit.ip_key, -1, now).await?;
        if permit.account_key != permit.trusted_ip_key {
            // When another attempt was counted meanwhile, this one stays counted: the delay is the same or
            // longer.
            self.replace_if_unchanged(
                &permit.account_key,
                Some(permit.counted),
                permit.previous,
                now + permit.ttl,
                now,
            )
            .await?;
        }
        self.store_trusted_ip(&permit.trusted_ip_key, now).await
    }

    /// Trusts the IP address at the account. Call it after the user has proven their identity with an e-mail
    /// link.
    pub async fn trust_ip(&self, email: &str, ip: &str) -> Result<(), DynamoDbError> {
        self.store_trusted_ip(&counter_keys::trusted_ip_key(email, ip), self.clock.now())
            .await
    }

    /// Counts a requested mail. Returns `false` when the e-mail address has used up its quota of this hour.
    pub async fn check_mail_quota(&self, email: &str) -> Result<bool, DynamoDbError> {
        let now = self.clock.now();
        let count = self
            .add_to_hourly_count(&counter_keys::mail_key(email, now), 1, now)
            .await?;
        Ok(count <= MAX_MAILS_PER_HOUR)
    }

    async fn store_trusted_ip(&self, key: &str, now: Timestamp) -> Result<(), DynamoDbError> {
        self.sessions_table
            .insert(key, &FailedAttempts::default(), now + TRUSTED_IP_TTL)
            .await
    }

    /// Replaces a counter that was read before. Returns `false` when another attempt has changed it
    /// meanwhile.
    ///
    /// When no counter was read, an expired one may still be stored: it is replaced as well.
    async fn replace_if_unchanged(
        &self,
        key: &str,
        stored: Option<FailedAttempts>,
        replacement: FailedAttempts,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, DynamoDbError> {
        let put = self.sessions_table.start_insert(key, &replacement, expires_at)?;
        let put = match stored {
            None => {
                let expired = (now - RESET_AFTER).timestamp_millis();
                put.condition_expression("attribute_not_exists(session_id) OR failed_at <= :expired")
                    .expression_attribute_values(":expired", number(expired))
            }
            Some(stored) => {
                let failed_at = stored.last_failed_at.timestamp_millis();
                put.condition_expression("failures = :failures AND failed_at = :failed_at")
                    .expression_attribute_values(":failures", number(stored.failures.into()))
                    .expression_attribute_values(":failed_at", number(failed_at))
            }
        };
        applied(put.send().await)
    }

    /// Adds to a counter of the current hour and returns the new count.
    async fn add_to_hourly_count(
        &self,
        key: &str,
        increment: i64,
        now: Timestamp,
    ) -> Result<i64, DynamoDbError> {
        let updated = self
            .sessions_table
            .start_update(key)
            .update_expression("ADD failures :increment SET #ttl = :ttl")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":increment", number(increment))
            .expression_attribute_values(":ttl", number((now + TimeDelta::hours(2)).timestamp()))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await?;
        let HourlyCount { failures } = serde_dynamo::from_item(updated.attributes.unwrap_or_default())?;
        Ok(failures)
    }
}
