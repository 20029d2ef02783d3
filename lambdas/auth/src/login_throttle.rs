//! Who may try a password now, by account and by address.
//!
//! An address that has signed in to an account before has a count of its own there. Whoever guesses at the account
//! from elsewhere slows down only those who come from elsewhere, and nobody is locked out by a stranger of what they
//! always use.

use std::net::IpAddr;

use aws_sdk_dynamodb::types::ReturnValue;
use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    backoff::{Attempt, FailedAttempts, RESET_AFTER},
    random_token,
    sessions_table::{Condition, SessionsTable, SessionsTableError, number_attribute},
};

/// So many failures an hour an address may have, at all accounts together, unless it is configured.
pub const DEFAULT_MAX_FAILURES_PER_IP: u32 = 100;

/// For so long it is remembered that an address has signed in to an account.
const TRUSTED_IP_TTL: TimeDelta = TimeDelta::days(90);

/// So many mails an hour are sent to an address because somebody asked for them.
const MAX_MAILS_PER_HOUR: i64 = 5;

/// So often a count is read again that another try has changed meanwhile.
const MAX_WRITE_ATTEMPTS: usize = 10;

/// The counts. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LoginThrottle {
    sessions_table: SessionsTable,
    max_failures_per_ip: u32,
    clock: Clock,
}

/// A try that may be made. It has been counted as a failure.
#[derive(Debug)]
pub struct AttemptPermit {
    /// The count by account, how it was and how it is now.
    account_key: String,
    previous: FailedAttempts,
    counted: FailedAttempts,
    ttl: TimeDelta,
    /// The count by address.
    ip_key: String,
    trusted_ip_key: String,
}

/// Whether a try may be made.
#[derive(Debug)]
pub enum ThrottleDecision {
    /// Now.
    Allowed(AttemptPermit),
    /// Not for so long.
    Blocked(TimeDelta),
}

/// A count by account as it is stored; moments are in milliseconds since 1970.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct StoredAttempts {
    failures: u32,
    failed_at: i64,
}

/// A count by the hour.
#[derive(Deserialize)]
struct HourlyCount {
    failures: i64,
}

impl LoginThrottle {
    /// The counts in `store`.
    #[must_use]
    pub fn new(sessions_table: SessionsTable, max_failures_per_ip: u32, clock: Clock) -> Self {
        Self {
            sessions_table,
            max_failures_per_ip,
            clock,
        }
    }

    /// Counts a try to sign in as `email` from `address`, if it may be made. It is asked and answered alike for
    /// addresses of mail that nobody has.
    pub async fn check(&self, email: &str, address: &str) -> Result<ThrottleDecision, SessionsTableError> {
        let now = self.clock.now();
        let by_address = hourly_key("address", &ip_network(address), now);
        let failures = self.add_to_hourly_count(&by_address, 1, now).await?;
        if failures > i64::from(self.max_failures_per_ip) {
            return Ok(ThrottleDecision::Blocked(until_next_hour(now)));
        }
        let known = trusted_ip_key(email, address);
        for _ in 0..MAX_WRITE_ATTEMPTS {
            let own: Option<StoredAttempts> = self.sessions_table.find(&known, now).await?;
            let (id, found, lasts) = match own {
                Some(own) => (known.clone(), Some(own), TRUSTED_IP_TTL),
                None => {
                    let id = format!("attempts#account#{}", random_token::digest(email));
                    let found = self.sessions_table.find(&id, now).await?;
                    (id, found, RESET_AFTER)
                }
            };
            let before = found.map(FailedAttempts::from).unwrap_or_default();
            let counted = match before.next_attempt(now) {
                Attempt::Blocked(wait) => return Ok(ThrottleDecision::Blocked(wait)),
                Attempt::Allowed(counted) => counted,
            };
            if self
                .replace_if_unchanged(&id, found, counted, now + lasts, now)
                .await?
            {
                return Ok(ThrottleDecision::Allowed(AttemptPermit {
                    account_key: id,
                    previous: before,
                    counted,
                    ttl: lasts,
                    ip_key: by_address,
                    trusted_ip_key: known,
                }));
            }
        }
        // Others try at the same account at this very moment, faster than this one.
        Ok(ThrottleDecision::Blocked(TimeDelta::seconds(1)))
    }

    /// The try was none: the password was right. The address is known at this account from now on.
    pub async fn record_success(&self, permit: AttemptPermit) -> Result<(), SessionsTableError> {
        let now = self.clock.now();
        self.add_to_hourly_count(&permit.ip_key, -1, now).await?;
        if permit.account_key == permit.trusted_ip_key {
            return self.store_trusted_ip(&permit.trusted_ip_key, now).await;
        }
        // Where another try was counted meanwhile, this one stays counted: the wait is the same or longer.
        let counted = Some(StoredAttempts::from(permit.counted));
        self.replace_if_unchanged(
            &permit.account_key,
            counted,
            permit.previous,
            now + permit.ttl,
            now,
        )
        .await?;
        self.store_trusted_ip(&permit.trusted_ip_key, now).await
    }

    /// Makes the address known at the account: its person has shown by a mail who they are.
    pub async fn trust_ip(&self, email: &str, address: &str) -> Result<(), SessionsTableError> {
        self.store_trusted_ip(&trusted_ip_key(email, address), self.clock.now())
            .await
    }

    /// Counts a mail that somebody has asked for. False when the address has had enough of them for this hour.
    pub async fn check_mail_quota(&self, email: &str) -> Result<bool, SessionsTableError> {
        let now = self.clock.now();
        let id = hourly_key("mail", &random_token::digest(email), now);
        Ok(self.add_to_hourly_count(&id, 1, now).await? <= MAX_MAILS_PER_HOUR)
    }

    async fn store_trusted_ip(&self, known: &str, now: Timestamp) -> Result<(), SessionsTableError> {
        self.sessions_table
            .insert(
                known,
                &StoredAttempts::from(FailedAttempts::default()),
                now + TRUSTED_IP_TTL,
            )
            .await
    }

    /// Writes a count in the place of the one that was found. False when it has changed meanwhile. One whose
    /// time is over may be there still, and counts as none.
    async fn replace_if_unchanged(
        &self,
        id: &str,
        found: Option<StoredAttempts>,
        next: FailedAttempts,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<bool, SessionsTableError> {
        let condition = match found {
            None => Condition {
                expression: "attribute_not_exists(session_id) OR failed_at <= :long_ago",
                values: vec![(
                    ":long_ago",
                    number_attribute((now - RESET_AFTER).timestamp_millis()),
                )],
            },
            Some(found) => Condition {
                expression: "failures = :failures AND failed_at = :failed_at",
                values: vec![
                    (":failures", number_attribute(found.failures.into())),
                    (":failed_at", number_attribute(found.failed_at)),
                ],
            },
        };
        self.sessions_table
            .put(id, &StoredAttempts::from(next), ends, Some(condition))
            .await
    }

    /// Adds to a count of this hour, and gives what it has come to.
    async fn add_to_hourly_count(
        &self,
        id: &str,
        by: i64,
        now: Timestamp,
    ) -> Result<i64, SessionsTableError> {
        let sent = self
            .sessions_table
            .update(id)
            .update_expression("ADD failures :by SET #ttl = :ttl")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":by", number_attribute(by))
            .expression_attribute_values(":ttl", number_attribute((now + TimeDelta::hours(2)).timestamp()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        Ok(SessionsTable::updated_item::<HourlyCount>(sent)?.map_or(0, |count| count.failures))
    }
}

fn trusted_ip_key(email: &str, address: &str) -> String {
    format!(
        "attempts#known#{}#{}",
        random_token::digest(email),
        ip_network(address)
    )
}

/// A count of its own for each hour.
fn hourly_key(kind: &str, of: &str, now: Timestamp) -> String {
    format!("attempts#{kind}#{of}#{}", now.timestamp().div_euclid(3600))
}

fn until_next_hour(now: Timestamp) -> TimeDelta {
    TimeDelta::seconds(3600 - now.timestamp().rem_euclid(3600))
}

/// What counts as one address: of IPv6 a whole /64, because whoever has one has all of it.
fn ip_network(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.to_string(),
            None => {
                let [a, b, c, d, ..] = v6.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        },
        Ok(v4) => v4.to_string(),
        // The front door always says; what has no address shares one count.
        Err(_) => "unknown".to_owned(),
    }
}

impl From<StoredAttempts> for FailedAttempts {
    fn from(item: StoredAttempts) -> Self {
        Self {
            failures: item.failures,
            last_failed_at: Timestamp::from_timestamp_millis(item.failed_at).unwrap_or_default(),
        }
    }
}

impl From<FailedAttempts> for StoredAttempts {
    fn from(tries: FailedAttempts) -> Self {
        Self {
            failures: tries.failures,
            failed_at: tries.last_failed_at.timestamp_millis(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        assert_eq!(ip_network("203.0.113.9"), "203.0.113.9");
        assert_eq!(ip_network("::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(ip_network("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!(ip_network("2001:db8:1:2:ffff::9"), ip_network("2001:db8:1:2::1"));
        assert_ne!(ip_network("2001:db8:1:3::1"), ip_network("2001:db8:1:2::1"));
        assert_eq!(ip_network("x#attempts"), "unknown");
    }

    #[test]
    fn the_hour_ends_on_the_hour() {
        let at = |seconds| Timestamp::from_timestamp(seconds, 0).unwrap();
        assert_eq!(until_next_hour(at(7_200)).num_seconds(), 3_600);
        assert_eq!(until_next_hour(at(10_799)).num_seconds(), 1);
        assert_eq!(hourly_key("mail", "x", at(7_199)), "attempts#mail#x#1");
    }
}
