//! The table, and what all its items have in common.

use aws_sdk_dynamodb::Client;
use domain::Clock;
use dynamodb_table::Table;

/// The table. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct ConnectionsTable {
    pub(crate) table: Table<1>,
    pub(crate) clock: Clock,
}

impl ConnectionsTable {
    #[must_use]
    pub fn new(client: Client, name: impl Into<String>, clock: Clock) -> Self {
        Self {
            table: Table::new(client, name, ["connection_id"]),
            clock,
        }
    }
}
