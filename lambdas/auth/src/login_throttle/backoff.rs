//! Exponential backoff after failed logins.
//!
//! Each attempt counts as a failure from its start, and a success takes the count back. So concurrent
//! attempts get no further than sequential ones.

use chrono::{TimeDelta, serde::ts_milliseconds};
use domain::Timestamp;
use serde::{Deserialize, Serialize};

/// The number of attempts without a delay.
const FREE_ATTEMPTS: u32 = 5;

/// The delay after the last free attempt. It doubles with each further attempt.
const INITIAL_BACKOFF: TimeDelta = TimeDelta::seconds(15);

const MAX_BACKOFF: TimeDelta = TimeDelta::minutes(15);

/// The count restarts after this long without a failure.
pub const RESET_AFTER: TimeDelta = TimeDelta::hours(24);

/// The failed attempts at one account. The time is stored in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempts {
    pub failures: u32,
    #[serde(rename = "failed_at", with = "ts_milliseconds")]
    pub last_failed_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The attempt may be made. Store this count unless the attempt succeeds.
    Allowed(FailedAttempts),
    /// No attempt may be made for this long.
    Blocked(TimeDelta),
}

impl FailedAttempts {
    /// Decides whether another attempt may be made now.
    #[must_use]
    pub fn next_attempt(self, now: Timestamp) -> Attempt {
        let elapsed = now - self.last_failed_at;
        let failures = if elapsed >= RESET_AFTER { 0 } else { self.failures };
        let remaining = backoff_after(failures) - elapsed;
        if remaining > TimeDelta::zero() {
            return Attempt::Blocked(remaining);
        }
        Attempt::Allowed(Self {
            failures: failures.saturating_add(1),
            last_failed_at: now,
        })
    }
}

fn backoff_after(failures: u32) -> TimeDelta {
    match failures.checked_sub(FREE_ATTEMPTS) {
        None => TimeDelta::zero(),
        Some(doublings) => (INITIAL_BACKOFF * (1 << doublings.min(10))).min(MAX_BACKOFF),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn backoff_starts_after_five_attempts_and_doubles_up_to_15_minutes() {
        let mut now = START + TimeDelta::days(20_000);
        let mut attempts = FailedAttempts::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            if let Attempt::Blocked(wait) = attempts.next_attempt(now) {
                waits.push(wait.num_seconds());
                now += wait;
            } else {
                waits.push(0);
            }
            let Attempt::Allowed(after) = attempts.next_attempt(now) else {
                panic!("the backoff has elapsed")
            };
            attempts = after;
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(attempts.failures, 14);
    }

    #[test]
    fn backoff_has_millisecond_precision() {
        let attempts = FailedAttempts {
            failures: 5,
            last_failed_at: START,
        };
        let at = |ms| START + TimeDelta::milliseconds(ms);
        assert_eq!(
            attempts.next_attempt(at(14_999)),
            Attempt::Blocked(TimeDelta::milliseconds(1))
        );
        assert!(matches!(attempts.next_attempt(at(15_000)), Attempt::Allowed(_)));
    }

    #[test]
    fn count_restarts_after_a_day_without_failures() {
        let attempts = FailedAttempts {
            failures: 1_000,
            last_failed_at: START,
        };
        assert!(matches!(attempts.next_attempt(START), Attempt::Blocked(_)));
        let Attempt::Allowed(after) = attempts.next_attempt(START + RESET_AFTER) else {
            panic!("a day has elapsed")
        };
        assert_eq!(after.failures, 1);
        assert!(matches!(
            FailedAttempts {
                failures: u32::MAX,
                last_failed_at: START
            }
            .next_attempt(START),
            Attempt::Blocked(MAX_BACKOFF)
        ));
    }

    #[test]
    fn stored_attributes_keep_their_names_and_units() {
        let stored = json!({"failures": 3, "failed_at": 1_500});
        let attempts: FailedAttempts = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(attempts.last_failed_at, START + TimeDelta::milliseconds(1_500));
        assert_eq!(serde_json::to_value(attempts).unwrap(), stored);
    }
}
