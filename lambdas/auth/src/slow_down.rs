//! When another password may be tried. What was tried before is all that counts, not when or by whom it is asked.
//!
//! Each try counts as a failure from its beginning and is taken back when it succeeds: a thousand at once get no
//! further than a thousand one after the other.

use chrono::TimeDelta;
use domain::Timestamp;

/// So many tries are free.
const FREE: u32 = 5;

/// The wait after the last free one; it doubles with each that follows.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(15);

/// It doubles up to here.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(15);

/// After so long without a failure all is forgotten.
pub const FORGOTTEN: TimeDelta = TimeDelta::hours(24);

/// The tries at one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// How many failed.
    pub failures: u32,
    /// When the last one did.
    pub failed_at: Timestamp,
}

/// Whether to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Do, and keep this unless it succeeds.
    Try(Tries),
    /// Not for so long.
    Wait(TimeDelta),
}

impl Tries {
    /// Whether one more may be made now.
    #[must_use]
    pub fn one_more(self, now: Timestamp) -> Answer {
        let since = now - self.failed_at;
        let before = if since >= FORGOTTEN { 0 } else { self.failures };
        let wait = wait_after(before) - since;
        if wait > TimeDelta::zero() {
            return Answer::Wait(wait);
        }
        Answer::Try(Self {
            failures: before.saturating_add(1),
            failed_at: now,
        })
    }
}

fn wait_after(failures: u32) -> TimeDelta {
    match failures.checked_sub(FREE) {
        None => TimeDelta::zero(),
        Some(more) => (FIRST_WAIT * (1 << more.min(10))).min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn five_are_free_and_then_the_wait_doubles_to_a_quarter_of_an_hour() {
        let mut now = START + TimeDelta::days(20_000);
        let mut tries = Tries::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            if let Answer::Wait(wait) = tries.one_more(now) {
                waits.push(wait.num_seconds());
                now += wait;
            } else {
                waits.push(0);
            }
            let Answer::Try(after) = tries.one_more(now) else {
                panic!("the wait is over")
            };
            tries = after;
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 15, 30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(tries.failures, 14);
    }

    #[test]
    fn a_wait_ends_to_the_millisecond() {
        let tries = Tries {
            failures: 5,
            failed_at: START,
        };
        let at = |ms| START + TimeDelta::milliseconds(ms);
        assert_eq!(
            tries.one_more(at(14_999)),
            Answer::Wait(TimeDelta::milliseconds(1))
        );
        assert!(matches!(tries.one_more(at(15_000)), Answer::Try(_)));
    }

    #[test]
    fn a_day_later_all_is_forgotten() {
        let tries = Tries {
            failures: 1_000,
            failed_at: START,
        };
        assert!(matches!(tries.one_more(START), Answer::Wait(_)));
        let Answer::Try(after) = tries.one_more(START + FORGOTTEN) else {
            panic!("a day has passed")
        };
        assert_eq!(after.failures, 1);
        assert!(matches!(
            Tries {
                failures: u32::MAX,
                failed_at: START
            }
            .one_more(START),
            Answer::Wait(LONGEST_WAIT)
        ));
    }
}
