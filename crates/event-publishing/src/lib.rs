//! Event publishing with the transactional outbox pattern.
//!
//! A change and its event commit together: the event is written to an outbox in the same transaction as the
//! change. Right after the commit the event is published to EventBridge and removed from the outbox; the
//! outbox relay ([`Relay`]) sweeps entries that remained after a crash or a failed call. Delivery is at least
//! once. Events that cannot be published are moved to a parking queue, whose depth raises an alarm.

pub mod outbox;
#[cfg(feature = "relay")]
mod parking_queue;
mod publisher;
#[cfg(feature = "relay")]
mod relay;

#[cfg(feature = "postgres")]
pub use outbox::{AccountOutbox, CatalogOutbox, InventoryOutbox};
pub use outbox::{DynamoOutbox, Outbox, OutboxError};
#[cfg(feature = "relay")]
pub use parking_queue::{ParkError, ParkingQueue};
pub use publisher::{Delivery, FailedEvent, Publisher};
#[cfg(feature = "relay")]
pub use relay::{Relay, RelayHandle};
