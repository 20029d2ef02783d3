//! How an event leaves.
//!
//! A change and its event commit together: the event is put into an outbox in the change's own transaction.
//! Right after the commit it is published and taken out of the outbox; the [`Relay`] sweeps what a crash, or
//! a bus that refused, left behind. On the wire an event is there at least once. What never goes is parked in a
//! queue, where an alarm rings.

pub mod outbox;
#[cfg(feature = "relay")]
mod parking_queue;
mod publisher;
#[cfg(feature = "relay")]
mod relay;

#[cfg(feature = "postgres")]
pub use outbox::PostgresOutbox;
pub use outbox::{DynamoOutbox, Outbox, OutboxError};
#[cfg(feature = "relay")]
pub use parking_queue::{ParkError, ParkingQueue};
pub use publisher::{Delivery, FailedEvent, Publisher};
#[cfg(feature = "relay")]
pub use relay::{Relay, RelayHandle};
