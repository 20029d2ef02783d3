//! The counting of requests, without a clock or a network: the generic cell rate algorithm (GCRA), which
//! stores one timestamp per counter, and the requests that an instance has prefetched from the counter in
//! Redis.

use std::time::Duration;

use super::policy::Policy;

/// An instance prefetches this fraction of a limit from Redis, so that frequent catalog reads do not each
/// need a call. For a small limit it is one request, which makes the limit exact.
const PREFETCH_DIVISOR: u64 = 100;

/// A call of Redis that has not finished after this time is considered lost. It is above the timeout of the
/// call.
const REMOTE_CHECK_TIMEOUT_NANOS: u64 = 200_000_000;

/// The parameters of GCRA for a policy. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The number of requests per window; also the maximum burst.
    pub requests: u64,
    /// The time in which the whole quota is replenished.
    pub window: u64,
    /// The time in which one request is replenished (the emission interval).
    pub interval: u64,
    /// The number of requests that an instance acquires from Redis at once.
    pub prefetch: u64,
}

impl Quota {
    /// The quota of a policy, multiplied by `multiplier`.
    #[must_use]
    pub fn from_policy(policy: &Policy, multiplier: u32) -> Self {
        let requests = u64::from(policy.requests) * u64::from(multiplier);
        let window = nanoseconds(policy.window);
        Self {
            requests,
            window,
            interval: (window / requests).max(1),
            prefetch: (requests / PREFETCH_DIVISOR).max(1),
        }
    }
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allowed {
        /// The number of further requests that are available now.
        remaining: u64,
        /// The time until one more request is available.
        next_in: Duration,
    },
    Rejected {
        /// The time until the request would be allowed.
        retry_after: Duration,
    },
}

/// The response of Redis to an attempt to acquire requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The number of acquired requests, including the current one. 0 when the limit is exceeded.
    pub granted: u64,
    /// The number of requests that remain for all instances.
    pub remaining: u64,
    /// The time until one more request is available.
    pub next_in: Duration,
}

/// The outcome of the local check of a shared limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalDecision {
    Decided(Decision),
    /// Redis has to decide: acquire so many requests and pass the result to [`Bucket::apply_grant`].
    NeedsRemote(u64),
}

/// The state of one counter in one instance. Timestamps are in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// The theoretical arrival time (TAT) of GCRA for the requests that this instance has allowed: the time
    /// at which the whole quota is available again.
    tat: u64,
    /// The number of requests that were acquired from Redis and are not used yet.
    prefetched: u64,
    /// The time until which prefetched requests may be used.
    prefetched_until: u64,
    /// The number of requests that remained for all instances after the last call of Redis.
    shared_remaining: u64,
    /// The time until which Redis rejects further requests.
    rejected_until: u64,
    /// The time until which a prefetch may be in progress. Meanwhile other requests acquire only one request
    /// each, because concurrent prefetches would acquire more than is used.
    remote_check_until: u64,
}

impl Bucket {
    /// Checks a request against this instance's counter only.
    pub fn check_local(&mut self, quota: &Quota, now: u64) -> Decision {
        match self.conforming_tat(quota, now) {
            Ok(tat) => self.allow(quota, now, tat, u64::MAX),
            Err(rejected) => rejected,
        }
    }

    /// Checks a request against the shared limit, using prefetched requests if there are any.
    pub fn check_shared(&mut self, quota: &Quota, now: u64) -> LocalDecision {
        // All instances together have allowed at least as many requests as this one. If this instance alone
        // exceeds the limit, no call of Redis is needed.
        let tat = match self.conforming_tat(quota, now) {
            Ok(tat) => tat,
            Err(rejected) => return LocalDecision::Decided(rejected),
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
        LocalDecision::Decided(self.allow(quota, now, tat, self.shared_remaining + self.prefetched))
    }

    /// Decides a request by the response of Redis.
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
        // A grant of one request does not change the prefetched requests.
        if grant.granted > 1 {
            // Unused requests of a concurrent prefetch remain valid unless they have expired.
            if self.prefetched_until <= now {
                self.prefetched = 0;
            }
            self.prefetched += grant.granted - 1;
            // By then Redis has replenished as many requests, which other instances may use.
            self.prefetched_until = now + grant.granted * quota.interval;
        }
        self.shared_remaining = grant.remaining;
        match self.conforming_tat(quota, now) {
            Ok(tat) => {
                let decision = self.allow(quota, now, tat, self.shared_remaining + self.prefetched);
                let Decision::Allowed { remaining, .. } = decision else {
                    return decision;
                };
                Decision::Allowed {
                    remaining,
                    next_in: grant.next_in,
                }
            }
            Err(rejected) => rejected,
        }
    }

    /// The TAT after one more request, or the rejection when that request would exceed the limit.
    fn conforming_tat(&self, quota: &Quota, now: u64) -> Result<u64, Decision> {
        let tat = self.tat.max(now) + quota.interval;
        if tat - now <= quota.window {
            Ok(tat)
        } else {
            Err(Decision::Rejected {
                retry_after: Duration::from_nanos(tat - now - quota.window),
            })
        }
    }

    fn allow(&mut self, quota: &Quota, now: u64, tat: u64, shared_remaining: u64) -> Decision {
        self.tat = tat;
        let used = tat - now;
        let remaining = (quota.window - used) / quota.interval;
        let next_in = quota.interval - (quota.window - used) % quota.interval;
        Decision::Allowed {
            remaining: remaining.min(shared_remaining).min(quota.requests),
            next_in: Duration::from_nanos(next_in),
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
    fn concurrent_requests_acquire_one_while_a_prefetch_is_in_progress() {
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
        // The response to one of the single requests arrives late.
        bucket.apply_grant(&quota, SECOND + 4, grant(1));
        let later = SECOND + 100 * quota.interval / 2;
        for _ in 0..59 {
            assert!(matches!(
                bucket.check_shared(&quota, later),
                LocalDecision::Decided(_)
            ));
        }
        assert_eq!(bucket.check_shared(&quota, later), LocalDecision::NeedsRemote(60));
        // A prefetch whose response is lost is repeated after the timeout.
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

    /// The remaining requests if the request was allowed.
    fn remaining(decision: Decision) -> Option<u64> {
        match decision {
            Decision::Allowed { remaining, .. } => Some(remaining),
            Decision::Rejected { .. } => None,
        }
    }

    #[test]
    fn allows_a_burst_and_then_one_request_per_interval() {
        let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
        for expected in (0..30).rev() {
            assert_eq!(remaining(bucket.check_local(&quota, 0)), Some(expected));
        }
        let Decision::Rejected { retry_after } = bucket.check_local(&quota, 0) else {
            panic!("the limit is exceeded");
        };
        assert_eq!(retry_after, Duration::from_secs(2));
        assert_eq!(remaining(bucket.check_local(&quota, 2 * SECOND - 1)), None);
        assert_eq!(remaining(bucket.check_local(&quota, 2 * SECOND)), Some(0));
        assert_eq!(remaining(bucket.check_local(&quota, 2 * SECOND)), None);
        assert_eq!(remaining(bucket.check_local(&quota, 62 * SECOND)), Some(29));
    }

    #[test]
    fn rejected_requests_do_not_consume_quota() {
        let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
        for _ in 0..1000 {
            bucket.check_local(&quota, 0);
        }
        assert_eq!(remaining(bucket.check_local(&quota, 2 * SECOND)), Some(0));
    }

    #[test]
    fn prefetched_requests_are_used_and_expire() {
        let (quota, mut bucket) = (Quota::from_policy(&CATALOG, 1), Bucket::default());
        assert_eq!(bucket.check_shared(&quota, 0), LocalDecision::NeedsRemote(60));
        let grant = Grant {
            granted: 60,
            remaining: 40,
            next_in: Duration::from_millis(10),
        };
        assert_eq!(remaining(bucket.apply_grant(&quota, 0, grant)), Some(99));
        for expected in (40..99).rev() {
            let LocalDecision::Decided(decision) = bucket.check_shared(&quota, 0) else {
                panic!("{expected}: the request was not prefetched");
            };
            assert_eq!(remaining(decision), Some(expected));
        }
        assert_eq!(bucket.check_shared(&quota, 0), LocalDecision::NeedsRemote(60));

        bucket.apply_grant(&quota, 0, grant);
        // Redis replenishes 60 requests in 0.6 s.
        assert_eq!(
            bucket.check_shared(&quota, SECOND * 6 / 10),
            LocalDecision::NeedsRemote(60)
        );
    }

    #[test]
    fn redis_is_not_called_again_before_a_rejection_ends() {
        let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
        assert_eq!(bucket.check_shared(&quota, 0), LocalDecision::NeedsRemote(1));
        let grant = Grant {
            granted: 0,
            remaining: 0,
            next_in: Duration::from_secs(2),
        };
        let rejected = Decision::Rejected {
            retry_after: Duration::from_secs(2),
        };
        assert_eq!(bucket.apply_grant(&quota, 0, grant), rejected);
        assert_eq!(bucket.check_shared(&quota, 0), LocalDecision::Decided(rejected));
        assert_eq!(
            bucket.check_shared(&quota, 2 * SECOND),
            LocalDecision::NeedsRemote(1)
        );
    }

    #[test]
    fn the_whole_quota_is_available_after_one_window() {
        let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
        while remaining(bucket.check_local(&quota, 0)).is_some() {}
        let remaining_at = |seconds: u64| remaining({ bucket }.check_local(&quota, seconds * SECOND));
        assert_eq!(remaining_at(59), Some(28));
        assert_eq!(remaining_at(60), Some(29));
    }

    #[test]
    fn interval_is_longer_than_one_nanosecond_with_the_largest_multiplier() {
        for policy in POLICIES {
            let quota = Quota::from_policy(policy, 1_000_000);
            assert!(quota.interval > 1, "{}", policy.name);
        }
    }

    proptest! {
        /// In any window at most twice the limit is allowed: the burst, and the requests that are replenished
        /// meanwhile.
        #[test]
        fn no_window_allows_more_than_twice_the_limit(gaps in prop::collection::vec(0..3 * SECOND, 1..400)) {
            let (quota, mut bucket) = (Quota::from_policy(&ORDERS, 1), Bucket::default());
            let (mut now, mut allowed_at) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                if remaining(bucket.check_local(&quota, now)).is_some() {
                    allowed_at.push(now);
                }
            }
            for (first, start) in allowed_at.iter().enumerate() {
                let in_window = allowed_at[first..].iter().filter(|at| **at < start + quota.window).count();
                prop_assert!(in_window as u64 <= 2 * quota.requests);
            }
        }
    }
}
