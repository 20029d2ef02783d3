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
    secret,
    slow_down::{Answer, FORGOTTEN, Tries},
    store::{Condition, Store, StoreError, number},
};

/// So many failures an hour an address may have, at all accounts together, unless it is configured.
pub const FAILURES_PER_ADDRESS: u32 = 100;

/// For so long it is remembered that an address has signed in to an account.
const KNOWN: TimeDelta = TimeDelta::days(90);

/// So many mails an hour are sent to an address because somebody asked for them.
const MAILS_PER_HOUR: i64 = 5;

/// So often a count is read again that another try has changed meanwhile.
const ATTEMPTS: usize = 10;

/// The counts. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Guard {
    store: Store,
    failures_per_address: u32,
    clock: Clock,
}

/// A try that may be made. It has been counted as a failure.
#[derive(Debug)]
pub struct Permit {
    /// The count by account, how it was and how it is now.
    account: String,
    before: Tries,
    counted: Tries,
    lasts: TimeDelta,
    /// The count by address.
    address: String,
    known: String,
}

/// Whether a try may be made.
#[derive(Debug)]
pub enum Admission {
    /// Now.
    Now(Permit),
    /// Not for so long.
    Wait(TimeDelta),
}

/// A count by account as it is stored; moments are in milliseconds since 1970.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Item {
    failures: u32,
    failed_at: i64,
}

/// A count by the hour.
#[derive(Deserialize)]
struct Hourly {
    failures: i64,
}

impl Guard {
    /// The counts in `store`.
    #[must_use]
    pub fn new(store: Store, failures_per_address: u32, clock: Clock) -> Self {
        Self {
            store,
            failures_per_address,
            clock,
        }
    }

    /// Counts a try to sign in as `email` from `address`, if it may be made. It is asked and answered alike for
    /// addresses of mail that nobody has.
    pub async fn admit(&self, email: &str, address: &str) -> Result<Admission, StoreError> {
        let now = self.clock.now();
        let by_address = hourly("address", &network(address), now);
        let failures = self.count(&by_address, 1, now).await?;
        if failures > i64::from(self.failures_per_address) {
            return Ok(Admission::Wait(rest_of_hour(now)));
        }
        let known = known(email, address);
        for _ in 0..ATTEMPTS {
            let own: Option<Item> = self.store.find(&known, now).await?;
            let (id, found, lasts) = match own {
                Some(own) => (known.clone(), Some(own), KNOWN),
                None => {
                    let id = format!("attempts#account#{}", secret::digest(email));
                    let found = self.store.find(&id, now).await?;
                    (id, found, FORGOTTEN)
                }
            };
            let before = found.map(Tries::from).unwrap_or_default();
            let counted = match before.one_more(now) {
                Answer::Wait(wait) => return Ok(Admission::Wait(wait)),
                Answer::Try(counted) => counted,
            };
            if self.replace(&id, found, counted, now + lasts, now).await? {
                return Ok(Admission::Now(Permit {
                    account: id,
                    before,
                    counted,
                    lasts,
                    address: by_address,
                    known,
                }));
            }
        }
        // Others try at the same account at this very moment, faster than this one.
        Ok(Admission::Wait(TimeDelta::seconds(1)))
    }

    /// The try was none: the password was right. The address is known at this account from now on.
    pub async fn succeeded(&self, permit: Permit) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.count(&permit.address, -1, now).await?;
        if permit.account == permit.known {
            return self.keep_known(&permit.known, now).await;
        }
        // Where another try was counted meanwhile, this one stays counted: the wait is the same or longer.
        let counted = Some(Item::from(permit.counted));
        self.replace(&permit.account, counted, permit.before, now + permit.lasts, now)
            .await?;
        self.keep_known(&permit.known, now).await
    }

    /// Makes the address known at the account: its person has shown by a mail who they are.
    pub async fn welcome(&self, email: &str, address: &str) -> Result<(), StoreError> {
        self.keep_known(&known(email, address), self.clock.now()).await
    }

    /// Counts a mail that somebody has asked for. False when the address has had enough of them for this hour.
    pub async fn may_mail(&self, email: &str) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let id = hourly("mail", &secret::digest(email), now);
        Ok(self.count(&id, 1, now).await? <= MAILS_PER_HOUR)
    }

    async fn keep_known(&self, known: &str, now: Timestamp) -> Result<(), StoreError> {
        self.store
            .keep(known, &Item::from(Tries::default()), now + KNOWN)
            .await
    }

    /// Writes a count in the place of the one that was found. False when it has changed meanwhile. One whose
    /// time is over may be there still, and counts as none.
    async fn replace(
        &self,
        id: &str,
        found: Option<Item>,
        next: Tries,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let condition = match found {
            None => Condition {
                expression: "attribute_not_exists(session_id) OR failed_at <= :long_ago",
                values: vec![(":long_ago", number((now - FORGOTTEN).timestamp_millis()))],
            },
            Some(found) => Condition {
                expression: "failures = :failures AND failed_at = :failed_at",
                values: vec![
                    (":failures", number(found.failures.into())),
                    (":failed_at", number(found.failed_at)),
                ],
            },
        };
        self.store.put(id, &Item::from(next), ends, Some(condition)).await
    }

    /// Adds to a count of this hour, and gives what it has come to.
    async fn count(&self, id: &str, by: i64, now: Timestamp) -> Result<i64, StoreError> {
        let sent = self
            .store
            .update(id)
            .update_expression("ADD failures :by SET #ttl = :ttl")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":by", number(by))
            .expression_attribute_values(":ttl", number((now + TimeDelta::hours(2)).timestamp()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        Ok(Store::written::<Hourly>(sent)?.map_or(0, |count| count.failures))
    }
}

fn known(email: &str, address: &str) -> String {
    format!("attempts#known#{}#{}", secret::digest(email), network(address))
}

/// A count of its own for each hour.
fn hourly(kind: &str, of: &str, now: Timestamp) -> String {
    format!("attempts#{kind}#{of}#{}", now.timestamp().div_euclid(3600))
}

fn rest_of_hour(now: Timestamp) -> TimeDelta {
    TimeDelta::seconds(3600 - now.timestamp().rem_euclid(3600))
}

/// What counts as one address: of IPv6 a whole /64, because whoever has one has all of it.
fn network(address: &str) -> String {
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

impl From<Item> for Tries {
    fn from(item: Item) -> Self {
        Self {
            failures: item.failures,
            failed_at: Timestamp::from_timestamp_millis(item.failed_at).unwrap_or_default(),
        }
    }
}

impl From<Tries> for Item {
    fn from(tries: Tries) -> Self {
        Self {
            failures: tries.failures,
            failed_at: tries.failed_at.timestamp_millis(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        assert_eq!(network("203.0.113.9"), "203.0.113.9");
        assert_eq!(network("::ffff:203.0.113.9"), "203.0.113.9");
        assert_eq!(network("2001:db8:1:2::1"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8:1:2:ffff::9"), network("2001:db8:1:2::1"));
        assert_ne!(network("2001:db8:1:3::1"), network("2001:db8:1:2::1"));
        assert_eq!(network("x#attempts"), "unknown");
    }

    #[test]
    fn the_hour_ends_on_the_hour() {
        let at = |seconds| Timestamp::from_timestamp(seconds, 0).unwrap();
        assert_eq!(rest_of_hour(at(7_200)).num_seconds(), 3_600);
        assert_eq!(rest_of_hour(at(10_799)).num_seconds(), 1);
        assert_eq!(hourly("mail", "x", at(7_199)), "attempts#mail#x#1");
    }
}
