//! Why a query failed.

use std::{borrow::Cow, error::Error};

/// A query of the database failed.
#[derive(Debug, thiserror::Error)]
#[error("a database query failed")]
pub struct DatabaseError(#[from] sqlx::Error);

/// SQLSTATEs of a server that is stopping, has crashed, is starting, has no free connection, or refuses the
/// password, which may have been rotated a moment ago.
const UNAVAILABLE_SQLSTATES: [&str; 5] = ["57P01", "57P02", "57P03", "53300", "28P01"];

impl DatabaseError {
    /// True if the database cannot be reached, is restarting, has no free connection or refuses the password:
    /// the same query may succeed shortly.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match &self.0 {
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => true,
            _ => self
                .sqlstate()
                .is_some_and(|sqlstate| UNAVAILABLE_SQLSTATES.contains(&&*sqlstate)),
        }
    }

    /// The error of a column that contains a value that the program does not know.
    pub fn invalid_value(column: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: source.into(),
        })
    }

    /// The SQLSTATE, if the server reported the error.
    #[must_use]
    pub fn sqlstate(&self) -> Option<Cow<'_, str>> {
        self.0.as_database_error()?.code()
    }
}
