//! Counting, without a clock or a network: the generic cell rate algorithm (GCRA), which keeps one moment for each
//! counter, and what an instance has taken of a shared limit in advance.

use std::time::Duration;

use super::policy::Policy;

/// An instance takes this part of a limit from Redis at a time, so that a busy catalogue does not ask for every request.
/// Of a small limit that is one request, which makes it exact.
const PART: u64 = 100;

/// An answer that has not come after so long does not come.
const ANSWERED_WITHIN: u64 = 200_000_000;

/// A limit in the form that is counted with. Moments and durations are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many may come at once.
    pub requests: u64,
    /// How long after all of them every one may come again.
    pub window: u64,
    /// After what time another one may come.
    pub interval: u64,
    /// How many an instance takes at a time.
    pub part: u64,
}

impl Quota {
    /// A policy's quota, `factor` times as large.
    #[must_use]
    pub fn of(policy: &Policy, factor: u32) -> Self {
        let requests = u64::from(policy.requests) * u64::from(factor);
        let window = nanoseconds(policy.window);
        Self {
            requests,
            window,
            interval: (window / requests).max(1),
            part: (requests / PART).max(1),
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may come.
    Admitted {
        /// How many more may.
        remaining: u64,
        /// When there is another.
        next: Duration,
    },
    /// It may not.
    Refused {
        /// When it may.
        after: Duration,
    },
}

/// What Redis answers to an instance that wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How many requests it may let in, this one among them. None: the limit is reached.
    pub granted: u64,
    /// How many are left for all instances.
    pub remaining: u64,
    /// When there is another one.
    pub next: Duration,
}

/// What is to be done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing more: it is decided.
    Decided(Verdict),
    /// Redis is to be asked for so many, and its answer given to [`Bucket::granted`].
    Ask(u64),
}

/// One counter as one instance sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// When all that this instance has let in will be forgotten.
    full_at: u64,
    /// How many of the shared limit are taken and not used, and until when they may be.
    taken: u64,
    taken_until: u64,
    /// What was left of the shared limit when Redis was asked last.
    left: u64,
    /// Until when Redis has refused more.
    refused_until: u64,
    /// Until when an answer about many may come. All who ask meanwhile would take as many, and nobody use them.
    asked_until: u64,
}

impl Bucket {
    /// A request, counted by this instance alone.
    pub fn alone(&mut self, quota: &Quota, now: u64) -> Verdict {
        match self.peek(quota, now) {
            Ok(full_at) => self.admit(quota, now, full_at, u64::MAX),
            Err(refused) => refused,
        }
    }

    /// A request, counted together with the other instances.
    pub fn together(&mut self, quota: &Quota, now: u64) -> Step {
        // What this instance alone has let in is a part of what all have: beyond it nobody needs to be asked.
        let full_at = match self.peek(quota, now) {
            Ok(full_at) => full_at,
            Err(refused) => return Step::Decided(refused),
        };
        if self.refused_until > now {
            return Step::Decided(Verdict::Refused {
                after: Duration::from_nanos(self.refused_until - now),
            });
        }
        if self.taken == 0 || self.taken_until <= now {
            if self.asked_until > now {
                return Step::Ask(1);
            }
            self.asked_until = now + ANSWERED_WITHIN;
            return Step::Ask(quota.part);
        }
        self.taken -= 1;
        Step::Decided(self.admit(quota, now, full_at, self.left + self.taken))
    }

    /// A request for which Redis was asked.
    pub fn granted(&mut self, quota: &Quota, now: u64, grant: Grant) -> Verdict {
        if grant.granted != 1 {
            self.asked_until = 0;
        }
        if grant.granted == 0 {
            self.refused_until = now + nanoseconds(grant.next);
            return Verdict::Refused { after: grant.next };
        }
        // One request for itself leaves what others took in advance as it is.
        if grant.granted > 1 {
            // Others may have asked meanwhile: what they got and did not use is good as well, but nothing that is too old.
            if self.taken_until <= now {
                self.taken = 0;
            }
            self.taken += grant.granted - 1;
            // After this time Redis has given as much to others.
            self.taken_until = now + grant.granted * quota.interval;
        }
        self.left = grant.remaining;
        match self.peek(quota, now) {
            Ok(full_at) => {
                let verdict = self.admit(quota, now, full_at, self.left + self.taken);
                let Verdict::Admitted { remaining, .. } = verdict else {
                    return verdict;
                };
                Verdict::Admitted {
                    remaining,
                    next: grant.next,
                }
            }
            Err(refused) => refused,
        }
    }

    /// Whether nothing is remembered any more.
    pub fn is_forgotten(&self, now: u64) -> bool {
        self.full_at <= now && self.taken_until <= now && self.refused_until <= now
    }

    fn peek(&self, quota: &Quota, now: u64) -> Result<u64, Verdict> {
        let full_at = self.full_at.max(now) + quota.interval;
        if full_at - now <= quota.window {
            Ok(full_at)
        } else {
            Err(Verdict::Refused {
                after: Duration::from_nanos(full_at - now - quota.window),
            })
        }
    }

    fn admit(&mut self, quota: &Quota, now: u64, full_at: u64, shared: u64) -> Verdict {
        self.full_at = full_at;
        let used = full_at - now;
        let remaining = (quota.window - used) / quota.interval;
        let next = quota.interval - (quota.window - used) % quota.interval;
        Verdict::Admitted {
            remaining: remaining.min(shared).min(quota.requests),
            next: Duration::from_nanos(next),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::policy::{CATALOGUE, ORDERS, POLICIES};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn while_one_asks_for_many_the_others_ask_for_themselves() {
        let quota = Quota::of(&CATALOGUE, 1);
        let mut bucket = Bucket::default();
        assert_eq!(bucket.together(&quota, SECOND), Step::Ask(60));
        for _ in 0..3 {
            assert_eq!(bucket.together(&quota, SECOND + 1), Step::Ask(1));
        }
        let grant = |granted| Grant {
            granted,
            remaining: 5_000,
            next: Duration::from_millis(10),
        };
        bucket.granted(&quota, SECOND + 2, grant(1));
        assert_eq!(bucket.together(&quota, SECOND + 2), Step::Ask(1));
        bucket.granted(&quota, SECOND + 3, grant(60));
        // The answer of one of them comes late.
        bucket.granted(&quota, SECOND + 4, grant(1));
        let later = SECOND + 100 * quota.interval / 2;
        for _ in 0..59 {
            assert!(matches!(bucket.together(&quota, later), Step::Decided(_)));
        }
        assert_eq!(bucket.together(&quota, later), Step::Ask(60));
        // The one that asked for many may have been cut off.
        let mut bucket = Bucket::default();
        assert_eq!(bucket.together(&quota, SECOND), Step::Ask(60));
        assert_eq!(bucket.together(&quota, SECOND + ANSWERED_WITHIN), Step::Ask(60));
    }

    fn admitted(verdict: Verdict) -> Option<u64> {
        match verdict {
            Verdict::Admitted { remaining, .. } => Some(remaining),
            Verdict::Refused { .. } => None,
        }
    }

    #[test]
    fn all_may_come_at_once_and_then_one_after_the_other() {
        let (quota, mut bucket) = (Quota::of(&ORDERS, 1), Bucket::default());
        for left in (0..30).rev() {
            assert_eq!(admitted(bucket.alone(&quota, 0)), Some(left));
        }
        let Verdict::Refused { after } = bucket.alone(&quota, 0) else {
            panic!("the limit is reached");
        };
        assert_eq!(after, Duration::from_secs(2));
        assert_eq!(admitted(bucket.alone(&quota, 2 * SECOND - 1)), None);
        assert_eq!(admitted(bucket.alone(&quota, 2 * SECOND)), Some(0));
        assert_eq!(admitted(bucket.alone(&quota, 2 * SECOND)), None);
        assert_eq!(admitted(bucket.alone(&quota, 62 * SECOND)), Some(29));
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let (quota, mut bucket) = (Quota::of(&ORDERS, 1), Bucket::default());
        for _ in 0..1000 {
            bucket.alone(&quota, 0);
        }
        assert_eq!(admitted(bucket.alone(&quota, 2 * SECOND)), Some(0));
    }

    #[test]
    fn a_part_is_taken_in_advance_and_grows_old() {
        let (quota, mut bucket) = (Quota::of(&CATALOGUE, 1), Bucket::default());
        assert_eq!(bucket.together(&quota, 0), Step::Ask(60));
        let grant = Grant {
            granted: 60,
            remaining: 40,
            next: Duration::from_millis(10),
        };
        assert_eq!(admitted(bucket.granted(&quota, 0, grant)), Some(99));
        for left in (40..99).rev() {
            let Step::Decided(verdict) = bucket.together(&quota, 0) else {
                panic!("{left}: it was taken in advance");
            };
            assert_eq!(admitted(verdict), Some(left));
        }
        assert_eq!(bucket.together(&quota, 0), Step::Ask(60));

        bucket.granted(&quota, 0, grant);
        // Sixty come again in 0.6 s.
        assert_eq!(bucket.together(&quota, SECOND * 6 / 10), Step::Ask(60));
    }

    #[test]
    fn what_redis_refuses_is_not_asked_again_before_its_time() {
        let (quota, mut bucket) = (Quota::of(&ORDERS, 1), Bucket::default());
        assert_eq!(bucket.together(&quota, 0), Step::Ask(1));
        let grant = Grant {
            granted: 0,
            remaining: 0,
            next: Duration::from_secs(2),
        };
        let refused = Verdict::Refused {
            after: Duration::from_secs(2),
        };
        assert_eq!(bucket.granted(&quota, 0, grant), refused);
        assert_eq!(bucket.together(&quota, 0), Step::Decided(refused));
        assert_eq!(bucket.together(&quota, 2 * SECOND), Step::Ask(1));
    }

    #[test]
    fn a_counter_is_forgotten_after_its_window() {
        let (quota, mut bucket) = (Quota::of(&ORDERS, 1), Bucket::default());
        while admitted(bucket.alone(&quota, 0)).is_some() {}
        assert!(!bucket.is_forgotten(59 * SECOND));
        assert!(bucket.is_forgotten(60 * SECOND));
    }

    #[test]
    fn a_large_factor_leaves_something_to_count_with() {
        for policy in POLICIES {
            let quota = Quota::of(policy, 1_000_000);
            assert!(quota.interval > 1, "{}", policy.name);
        }
    }

    proptest! {
        /// However they come, in no window more are let in than the limit says twice: once all at once, and once again
        /// as they are given back.
        #[test]
        fn no_window_holds_more_than_twice_the_limit(gaps in prop::collection::vec(0..3 * SECOND, 1..400)) {
            let (quota, mut bucket) = (Quota::of(&ORDERS, 1), Bucket::default());
            let (mut now, mut moments) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                if admitted(bucket.alone(&quota, now)).is_some() {
                    moments.push(now);
                }
            }
            for (first, from) in moments.iter().enumerate() {
                let within = moments[first..].iter().filter(|at| **at < from + quota.window).count();
                prop_assert!(within as u64 <= 2 * quota.requests);
            }
        }
    }
}
