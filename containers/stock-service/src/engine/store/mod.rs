//! SQL statements: reading and locking the rows of a batch, writing its changes, and queries outside batches.

mod lock;
mod read;
mod write;

use database::DatabaseError;
use uuid::Uuid;

pub(in crate::engine) use lock::lock;
pub(in crate::engine) use read::read;
pub use read::{find_expired_reservations, find_level, find_levels_changed_since, find_reservation, ping};
pub(in crate::engine) use write::write;

/// The database failed or contains invalid data.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the database did not respond in time")]
    TimedOut,
    /// The row's status is not one of [`crate::model::ReservationStatus`].
    #[error("reservation {id} has unknown status {status:?}")]
    UnknownStatus { id: Uuid, status: String },
}

impl StoreError {
    /// True if an immediate retry may succeed: a conflict with another instance, or an unavailable
    /// database.
    pub(super) fn is_transient(&self) -> bool {
        self.is_conflict() || matches!(self, Self::Database(error) if error.is_unavailable())
    }

    /// True if another instance changed a row first (40001), inserted the same key (23505) or deadlocked with
    /// this one (40P01). The connection remains usable.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Database(error) = self else {
            return false;
        };
        matches!(error.sqlstate().as_deref(), Some("40001" | "23505" | "40P01"))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}
