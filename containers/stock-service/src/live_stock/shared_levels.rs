//! The levels in Redis, through which the instances agree on who announces a level.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use domain::ProductId;
use events::StockPushRequest;
use http_server::CircuitBreaker;
use redis::{RedisError, Script, aio::ConnectionManager};
use redis_client::RESPONSE_TIMEOUT;
use secrecy::SecretString;
use tokio::time::timeout;

use super::INTERVAL;

/// How long Redis keeps a level. It exceeds the time within which a restarted instance announces levels
/// again.
const RETENTION: Duration = Duration::from_secs(3600);

/// The number of consecutive failures that open the circuit.
const FAILURE_THRESHOLD: u32 = 3;

/// The time for which the circuit stays open.
const OPEN_DURATION: Duration = Duration::from_secs(1);

/// Stores a level unless a newer one is known, and decides on Redis's clock who announces the newest one.
/// Versions are below 2^53, so Lua's numbers hold them exactly.
static TAKE_TURN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local version, available, interval, retention = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
        local stored = redis.call('HMGET', KEYS[1], 'version', 'available', 'announced', 'turn_at')
        if stored[1] and tonumber(stored[1]) > tonumber(version) then
            version, available = stored[1], stored[2]
        else
            redis.call('HSET', KEYS[1], 'version', version, 'available', available)
            redis.call('PEXPIRE', KEYS[1], retention)
        end
        if stored[3] and tonumber(stored[3]) >= tonumber(version) then
            return {'announced', version, available}
        end
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        if stored[4] and now - tonumber(stored[4]) < interval then
            return {'wait', version, available}
        end
        redis.call('HSET', KEYS[1], 'turn_at', string.format('%d', now))
        return {'announce', version, available}
        ",
    )
});

/// Records that a level was announced.
static CONFIRM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local announced = redis.call('HGET', KEYS[1], 'announced')
        if not announced or tonumber(announced) < tonumber(ARGV[1]) then
            redis.call('HSET', KEYS[1], 'announced', ARGV[1])
            redis.call('PEXPIRE', KEYS[1], ARGV[2])
        end
        ",
    )
});

/// What an instance does with a level.
pub(super) enum Turn {
    /// The instance announces this level: its own, or a newer one of another instance.
    Announce(StockPushRequest),
    /// This or a newer level was announced.
    Announced(ProductId),
    /// Another instance has announced a level of the product a moment ago, or is doing so.
    Wait,
}

/// The levels in Redis. Redis failures are not errors: the instance then announces its own levels.
pub struct SharedLevels {
    redis: ConnectionManager,
    breaker: CircuitBreaker,
}

impl SharedLevels {
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

    pub(super) async fn take_turn(&self, level: StockPushRequest) -> Turn {
        let mut redis = self.redis.clone();
        let call = async {
            TAKE_TURN
                .key(key(level.product_id))
                .arg(level.version)
                .arg(level.available)
                .arg(millis(INTERVAL))
                .arg(millis(RETENTION))
                .invoke_async::<(String, i64, i64)>(&mut redis)
                .await
        };
        match self.attempt(call).await {
            Some((turn, version, available)) => match turn.as_str() {
                "announced" => Turn::Announced(level.product_id),
                "wait" => Turn::Wait,
                _ => Turn::Announce(StockPushRequest {
                    version,
                    available,
                    ..level
                }),
            },
            None => Turn::Announce(level),
        }
    }

    /// Records that a level was announced. Without this record, it is announced once more.
    pub(super) async fn confirm(&self, level: StockPushRequest) {
        let mut redis = self.redis.clone();
        let call = async {
            CONFIRM
                .key(key(level.product_id))
                .arg(level.version)
                .arg(millis(RETENTION))
                .invoke_async::<()>(&mut redis)
                .await
        };
        self.attempt(call).await;
    }

    /// Calls Redis within the time limit. Returns `None` if it failed, or if the circuit is open.
    async fn attempt<T>(&self, call: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        let attempt = self.breaker.try_acquire(Instant::now())?;
        match timeout(RESPONSE_TIMEOUT, call).await {
            Ok(Ok(result)) => {
                attempt.record_success();
                return Some(result);
            }
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "Redis failed; levels are announced without it");
            }
            Err(_elapsed) => tracing::debug!("Redis did not respond; levels are announced without it"),
        }
        attempt.record_failure(Instant::now());
        None
    }
}

fn key(product_id: ProductId) -> String {
    format!("stock:level:{product_id}")
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().expect("the constants are short")
}
