//! Counting, without a clock or a network: the generic cell rate algorithm (GCRA), which keeps one moment for each
//! counter, and what an instance has taken of a shared limit in advance.

use std::time::Duration;

use super::policy::Policy;

/// An instance takes this part of a limit from Redis at a time, so that a busy catalogue does not ask for every request.
/// Of a small limit that is one request, which makes it exact.
const PREFETCH_DIVISOR: u64 = 100;

/// An answer that has not come after so long does not come.
const REMOTE_CHECK_TIMEOUT_NANOS: u64 = 200_000_000;

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
    pub prefetch: u64,
}

impl Quota {
    /// A policy's quota, `factor` times as large.
    #[must_use]
    pub fn from_policy(policy: &Policy, factor: u32) -> Self {
        let requests = u64::from(policy.requests) * u64::from(factor);
        let window = nanoseconds(policy.window);
        Self {
            requests,
            window,
            interval: (window / requests).max(1),
            prefetch: (requests / PREFETCH_DIVISOR).max(1),
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may come.
    Allowed {
        /// How many more may.
        remaining: u64,
        /// When there is another.
        next_in: Duration,
    },
    /// It may not.
    Rejected {
        /// When it may.
        retry_after: Duration,
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
    pub next_in: Duration,
}

/// What is to be done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalDecision {
    /// Nothing more: it is decided.
    Decided(Decision),
    /// Redis is to be asked for so many, and its answer given to [`Bucket::granted`].
    NeedsRemote(u64),
}

/// One counter as one instance sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// When all that this instance has let in will be forgotten.
    tat: u64,
    /// How many of the shared limit are taken and not used, and until when they may be.
    prefetched: u64,
    prefetched_until: u64,
    /// What was left of the shared limit when Redis was asked last.
    shared_remaining: u64,
    /// Until when Redis has refused more.
    rejected_until: u64,
    /// Until when an answer about many may come. All who ask meanwhile would take as many, and nobody use them.
    remote_check_until: u64,
}

impl Bucket {
    /// A request, counted by this instance alone.
    pub fn check_local(&mut self, quota: &Quota, now: u64) -> Decision {
        match self.conforming_tat(quota, now) {
            Ok(full_at) => self.allow(quota, now, full_at, u64::MAX),
            Err(refused) => refused,
        }
    }

    /// A request, counted together with the other instances.
    pub fn check_shared(&mut self, quota: &Quota, now: u64) -> LocalDecision {
        // What this instance alone has let in is a part of what all have: beyond it nobody needs to be asked.
        let full_at = match self.conforming_tat(quota, now) {
            Ok(full_at) => full_at,
            Err(refused) => return LocalDecision::Decided(refused),
        };
        if self.rejected_until > now {
            return LocalDecision::Decided(Decision::Rejected {
                retry_after: Duration::from_nanos(self.rejected_until - now),
            });
        }
        if self.prefetched == 0 || self.prefetched_until <= now {
            if self.remote_check_until > now {
                return LocalDecision::NeedsRemote(1);
            }
            self.remote_check_until = now + REMOTE_CHECK_TIMEOUT_NANOS;
            return LocalDecision::NeedsRemote(quota.prefetch);
        }
        self.prefetched -= 1;
        LocalDecision::Decided(self.allow(quota, now, full_at, self.shared_remaining + self.prefetched))
    }

    /// A request for which Redis was asked.
    pub fn apply_grant(&mut self, quota: &Quota, now: u64, grant: Grant) -> Decision {
        if grant.granted != 1 {
            self.remote_check_until = 0;
        }
        if grant.granted == 0 {
            self.rejected_until = now + nanoseconds(grant.next_in);
            return Decision::Rejected {
                retry_after: grant.next_in,
            };
        }
        // One request for itself leaves what others took in advance as it is.
        if grant.granted > 1 {
            // Others may have asked meanwhile: what they got and did not use is good as well, but nothing that is too old.
            if self.prefetched_until <= now {
                self.prefetched = 0;
            }
            self.prefetched += grant.granted - 1;
            // After this time Redis has given as much to others.
            self.prefetched_until = now + grant.granted * quota.interval;
        }
        self.shared_remaining = grant.remaining;
        match self.conforming_tat(quota, now) {
            Ok(full_at) => {
                let verdict = self.allow(quota, now, full_at, self.shared_remaining + self.prefetched);
                let Decision::Allowed { remaining, .. } = verdict else {
                    return verdict;
                };
                Decision::Allowed {
                    remaining,
                    next_in: grant.next_in,
                }
            }
            Err(refused) => refused,
        }
    }

    /// Whether nothing is remembered any more.
    pub fn is_idle(&self, now: u64) -> bool {
        self.tat <= now && self.prefetched_until <= now && self.rejected_until <= now
    }

    fn conforming_tat(&self, quota: &Quota, now: u64) -> Result<u64, Decision> {
        let full_at = self.tat.max(now) + quota.interval;
        if full_at - now <= quota.window {
            Ok(full_at)
        } else {
            Err(Decision::Rejected {
                retry_after: Duration::from_nanos(full_at - now - quota.window),
            })
        }
    }

    fn allow(&mut self, quota: &Quota, now: u64, full_at: u64, shared: u64) -> Decision {
        self.tat = full_at;
        let used = full_at - now;
        let remaining = (quota.window - used) / quota.interval;
        let next = quota.interval - (quota.window - used) % quota.interval;
        Decision::Allowed {
            remaining: remaining.min(shared).min(quota.requests),
            next_in: Duration::from_nanos(next),
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
    use crate::rate_limit::policy::{CATALOG, ORDERS, POLICIES};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn while_one_asks_for_many_the_others_ask_for_themselves() {
        let quota = Quota::from_policy(&CATALOG, 1);
        let mut bucket = Bucket::default();
        assert_eq!(
            bucket.check_shared(&quota, SECOND),
            LocalDecision::NeedsRemote(60)
        );
        for _ in 0..3 {
            assert_eq!(
                bucket.check_shared(&quota, SECOND + 1),
                LocalDecision::NeedsRemote(1)
            );
        }
        let grant = |granted| Grant {
            granted,
            remaining: 5_000,
            next_in: Duration::from_millis(10),
        };
        bucket.apply_grant(&quota, SECOND + 2, grant(1));
        assert_eq!(
            bucket.check_shared(&quota, SECOND + 2),
            LocalDecision::NeedsRemote(1)
        );
        bucket.apply_grant(&quota, SECOND + 3, grant(60));
        // The answer of one of them comes late.
        bucket.apply_grant(&quota, SECOND + 4, grant(1));
        let later = SECOND + 100 * quota.interval / 2;
        for _ in 0..59 {
            assert!(matches!(
                bucket.check_shared(&quota, later),
                LocalDecision::Decided(_)
            ));
        }
        assert_eq!(bucket.check_shared(&quota, later), LocalDecision::NeedsRemote(60));
        // The one that asked for many may have been cut off.
        let mut bucket = Bucket::default();
        assert_eq!(
            bucket.check_shared(&quota, SECOND),
            LocalDecision::NeedsRemote(60)
        );
        assert_eq!(
            bucket.check_shared(&quota, SECOND + REMOTE_CHECK_TIMEOUT_NANOS),
            LocalDecision::NeedsRemote(60)
        );
    }

    fn admitted(verdict: Decision) -> Option<u64> {
        match verdict {
            Decision::Allowed { remaining, .. } => Some(remaining),
            Decision::Rejected { .. } => None,
        }
    }

    #[test]
    fn all_may_come_at_once_and_then_one_after_the_other() {
        let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
        for left in (0..30).rev() {
            assert_eq!(admitted(bucket.check_local(&quota, 0)), Some(left));
        }
        let Decision::Rejected { retry_after: after } = bucket.check_local(&quota, 0) else {
            panic!("the limit is reached");
        };
        assert_eq!(after, Duration::from_secs(2));
        assert_eq!(admitted(bucket.check_local(&quota, 2 * SECOND - 1)), None);
        assert_eq!(admitted(bucket.check_local(&quota, 2 * SECOND)), Some(0));
        assert_eq!(admitted(bucket.check_local(&quota, 2 * SECOND)), None);
        assert_eq!(admitted(bucket.check_local(&quota, 62 * SECOND)), Some(29));
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
        for _ in 0..1000 {
            bucket.check_local(&quota, 0);
        }
        assert_eq!(admitted(bucket.check_local(&quota, 2 * SECOND)), Some(0));
    }

    #[test]
    fn a_part_is_taken_in_advance_and_grows_old() {
        let (quota, mut bucket) = (Quota::from_policy(&CATALOG, 1), Bucket::default());
        assert_eq!(bucket.check_shared(&quota, 0), LocalDecision::NeedsRemote(60));
        let grant = Grant {
            granted: 60,
            remaining: 40,
            next_in: Duration::from_millis(10),
        };
        assert_eq!(admitted(bucket.apply_grant(&quota, 0, grant)), Some(99));
        for left in (40..99).rev() {
            let LocalDecision::Decided(verdict) = bucket.check_shared(&quota, 0) else {
                panic!("{left}: it was taken in advance");
            };
            assert_eq!(admitted(verdict), Some(left));
        }
        assert_eq!(bucket.check_shared(&quota, 0), LocalDecision::NeedsRemote(60));

        bucket.apply_grant(&quota, 0, grant);
        // Sixty come again in 0.6 s.
        assert_eq!(
            bucket.check_shared(&quota, SECOND * 6 / 10),
            LocalDecision::NeedsRemote(60)
        );
    }

    #[test]
    fn what_redis_refuses_is_not_asked_again_before_its_time() {
        let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
        assert_eq!(bucket.check_shared(&quota, 0), LocalDecision::NeedsRemote(1));
        let grant = Grant {
            granted: 0,
            remaining: 0,
            next_in: Duration::from_secs(2),
        };
        let refused = Decision::Rejected {
            retry_after: Duration::from_secs(2),
        };
        assert_eq!(bucket.apply_grant(&quota, 0, grant), refused);
        assert_eq!(bucket.check_shared(&quota, 0), LocalDecision::Decided(refused));
        assert_eq!(
            bucket.check_shared(&quota, 2 * SECOND),
            LocalDecision::NeedsRemote(1)
        );
    }

    #[test]
    fn a_counter_is_forgotten_after_its_window() {
        let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
        while admitted(bucket.check_local(&quota, 0)).is_some() {}
        assert!(!bucket.is_idle(59 * SECOND));
        assert!(bucket.is_idle(60 * SECOND));
    }

    #[test]
    fn a_large_factor_leaves_something_to_count_with() {
        for policy in POLICIES {
            let quota = Quota::from_policy(policy, 1_000_000);
            assert!(quota.interval > 1, "{}", policy.name);
        }
    }

    proptest! {
        /// However they come, in no window more are let in than the limit says twice: once all at once, and once again
        /// as they are given back.
        #[test]
        fn no_window_holds_more_than_twice_the_limit(gaps in prop::collection::vec(0..3 * SECOND, 1..400)) {
            let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
            let (mut now, mut moments) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                if admitted(bucket.check_local(&quota, now)).is_some() {
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
