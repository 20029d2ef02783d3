//! How an event leaves.
//!
//! A change and its event commit together: the event is put into an outbox in the change's own transaction.
//! Right after the commit it is published and taken out of the outbox; the [`Relay`] sweeps what a crash, or
//! a bus that refused, left behind. On the wire an event is there at least once.

pub mod outbox;
mod publisher;
mod relay;

pub use outbox::{DynamoOutbox, Outbox, OutboxError, PostgresOutbox};
pub use publisher::{Delivery, Publisher, Undelivered};
pub use relay::{Relay, RelayHandle};
