//! Counters that all instances share, in Redis. It is asked within a bound, and not at all while it does not answer.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use http_server::{Attempt, CircuitBreaker};
use redis::{
    Client, RedisError, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use secrecy::{ExposeSecret, SecretString};

use super::gcra::{Grant, Quota};

/// How long a request waits for Redis at most. It answers in less than a millisecond.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(100);

/// How long making a connection may take, in the background.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// After so many failures in a row it is not asked any more, and for how long.
const FAILURE_THRESHOLD: u32 = 3;
const OPEN_DURATION: Duration = Duration::from_secs(1);

/// The generic cell rate algorithm in one step, by Redis's own clock: takes up to as many as are asked for, and tells how
/// many those are, how many are left, and in how many microseconds there is another. A counter is gone when nothing of
/// its limit is used, so none is older than its window.
static ACQUIRE_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local window, interval, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        local time = redis.call('TIME')
        local now = time[1] * 1000000 + time[2]
        local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
        -- A thousandth, because neither division is exact.
        local free = math.floor((now + window - full_at) / interval + 0.001)
        local granted = math.max(math.min(free, wanted), 0)
        if granted > 0 then
            full_at = full_at + granted * interval
            local lives = math.max(math.ceil((full_at - now) / 1000), 1)
            redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', lives)
        end
        local another = (free - granted + 1) * interval - (now + window - full_at)
        return {granted, math.max(free - granted, 0), math.max(math.ceil(another), 1)}
        ",
    )
});

/// Why Redis did not count a request.
#[derive(Debug, thiserror::Error)]
pub enum RedisCountersError {
    /// It answered with an error, or could not be reached.
    #[error("Redis has failed")]
    Redis(#[from] RedisError),
    /// It did not answer in time.
    #[error("Redis does not answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// The counters in Redis. Cloning shares the connection.
#[derive(Clone)]
pub struct RedisCounters {
    redis: ConnectionManager,
    breaker: CircuitBreaker,
}

impl RedisCounters {
    /// The counters in the Redis at `url`, which need not be there yet.
    ///
    /// # Errors
    /// When the URL is none of Redis.
    pub fn new(url: &SecretString) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            // The breaker says when it is tried again.
            .set_number_of_retries(0);
        let redis = ConnectionManager::new_lazy_with_config(Client::open(url.expose_secret())?, config)?;
        Ok(Self {
            redis,
            breaker: CircuitBreaker::new("redis", FAILURE_THRESHOLD, OPEN_DURATION),
        })
    }

    /// Leave to ask Redis; none while it does not answer.
    pub fn try_attempt(&self, now: Instant) -> Option<Attempt> {
        self.breaker.try_acquire(now)
    }

    /// Takes up to `wanted` requests from a counter. The attempt learns of the outcome.
    pub async fn acquire(
        &self,
        attempt: Attempt,
        counter: &str,
        quota: &Quota,
        wanted: u64,
    ) -> Result<Grant, RedisCountersError> {
        let asked = async {
            let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
            let mut redis = self.redis.clone();
            let (granted, remaining, next): (u64, u64, u64) = ACQUIRE_SCRIPT
                .key(counter)
                .arg(microseconds(quota.window))
                .arg(microseconds(quota.interval))
                .arg(wanted)
                .invoke_async(&mut redis)
                .await?;
            Ok(Grant {
                granted,
                remaining,
                next_in: Duration::from_micros(next),
            })
        };
        let answer = tokio::time::timeout(RESPONSE_TIMEOUT, asked)
            .await
            .unwrap_or_else(|slow| Err(slow.into()));
        match &answer {
            Ok(_) => attempt.record_success(),
            Err(error) => {
                tracing::debug!(
                    error = error as &dyn std::error::Error,
                    "a limit could not be counted together with the other instances"
                );
                attempt.record_failure(Instant::now());
            }
        }
        answer
    }
}

impl std::fmt::Debug for RedisCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}
