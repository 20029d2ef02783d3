//! When another password may be tried. What was tried before is all that counts, not when or by whom it is asked.
//!
//! Each try counts as a failure from its beginning and is taken back when it succeeds: a thousand at once get no
//! further than a thousand one after the other.

use chrono::TimeDelta;
use domain::Timestamp;

/// So many tries are free.
const FREE_ATTEMPTS: u32 = 5;

/// The wait after the last free one; it doubles with each that follows.
const INITIAL_BACKOFF: TimeDelta = TimeDelta::seconds(15);

/// It doubles up to here.
const MAX_BACKOFF: TimeDelta = TimeDelta::minutes(15);

/// After so long without a failure all is forgotten.
pub const RESET_AFTER: TimeDelta = TimeDelta::hours(24);

/// The tries at one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailedAttempts {
    /// How many failed.
    pub failures: u32,
    /// When the last one did.
    pub last_failed_at: Timestamp,
}

/// Whether to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Do, and keep this unless it succeeds.
    Allowed(FailedAttempts),
    /// Not for so long.
    Blocked(TimeDelta),
}

impl FailedAttempts {
    /// Whether one more may be made now.
    #[must_use]
    pub fn next_attempt(self, now: Timestamp) -> Attempt {
        let since = now - self.last_failed_at;
        let before = if since >= RESET_AFTER { 0 } else { self.failures };
        let wait = backoff_after(before) - since;
        if wait > TimeDelta::zero() {
            return Attempt::Blocked(wait);
        }
        Attempt::Allowed(Self {
            failures: before.saturating_add(1),
            last_failed_at: now,
        })
    }
}

fn backoff_after(failures: u32) -> TimeDelta {
    match failures.checked_sub(FREE_ATTEMPTS) {
        None => TimeDelta::zero(),
        Some(more) => (INITIAL_BACKOFF * (1 << more.min(10))).min(MAX_BACKOFF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn five_are_free_and_then_the_wait_doubles_to_a_quarter_of_an_hour() {
        let mut now = START + TimeDelta::days(20_000);
        let mut tries = FailedAttempts::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            if let Attempt::Blocked(wait) = tries.next_attempt(now) {
                waits.push(wait.num_seconds());
                now += wait;
            } else {
                waits.push(0);
            }
            let Attempt::Allowed(after) = tries.next_attempt(now) else {
                panic!("the wait is over")
            };
            tries = after;
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(tries.failures, 14);
    }

    #[test]
    fn a_wait_ends_to_the_millisecond() {
        let tries = FailedAttempts {
            failures: 5,
            last_failed_at: START,
        };
        let at = |ms| START + TimeDelta::milliseconds(ms);
        assert_eq!(
            tries.next_attempt(at(14_999)),
            Attempt::Blocked(TimeDelta::milliseconds(1))
        );
        assert!(matches!(tries.next_attempt(at(15_000)), Attempt::Allowed(_)));
    }

    #[test]
    fn a_day_later_all_is_forgotten() {
        let tries = FailedAttempts {
            failures: 1_000,
            last_failed_at: START,
        };
        assert!(matches!(tries.next_attempt(START), Attempt::Blocked(_)));
        let Attempt::Allowed(after) = tries.next_attempt(START + RESET_AFTER) else {
            panic!("a day has passed")
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
}
