//! The rate limit counters in Redis, which all instances share. A timeout bounds each call, and a circuit
//! breaker stops calls while Redis fails.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use http_server::{Attempt, CircuitBreaker};
use redis::{RedisError, Script, aio::ConnectionManager};
use redis_client::RESPONSE_TIMEOUT;
use secrecy::SecretString;

use super::gcra::{Grant, Quota};

/// The number of consecutive failures that open the circuit.
const FAILURE_THRESHOLD: u32 = 3;

/// The time for which the circuit stays open.
const OPEN_DURATION: Duration = Duration::from_secs(1);

/// The generic cell rate algorithm (GCRA) as one atomic step on Redis's clock. The key holds the theoretical
/// arrival time (TAT) in microseconds. The script grants up to `wanted` requests and returns how many it
/// granted, how many remain and after how many microseconds the next one is available. The key expires when
/// the whole quota is available again, so no key outlives the window.
static ACQUIRE_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local window, interval, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local time = redis.call('TIME')
        local now = time[1] * 1000000 + time[2]
        local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
        -- The thousandth compensates for the rounding of both divisions.
        local available = math.floor((now + window - tat) / interval + 0.001)
        local granted = math.max(math.min(available, wanted), 0)
        if granted > 0 then
            tat = tat + granted * interval
            local expires_in_ms = math.max(math.ceil((tat - now) / 1000), 1)
            redis.call('SET', KEYS[1], string.format('%.3f', tat), 'PX', expires_in_ms)
        end
        local next_in = (available - granted + 1) * interval - (now + window - tat)
        return {granted, math.max(available - granted, 0), math.max(math.ceil(next_in), 1)}
        ",
    )
});

/// Why Redis did not count a request.
#[derive(Debug, thiserror::Error)]
pub enum RedisCountersError {
    /// Redis returned an error or is unreachable.
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    #[error("Redis did not respond in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// The client for the counters. Clones share the connection.
#[derive(Clone)]
pub struct RedisCounters {
    redis: ConnectionManager,
    breaker: CircuitBreaker,
}

impl RedisCounters {
    /// Connects to the Redis at `url` on the first call.
    ///
    /// # Errors
    /// When `url` is not a Redis URL.
    pub fn new(url: &SecretString) -> Result<Self, RedisError> {
        Ok(Self {
            redis: redis_client::connect_lazy(url)?,
            breaker: CircuitBreaker::new("redis", FAILURE_THRESHOLD, OPEN_DURATION),
        })
    }

    /// Permits one call of Redis. Returns `None` while the circuit is open.
    pub fn try_attempt(&self, now: Instant) -> Option<Attempt> {
        self.breaker.try_acquire(now)
    }

    /// Acquires up to `wanted` requests from the counter at `key`, and reports the outcome to `attempt`.
    pub async fn acquire(
        &self,
        attempt: Attempt,
        key: &str,
        quota: &Quota,
        wanted: u64,
    ) -> Result<Grant, RedisCountersError> {
        let call = async {
            let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
            let mut redis = self.redis.clone();
            let (granted, remaining, next_in): (u64, u64, u64) = ACQUIRE_SCRIPT
                .key(key)
                .arg(microseconds(quota.window))
                .arg(microseconds(quota.interval))
                .arg(wanted)
                .invoke_async(&mut redis)
                .await?;
            Ok(Grant {
                granted,
                remaining,
                next_in: Duration::from_micros(next_in),
            })
        };
        let result = tokio::time::timeout(RESPONSE_TIMEOUT, call)
            .await
            .unwrap_or_else(|elapsed| Err(elapsed.into()));
        match &result {
            Ok(_) => attempt.record_success(),
            Err(error) => {
                tracing::debug!(
                    error = error as &dyn std::error::Error,
                    "rate limit counter in Redis unavailable; counting locally"
                );
                attempt.record_failure(Instant::now());
            }
        }
        result
    }
}

impl std::fmt::Debug for RedisCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisCounters")
    }
}
