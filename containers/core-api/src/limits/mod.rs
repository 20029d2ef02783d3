//! How much one person and one address may ask for. All instances count together in Redis; without it, or while it does not
//! answer, each counts for itself.

pub mod bucket;
pub mod policy;
mod shared;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::http::HeaderValue;
use bucket::{Bucket, Quota, Step, Verdict};
use domain::{Clock, UserId};
use metrics::{counter, describe_counter};
use policy::{POLICIES, Policy};
use secrecy::SecretString;
use web::Attempt;

pub use shared::{Shared, SharedError};

/// Counters lie in so many parts with a lock of their own each, and each part holds so many.
const PARTS: usize = 16;
const COUNTERS: usize = 4096;

/// How many requests were refused, by limit.
const REFUSED: &str = "rate_limited_requests_total";

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A person's.
    Person(UserId),
    /// Those from an address, or, as one household has 2⁶⁴ of them, from a network of IPv6.
    Address(Option<IpAddr>),
}

impl Who {
    /// The requests from an address.
    #[must_use]
    pub fn at(address: Option<IpAddr>) -> Self {
        Self::Address(address.map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        }))
    }

    /// The name of its counter in Redis, where it lives no longer than the limit's window.
    fn counter(self, policy: &Policy) -> String {
        let name = policy.name;
        match self {
            Self::Person(id) => format!("limit:{name}:{id}"),
            Self::Address(Some(address)) => format!("limit:{name}:{address}"),
            Self::Address(None) => format!("limit:{name}:unknown"),
        }
    }
}

/// A limit as this program applies it.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What it is.
    pub policy: &'static Policy,
    /// The header that tells of it.
    pub told: HeaderValue,
    quota: Quota,
}

/// Every limit and what was counted. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: [Limit; POLICIES.len()],
    parts: [Mutex<HashMap<u64, Bucket>>; PARTS],
    /// With a secret of this process: nobody can choose addresses that count as one, and no address is kept.
    names: RandomState,
    clock: Clock,
    shared: Option<Shared>,
}

/// A request that Redis has to be asked about.
#[derive(Debug)]
pub struct Question {
    attempt: Attempt,
    wanted: u64,
}

impl Limits {
    /// The limits, each `factor` times as large, counted in the Redis at `url` if there is one.
    ///
    /// # Errors
    /// When the URL is none of Redis.
    pub fn new(factor: u32, url: Option<&SecretString>, clock: Clock) -> Result<Self, redis::RedisError> {
        describe_counter!(REFUSED, "Requests refused because a limit was reached, by limit.");
        let limit = |policy: &'static Policy| {
            let quota = Quota::of(policy, factor);
            let (name, window) = (policy.name, policy.window.as_secs());
            let told = format!("\"{name}\";q={};w={window}", quota.requests);
            Limit {
                policy,
                told: HeaderValue::from_str(&told).expect("names and digits are a header's value"),
                quota,
            }
        };
        Ok(Self(Arc::new(Inner {
            limits: POLICIES.map(limit),
            parts: Default::default(),
            names: RandomState::new(),
            clock,
            shared: url.map(Shared::new).transpose()?,
        })))
    }

    /// A policy's limit.
    #[must_use]
    pub fn limit(&self, policy: &'static Policy) -> &Limit {
        let same = |limit: &&Limit| std::ptr::eq(limit.policy, policy);
        self.0
            .limits
            .iter()
            .find(same)
            .expect("every policy stands in POLICIES")
    }

    /// Counts a request. What cannot be decided here is a question for [`Self::ask`].
    pub fn count(&self, limit: &Limit, who: Who) -> Result<Verdict, Question> {
        let now = self.now();
        let mut part = self.part(limit, who);
        let bucket = part.bucket(now);
        let Some(shared) = &self.0.shared else {
            return Ok(told(limit, bucket.alone(&limit.quota, now)));
        };
        match bucket.together(&limit.quota, now) {
            Step::Decided(verdict) => Ok(told(limit, verdict)),
            Step::Ask(wanted) => match shared.admit(Instant::now()) {
                Some(attempt) => Err(Question { attempt, wanted }),
                None => Ok(told(limit, bucket.alone(&limit.quota, now))),
            },
        }
    }

    /// Decides a request together with the other instances, or alone if that cannot be.
    pub async fn ask(&self, limit: &Limit, who: Who, question: Question) -> Verdict {
        let Question { attempt, wanted } = question;
        let answer = match &self.0.shared {
            Some(shared) => shared
                .take(attempt, &who.counter(limit.policy), &limit.quota, wanted)
                .await
                .ok(),
            None => None,
        };
        let now = self.now();
        let mut part = self.part(limit, who);
        let bucket = part.bucket(now);
        let verdict = match answer {
            Some(grant) => bucket.granted(&limit.quota, now, grant),
            None => bucket.alone(&limit.quota, now),
        };
        told(limit, verdict)
    }

    /// Nanoseconds since 1970.
    fn now(&self) -> u64 {
        let now = self.0.clock.now().timestamp_nanos_opt();
        now.and_then(|now| now.try_into().ok()).unwrap_or_default()
    }

    fn part(&self, limit: &Limit, who: Who) -> Part<'_> {
        let name = self.0.names.hash_one((limit.policy.name, who));
        let part = &self.0.parts[name as usize % PARTS];
        Part {
            counters: part.lock().unwrap_or_else(PoisonError::into_inner),
            name,
        }
    }
}

/// The counters among which one is.
struct Part<'a> {
    counters: MutexGuard<'a, HashMap<u64, Bucket>>,
    name: u64,
}

impl Part<'_> {
    fn bucket(&mut self, now: u64) -> &mut Bucket {
        if self.counters.len() >= COUNTERS && !self.counters.contains_key(&self.name) {
            self.counters.retain(|_, bucket| !bucket.is_forgotten(now));
            // As many callers at once as no shop has: each begins anew here. What Redis has counted stands.
            if self.counters.len() >= COUNTERS {
                self.counters.clear();
            }
        }
        self.counters.entry(self.name).or_default()
    }
}

fn told(limit: &Limit, verdict: Verdict) -> Verdict {
    if let Verdict::Refused { .. } = verdict {
        counter!(REFUSED, "limit" => limit.policy.name).increment(1);
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::{CATALOGUE, STRANGERS};

    #[tokio::test]
    async fn one_address_does_not_use_up_anothers_limit_however_many_there_are() {
        let now = Clock::system().now();
        let limits = Limits::new(1, None, Clock::from_fn(move || now)).unwrap();
        let limit = limits.limit(&STRANGERS);
        let count = |who| matches!(limits.count(limit, who), Ok(Verdict::Admitted { .. }));
        let address = |number: u32| Who::at(Some(IpAddr::V4(number.into())));
        for number in 0..100_000 {
            assert!(count(address(number)), "{number}");
        }
        let held: usize = limits.0.parts.iter().map(|part| part.lock().unwrap().len()).sum();
        assert!(held <= PARTS * COUNTERS, "{held} counters are held");

        let loud = address(0x0A00_0001);
        assert_eq!((0..500).filter(|_| count(loud)).count(), 120);
        assert!(count(address(0x0A00_0002)));
        let other = limits.limit(&CATALOGUE);
        assert!(
            limits.count(other, loud).is_ok(),
            "another limit is another counter"
        );
    }

    #[test]
    fn a_household_counts_as_one() {
        let at = |text: &str| Who::at(Some(text.parse().unwrap()));
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_ne!(at("203.0.113.1"), at("203.0.113.2"));
        assert_eq!(
            at("2001:db8:1:2::1").counter(&CATALOGUE),
            "limit:catalogue:2001:db8:1:2::"
        );
    }
}
