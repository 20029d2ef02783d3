//! How much one person and one address may ask for. All instances count together in Redis; without it, or while it does not
//! answer, each counts for itself.

pub mod gcra;
pub mod policy;
mod redis_counters;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::http::HeaderValue;
use domain::{Clock, UserId};
use gcra::{Bucket, Decision, LocalDecision, Quota};
use http_server::Attempt;
use metrics::{counter, describe_counter};
use policy::{POLICIES, Policy};
use secrecy::SecretString;

pub use redis_counters::{RedisCounters, RedisCountersError};

/// Counters lie in so many parts with a lock of their own each, and each part holds so many.
const SHARD_COUNT: usize = 16;
const MAX_BUCKETS_PER_SHARD: usize = 4096;

/// How many requests were refused, by limit.
const REJECTED_REQUESTS_METRIC: &str = "rate_limited_requests_total";

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    /// A person's.
    User(UserId),
    /// Those from an address, or, as one household has 2⁶⁴ of them, from a network of IPv6.
    Address(Option<IpAddr>),
}

impl RateLimitKey {
    /// The requests from an address.
    #[must_use]
    pub fn for_address(address: Option<IpAddr>) -> Self {
        Self::Address(address.map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        }))
    }

    /// The name of its counter in Redis, where it lives no longer than the limit's window.
    fn redis_key(self, policy: &Policy) -> String {
        let name = policy.name;
        match self {
            Self::User(id) => format!("limit:{name}:{id}"),
            Self::Address(Some(address)) => format!("limit:{name}:{address}"),
            Self::Address(None) => format!("limit:{name}:unknown"),
        }
    }
}

/// A limit as this program applies it.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// What it is.
    pub policy: &'static Policy,
    /// The header that tells of it.
    pub policy_header: HeaderValue,
    quota: Quota,
}

/// Every limit and what was counted. Cloning shares it.
#[derive(Clone, Debug)]
pub struct RateLimiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: [RateLimit; POLICIES.len()],
    shards: [Mutex<HashMap<u64, Bucket>>; SHARD_COUNT],
    /// With a secret of this process: nobody can choose addresses that count as one, and no address is kept.
    hasher: RandomState,
    clock: Clock,
    redis: Option<RedisCounters>,
}

/// A request that Redis has to be asked about.
#[derive(Debug)]
pub struct RemoteCheck {
    attempt: Attempt,
    wanted: u64,
}

impl RateLimiter {
    /// The limits, each `factor` times as large, counted in the Redis at `url` if there is one.
    ///
    /// # Errors
    /// When the URL is none of Redis.
    pub fn new(factor: u32, url: Option<&SecretString>, clock: Clock) -> Result<Self, redis::RedisError> {
        describe_counter!(
            REJECTED_REQUESTS_METRIC,
            "Requests refused because a limit was reached, by limit."
        );
        let limit = |policy: &'static Policy| {
            let quota = Quota::from_policy(policy, factor);
            let (name, window) = (policy.name, policy.window.as_secs());
            let told = format!("\"{name}\";q={};w={window}", quota.requests);
            RateLimit {
                policy,
                policy_header: HeaderValue::from_str(&told).expect("names and digits are a header's value"),
                quota,
            }
        };
        Ok(Self(Arc::new(Inner {
            limits: POLICIES.map(limit),
            shards: Default::default(),
            hasher: RandomState::new(),
            clock,
            redis: url.map(RedisCounters::new).transpose()?,
        })))
    }

    /// A policy's limit.
    #[must_use]
    pub fn limit(&self, policy: &'static Policy) -> &RateLimit {
        let same = |limit: &&RateLimit| std::ptr::eq(limit.policy, policy);
        self.0
            .limits
            .iter()
            .find(same)
            .expect("every policy stands in POLICIES")
    }

    /// Counts a request. What cannot be decided here is a question for [`Self::ask`].
    pub fn check(&self, limit: &RateLimit, who: RateLimitKey) -> Result<Decision, RemoteCheck> {
        let now = self.now_nanos();
        let mut part = self.shard(limit, who);
        let bucket = part.bucket(now);
        let Some(shared) = &self.0.redis else {
            return Ok(count_rejection(limit, bucket.check_local(&limit.quota, now)));
        };
        match bucket.check_shared(&limit.quota, now) {
            LocalDecision::Decided(verdict) => Ok(count_rejection(limit, verdict)),
            LocalDecision::NeedsRemote(wanted) => match shared.try_attempt(Instant::now()) {
                Some(attempt) => Err(RemoteCheck { attempt, wanted }),
                None => Ok(count_rejection(limit, bucket.check_local(&limit.quota, now))),
            },
        }
    }

    /// Decides a request together with the other instances, or alone if that cannot be.
    pub async fn check_remote(
        &self,
        limit: &RateLimit,
        who: RateLimitKey,
        question: RemoteCheck,
    ) -> Decision {
        let RemoteCheck { attempt, wanted } = question;
        let answer = match &self.0.redis {
            Some(shared) => shared
                .acquire(attempt, &who.redis_key(limit.policy), &limit.quota, wanted)
                .await
                .ok(),
            None => None,
        };
        let now = self.now_nanos();
        let mut part = self.shard(limit, who);
        let bucket = part.bucket(now);
        let verdict = match answer {
            Some(grant) => bucket.apply_grant(&limit.quota, now, grant),
            None => bucket.check_local(&limit.quota, now),
        };
        count_rejection(limit, verdict)
    }

    /// Nanoseconds since 1970.
    fn now_nanos(&self) -> u64 {
        let now = self.0.clock.now().timestamp_nanos_opt();
        now.and_then(|now| now.try_into().ok()).unwrap_or_default()
    }

    fn shard(&self, limit: &RateLimit, who: RateLimitKey) -> Shard<'_> {
        let name = self.0.hasher.hash_one((limit.policy.name, who));
        let part = &self.0.shards[name as usize % SHARD_COUNT];
        Shard {
            buckets: part.lock().unwrap_or_else(PoisonError::into_inner),
            key_hash: name,
        }
    }
}

/// The counters among which one is.
struct Shard<'a> {
    buckets: MutexGuard<'a, HashMap<u64, Bucket>>,
    key_hash: u64,
}

impl Shard<'_> {
    fn bucket(&mut self, now: u64) -> &mut Bucket {
        if self.buckets.len() >= MAX_BUCKETS_PER_SHARD && !self.buckets.contains_key(&self.key_hash) {
            self.buckets.retain(|_, bucket| !bucket.is_idle(now));
            // As many callers at once as no shop has: each begins anew here. What Redis has counted stands.
            if self.buckets.len() >= MAX_BUCKETS_PER_SHARD {
                self.buckets.clear();
            }
        }
        self.buckets.entry(self.key_hash).or_default()
    }
}

fn count_rejection(limit: &RateLimit, verdict: Decision) -> Decision {
    if let Decision::Rejected { .. } = verdict {
        counter!(REJECTED_REQUESTS_METRIC, "limit" => limit.policy.name).increment(1);
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{CATALOG, UNAUTHENTICATED};

    #[tokio::test]
    async fn one_address_does_not_use_up_anothers_limit_however_many_there_are() {
        let now = Clock::system().now();
        let limits = RateLimiter::new(1, None, Clock::from_fn(move || now)).unwrap();
        let limit = limits.limit(&UNAUTHENTICATED);
        let count = |who| matches!(limits.check(limit, who), Ok(Decision::Allowed { .. }));
        let address = |number: u32| RateLimitKey::for_address(Some(IpAddr::V4(number.into())));
        for number in 0..100_000 {
            assert!(count(address(number)), "{number}");
        }
        let held: usize = limits
            .0
            .shards
            .iter()
            .map(|part| part.lock().unwrap().len())
            .sum();
        assert!(
            held <= SHARD_COUNT * MAX_BUCKETS_PER_SHARD,
            "{held} counters are held"
        );

        let loud = address(0x0A00_0001);
        assert_eq!((0..500).filter(|_| count(loud)).count(), 120);
        assert!(count(address(0x0A00_0002)));
        let other = limits.limit(&CATALOG);
        assert!(
            limits.check(other, loud).is_ok(),
            "another limit is another counter"
        );
    }

    #[test]
    fn a_household_counts_as_one() {
        let at = |text: &str| RateLimitKey::for_address(Some(text.parse().unwrap()));
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_ne!(at("203.0.113.1"), at("203.0.113.2"));
        assert_eq!(
            at("2001:db8:1:2::1").redis_key(&CATALOG),
            "limit:catalogue:2001:db8:1:2::"
        );
    }
}
