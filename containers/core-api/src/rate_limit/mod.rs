//! The rate limiter: limits requests per user and per client IP address. All instances share the counters in
//! Redis. Without Redis, or while it does not respond, each instance counts separately.

pub mod gcra;
pub mod policy;
mod redis_counters;

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::http::HeaderValue;
use domain::{Clock, UserId};
use gcra::{Bucket, Decision, LocalDecision, Quota};
use http_server::Attempt;
use lru::LruCache;
use metrics::{counter, describe_counter};
use policy::{POLICIES, Policy};
use secrecy::SecretString;

pub use redis_counters::{RedisCounters, RedisCountersError};

/// The buckets are spread over this many shards, each with its own lock.
const SHARD_COUNT: usize = 16;

/// A full shard evicts its least recently used bucket. All shards together hold about 65,000 buckets in 5 MB.
const MAX_BUCKETS_PER_SHARD: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Counts rejected requests by policy.
const REJECTED_REQUESTS_METRIC: &str = "rate_limited_requests_total";

/// The requests with the same key are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateLimitKey {
    User(UserId),
    /// An IPv4 address or a /64 network of IPv6 addresses, because one subscriber has a whole /64. `None`
    /// is an unknown address.
    Address(Option<IpAddr>),
}

impl RateLimitKey {
    #[must_use]
    pub fn for_address(address: Option<IpAddr>) -> Self {
        Self::Address(address.map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        }))
    }

    /// The Redis key of the counter. Redis expires it within the window of the policy.
    fn redis_key(self, policy: &Policy) -> String {
        let name = policy.name;
        match self {
            Self::User(id) => format!("limit:{name}:{id}"),
            Self::Address(Some(address)) => format!("limit:{name}:{address}"),
            Self::Address(None) => format!("limit:{name}:unknown"),
        }
    }
}

/// A policy with its quota in this deployment.
#[derive(Clone, Debug)]
pub struct RateLimit {
    pub policy: &'static Policy,
    /// The value of the `RateLimit-Policy` header.
    pub policy_header: HeaderValue,
    quota: Quota,
}

/// The rate limiter: all limits and their counters. Clones share the counters.
#[derive(Clone, Debug)]
pub struct RateLimiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: [RateLimit; POLICIES.len()],
    /// The buckets by key hash, in order of use.
    shards: [Mutex<LruCache<u64, Bucket>>; SHARD_COUNT],
    /// Hashes keys with a random seed, so that clients cannot choose addresses that collide. No address is
    /// stored.
    hasher: RandomState,
    clock: Clock,
    redis: Option<RedisCounters>,
}

/// A request that Redis has to decide.
#[derive(Debug)]
pub struct RemoteCheck {
    attempt: Attempt,
    /// The number of requests to acquire: this one and those to prefetch.
    wanted: u64,
}

impl RateLimiter {
    /// Multiplies every limit by `multiplier`. Counts in Redis if `redis_url` is given.
    ///
    /// # Errors
    /// When `redis_url` is not a Redis URL.
    pub fn new(
        multiplier: u32,
        redis_url: Option<&SecretString>,
        clock: Clock,
    ) -> Result<Self, redis::RedisError> {
        describe_counter!(
            REJECTED_REQUESTS_METRIC,
            "Requests rejected because a rate limit was exceeded, by policy."
        );
        let limit = |policy: &'static Policy| {
            let quota = Quota::from_policy(policy, multiplier);
            let (name, window) = (policy.name, policy.window.as_secs());
            let header = format!("\"{name}\";q={};w={window}", quota.requests);
            RateLimit {
                policy,
                policy_header: HeaderValue::from_str(&header)
                    .expect("policy names and digits are a valid header value"),
                quota,
            }
        };
        Ok(Self(Arc::new(Inner {
            limits: POLICIES.map(limit),
            shards: std::array::from_fn(|_| Mutex::new(LruCache::new(MAX_BUCKETS_PER_SHARD))),
            hasher: RandomState::new(),
            clock,
            redis: redis_url.map(RedisCounters::new).transpose()?,
        })))
    }

    /// The limit of a policy.
    #[must_use]
    pub fn limit(&self, policy: &'static Policy) -> &RateLimit {
        self.0
            .limits
            .iter()
            .find(|limit| std::ptr::eq(limit.policy, policy))
            .expect("POLICIES contains every policy")
    }

    /// Counts a request and decides it locally if possible. Otherwise [`Self::check_remote`] has to decide
    /// it.
    pub fn check(&self, limit: &RateLimit, key: RateLimitKey) -> Result<Decision, RemoteCheck> {
        let now = self.now_nanos();
        let mut shard = self.shard(limit, key);
        let bucket = shard.bucket();
        let Some(redis) = &self.0.redis else {
            return Ok(count_rejection(limit, bucket.check_local(&limit.quota, now)));
        };
        match bucket.check_shared(&limit.quota, now) {
            LocalDecision::Decided(decision) => Ok(count_rejection(limit, decision)),
            LocalDecision::NeedsRemote(wanted) => match redis.try_attempt(Instant::now()) {
                Some(attempt) => Err(RemoteCheck { attempt, wanted }),
                None => Ok(count_rejection(limit, bucket.check_local(&limit.quota, now))),
            },
        }
    }

    /// Decides a request with the counter in Redis, or locally if Redis fails.
    pub async fn check_remote(
        &self,
        limit: &RateLimit,
        key: RateLimitKey,
        remote_check: RemoteCheck,
    ) -> Decision {
        let RemoteCheck { attempt, wanted } = remote_check;
        let redis = self.0.redis.as_ref().expect("only Redis creates remote checks");
        let result = redis
            .acquire(attempt, &key.redis_key(limit.policy), &limit.quota, wanted)
            .await;
        let now = self.now_nanos();
        let mut shard = self.shard(limit, key);
        let bucket = shard.bucket();
        let decision = match result {
            Ok(grant) => bucket.apply_grant(&limit.quota, now, grant),
            // `acquire` has logged the error.
            Err(_) => bucket.check_local(&limit.quota, now),
        };
        count_rejection(limit, decision)
    }

    /// The current time in nanoseconds since the Unix epoch.
    fn now_nanos(&self) -> u64 {
        let now = self.0.clock.now().timestamp_nanos_opt();
        now.and_then(|now| now.try_into().ok())
            .expect("the current time is between 1970 and 2262")
    }

    fn shard(&self, limit: &RateLimit, key: RateLimitKey) -> Shard<'_> {
        let key_hash = self.0.hasher.hash_one((limit.policy.name, key));
        let shard = &self.0.shards[key_hash as usize % SHARD_COUNT];
        Shard {
            buckets: shard.lock().unwrap_or_else(PoisonError::into_inner),
            key_hash,
        }
    }
}

/// The locked shard with the bucket of a key.
struct Shard<'a> {
    buckets: MutexGuard<'a, LruCache<u64, Bucket>>,
    key_hash: u64,
}

impl Shard<'_> {
    /// The bucket of the key. A new bucket may evict the least recently used one, which then counts from
    /// zero; the counter in Redis is not affected.
    fn bucket(&mut self) -> &mut Bucket {
        self.buckets.get_or_insert_mut(self.key_hash, Bucket::default)
    }
}

fn count_rejection(limit: &RateLimit, decision: Decision) -> Decision {
    if let Decision::Rejected { .. } = decision {
        counter!(REJECTED_REQUESTS_METRIC, "limit" => limit.policy.name).increment(1);
    }
    decision
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{CATALOG, UNAUTHENTICATED};

    fn rate_limiter_with_stopped_clock() -> RateLimiter {
        let now = Clock::system().now();
        RateLimiter::new(1, None, Clock::from_fn(move || now)).unwrap()
    }

    fn bucket_count(rate_limiter: &RateLimiter) -> usize {
        let shards = rate_limiter.0.shards.iter();
        shards.map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[tokio::test]
    async fn keys_and_policies_are_counted_separately_in_bounded_memory() {
        let rate_limiter = rate_limiter_with_stopped_clock();
        let limit = rate_limiter.limit(&UNAUTHENTICATED);
        let is_allowed = |key| matches!(rate_limiter.check(limit, key), Ok(Decision::Allowed { .. }));
        let key = |number: u32| RateLimitKey::for_address(Some(IpAddr::V4(number.into())));
        for number in 0..100_000 {
            assert!(is_allowed(key(number)), "{number}");
        }
        let buckets = bucket_count(&rate_limiter);
        assert!(
            buckets <= SHARD_COUNT * MAX_BUCKETS_PER_SHARD.get(),
            "{buckets} buckets"
        );

        let busy = key(0x0A00_0001);
        assert_eq!((0..500).filter(|_| is_allowed(busy)).count(), 120);
        assert!(is_allowed(key(0x0A00_0002)));
        let other_limit = rate_limiter.limit(&CATALOG);
        assert!(
            rate_limiter.check(other_limit, busy).is_ok(),
            "each policy has its own counter"
        );
    }

    #[tokio::test]
    async fn seventy_thousand_networks_do_not_reset_a_counter_in_use() {
        let rate_limiter = rate_limiter_with_stopped_clock();
        let limit = rate_limiter.limit(&UNAUTHENTICATED);
        let is_allowed = |key| matches!(rate_limiter.check(limit, key), Ok(Decision::Allowed { .. }));
        let network = |number: u128| {
            let address = 0x2001_0db8 << 96 | number << 64;
            RateLimitKey::for_address(Some(IpAddr::V6(Ipv6Addr::from_bits(address))))
        };
        let busy = network(1_000_000);
        assert_eq!((0..500).filter(|_| is_allowed(busy)).count(), 120);
        for number in 0..70_000 {
            assert!(is_allowed(network(number)), "{number}");
            if number % 1_000 == 0 {
                assert!(!is_allowed(busy), "the counter was reset after {number} networks");
            }
        }
        assert!(!is_allowed(busy), "the counter was reset");
        let buckets = bucket_count(&rate_limiter);
        assert!(
            buckets <= SHARD_COUNT * MAX_BUCKETS_PER_SHARD.get(),
            "{buckets} buckets"
        );
    }

    #[test]
    fn ipv6_addresses_share_a_limit_per_64() {
        let key = |address: &str| RateLimitKey::for_address(Some(address.parse().unwrap()));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_ne!(key("203.0.113.1"), key("203.0.113.2"));
        assert_eq!(
            key("2001:db8:1:2::1").redis_key(&CATALOG),
            "limit:catalog:2001:db8:1:2::"
        );
    }
}
