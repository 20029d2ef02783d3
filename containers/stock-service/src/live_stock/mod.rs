//! Live stock: announces the levels of products to the function `stock-push`, which sends them to the
//! customers who watch the products.
//!
//! A level is announced at most once per [`INTERVAL`], however often it changes. The first change after a
//! quiet time is announced at once. With Redis, all instances together keep the interval
//! ([`SharedLevels`]); without Redis, each instance does.
//!
//! Every change is announced in the end: a level waits in memory until SQS has accepted it, and after a start
//! the levels that have changed recently are announced again, because an instance may have been killed before
//! it had announced them.

mod shared_levels;
mod stock_push_queue;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use domain::{Clock, ProductId};
use events::StockPushRequest;
use futures::future::join_all;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    engine::{Change, StoreError, find_levels_changed_since},
    model::StockLevel,
};

pub use shared_levels::SharedLevels;
use shared_levels::Turn;
pub use stock_push_queue::StockPushQueue;

/// The shortest time between two announcements of a product's level.
pub const INTERVAL: Duration = Duration::from_millis(400);

/// The longest time between two attempts while SQS or the database is unavailable.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// After a start, levels that have changed within this time are announced. It covers the time in which a
/// killed instance is replaced.
const RECENT: TimeDelta = TimeDelta::minutes(10);

/// Levels that wait for their announcement, the newest of each product.
type Levels = BTreeMap<ProductId, StockPushRequest>;

/// Records changed levels for the announcer. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct LevelChanges(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    changed: Mutex<Levels>,
    notify: Notify,
}

impl LevelChanges {
    /// Records the committed changes of a batch. Never waits.
    pub fn record(&self, changes: &[Change<ProductId, StockLevel>]) {
        // A committed reservation lowers the quantity and the reserved units, and customers see neither.
        let visible = changes
            .iter()
            .filter(|change| change.from.available() != change.to.available());
        let mut changed = self.0.changed.lock().unwrap_or_else(PoisonError::into_inner);
        for change in visible {
            keep_newest(&mut changed, push_request(change.id, &change.to));
        }
        if !changed.is_empty() {
            self.0.notify.notify_one();
        }
    }

    async fn wait(&self) {
        self.0.notify.notified().await;
    }

    fn take(&self) -> Levels {
        std::mem::take(&mut *self.0.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Announces recorded levels.
pub struct Announcer {
    level_changes: LevelChanges,
    queue: StockPushQueue,
    /// `None` without Redis.
    shared_levels: Option<SharedLevels>,
    pool: PgPool,
    clock: Clock,
    waiting: Levels,
    failing: bool,
}

impl Announcer {
    #[must_use]
    pub fn new(
        level_changes: LevelChanges,
        queue: StockPushQueue,
        shared_levels: Option<SharedLevels>,
        pool: PgPool,
        clock: Clock,
    ) -> Self {
        Self {
            level_changes,
            queue,
            shared_levels,
            pool,
            clock,
            waiting: Levels::new(),
            failing: false,
        }
    }

    /// Announces levels until `stop` is cancelled, and then those that still wait.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut recovered = false;
        let mut pause = INTERVAL;
        while !stop.is_cancelled() {
            let result = async {
                if !recovered {
                    self.recover().await?;
                    recovered = true;
                }
                self.announce().await
            }
            .await;
            pause = self.pause_after(result, pause);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            if recovered && self.waiting.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.level_changes.wait() => {}
                }
            }
        }
        // Nothing else would announce them before the next start.
        self.shared_levels = None;
        if let Err(error) = self.announce().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "levels were not announced before the stop");
        }
    }

    /// Adds the levels that have changed recently.
    async fn recover(&mut self) -> Result<(), AnnounceError> {
        let since = self.clock.now() - RECENT;
        for (id, level) in find_levels_changed_since(&self.pool, since).await? {
            keep_newest(&mut self.waiting, push_request(id, &level));
        }
        Ok(())
    }

    /// Announces the waiting levels whose interval has passed.
    async fn announce(&mut self) -> Result<(), AnnounceError> {
        for level in self.level_changes.take().into_values() {
            keep_newest(&mut self.waiting, level);
        }
        let turns = join_all(self.waiting.values().map(|level| self.take_turn(*level))).await;
        let mut due = Vec::new();
        for turn in turns {
            match turn {
                Turn::Announce(level) => due.push(level),
                Turn::Announced(id) => drop(self.waiting.remove(&id)),
                Turn::Wait => {}
            }
        }
        let (accepted, result) = self.queue.send(&due).await;
        for level in &accepted {
            if self
                .waiting
                .get(&level.product_id)
                .is_some_and(|waiting| waiting.version <= level.version)
            {
                self.waiting.remove(&level.product_id);
            }
        }
        if let Some(shared) = &self.shared_levels {
            join_all(accepted.iter().map(|level| shared.confirm(*level))).await;
        }
        result
    }

    async fn take_turn(&self, level: StockPushRequest) -> Turn {
        match &self.shared_levels {
            Some(shared) => shared.take_turn(level).await,
            None => Turn::Announce(level),
        }
    }

    /// Returns how long to wait, and logs the first failure and the first success after it.
    fn pause_after(&mut self, result: Result<(), AnnounceError>, pause: Duration) -> Duration {
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the announcement of levels resumed");
                }
                INTERVAL
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "levels cannot be announced");
                }
                MAX_BACKOFF.min(pause * 2)
            }
        }
    }
}

/// Why levels could not be announced. They are announced later.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// SQS refused some messages or did not respond. The text contains the whole source chain.
    #[error("SQS request failed: {0}")]
    Queue(String),
    #[error("the levels that have changed recently cannot be read")]
    Store(#[from] StoreError),
}

fn push_request(product_id: ProductId, level: &StockLevel) -> StockPushRequest {
    StockPushRequest {
        product_id,
        available: level.available(),
        version: level.updated_at.timestamp_micros(),
    }
}

fn keep_newest(levels: &mut Levels, level: StockPushRequest) {
    let stored = levels.entry(level.product_id).or_insert(level);
    if stored.version < level.version {
        *stored = level;
    }
}
