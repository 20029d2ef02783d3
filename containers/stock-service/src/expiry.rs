//! Expiry sweep: returns the units of expired reservations to stock.
//!
//! The sweep only finds expired reservations and submits a command for each. The engine decides them like any
//! other command, so that the units are returned exactly once however many instances sweep.

use std::time::Duration;

use domain::Clock;
use events::{EventContext, TraceParent};
use futures::future::try_join_all;
use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engine::{Engine, StoreError, SubmitError, commands::Expire, find_expired_reservations};

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum reservations submitted to the engine at once.
const SWEEP_BATCH_SIZE: u16 = 200;

/// A sweep ended early. The next one finds the remaining reservations.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    #[error("expired reservations could not be read")]
    Store(#[from] StoreError),
    #[error("the engine did not process all expired reservations")]
    Engine(#[from] SubmitError),
}

/// Sweeps until `stop` is cancelled.
pub async fn run(engine: Engine, pool: PgPool, clock: Clock, stop: CancellationToken) {
    let mut tick = tokio::time::interval(SWEEP_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        match expire_due_reservations(&engine, &pool, &clock).await {
            Ok(()) if failing => tracing::info!("expiry sweep resumed"),
            Err(error) if !failing => {
                tracing::warn!(error = &error as &dyn std::error::Error, "expiry sweep failed");
            }
            _ => continue,
        }
        failing = !failing;
    }
}

/// Releases every reservation that has expired.
pub async fn expire_due_reservations(
    engine: &Engine,
    pool: &PgPool,
    clock: &Clock,
) -> Result<(), SweepError> {
    loop {
        let now = clock.now();
        let expired: Vec<Uuid> = find_expired_reservations(pool, now, i64::from(SWEEP_BATCH_SIZE)).await?;
        let is_last_batch = expired.len() < usize::from(SWEEP_BATCH_SIZE);
        try_join_all(expired.into_iter().map(|id| {
            let context = EventContext {
                correlation_id: id,
                causation_id: None,
                traceparent: TraceParent::root(now),
            };
            engine.submit_waiting(Expire { id, context })
        }))
        .await?;
        if is_last_batch {
            return Ok(());
        }
    }
}
