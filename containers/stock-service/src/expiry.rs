//! Reservations whose time has run out give their pieces back by themselves.
//!
//! The sweep only finds them. The engine decides, by the time, under the same locks as everything else, so that
//! the pieces of a reservation come back exactly once, however many instances sweep.

use std::time::Duration;

use domain::Clock;
use events::{EventContext, TraceParent};
use futures::future::try_join_all;
use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::engine::{Engine, StoreError, SubmitError, commands::Expire, find_expired_reservations};

/// How often the sweep looks.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How many reservations the sweep hands to the engine at once.
const SWEEP_BATCH_SIZE: i64 = 200;

/// Why a sweep ended early. The next one finds what this one left.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// They could not be looked for.
    #[error("expired reservations could not be read")]
    Store(#[from] StoreError),
    /// The engine could not decide.
    #[error("expired reservations could not be decided")]
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
            Ok(()) if failing => tracing::info!("expired reservations are swept again"),
            Err(error) if !failing => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "expired reservations are not swept"
                );
            }
            _ => continue,
        }
        failing = !failing;
    }
}

/// Expires every reservation whose time has run out by now.
pub async fn expire_due_reservations(
    engine: &Engine,
    pool: &PgPool,
    clock: &Clock,
) -> Result<(), SweepError> {
    loop {
        let now = clock.now();
        let lapsed: Vec<Uuid> = find_expired_reservations(pool, now, SWEEP_BATCH_SIZE).await?;
        let last = lapsed.len() < usize::try_from(SWEEP_BATCH_SIZE).unwrap_or(usize::MAX);
        try_join_all(lapsed.into_iter().map(|id| {
            let cause = EventContext {
                correlation_id: id,
                causation_id: None,
                traceparent: TraceParent::root(now),
            };
            engine.submit_waiting(Expire { id, context: cause })
        }))
        .await?;
        if last {
            return Ok(());
        }
    }
}
