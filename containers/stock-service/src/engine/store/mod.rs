//! The SQL: reading and locking what a batch concerns, writing what it changed, and the reads that need no
//! batch.

mod lock;
mod read;
mod write;

use std::borrow::Cow;

use uuid::Uuid;

pub(in crate::engine) use lock::lock;
pub(in crate::engine) use read::read;
pub use read::{find_expired_reservations, find_level, find_reservation, ping};
pub(in crate::engine) use write::write;

/// The database failed, or holds what it cannot.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It refused, or could not be reached.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// It did not answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
    /// A reservation has a status that this program does not know.
    #[error("reservation {id} has the unknown status {status}")]
    UnknownStatus {
        /// The reservation.
        id: Uuid,
        /// Its status.
        status: String,
    },
}

impl StoreError {
    /// Whether the same batch may well succeed at once: another instance was faster, or the connection was not
    /// there any more.
    pub(super) fn is_transient(&self) -> bool {
        self.is_conflict()
            || matches!(self, Self::Database(sqlx::Error::Io(_)))
            || matches!(self.sql_state().as_deref(), Some("57P01" | "57P02" | "57P03"))
    }

    /// Whether another instance was faster: a row is not as it was read, a key has just been written, or each
    /// waited for the other. The connection is as good as before.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self.sql_state().as_deref(), Some("40001" | "23505" | "40P01"))
    }

    fn sql_state(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code(),
            _ => None,
        }
    }
}
