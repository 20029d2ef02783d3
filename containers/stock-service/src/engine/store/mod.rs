//! The SQL: locking what a batch concerns, writing what it changed, and the reads that need no batch.

mod lock;
mod read;
mod write;

use uuid::Uuid;

pub(in crate::engine) use lock::lock;
pub use read::{find_level, find_reservation, lapsed_reservations, ping};
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
    /// Whether the same batch may well succeed at once: another instance was faster (a key it has just
    /// written, a deadlock, a serialization failure), or the connection was not there any more.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().is_some_and(|code| {
                matches!(&*code, "23505" | "40001" | "40P01" | "57P01" | "57P02" | "57P03")
            }),
            Self::Database(sqlx::Error::Io(_)) => true,
            _ => false,
        }
    }
}
