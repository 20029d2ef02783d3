//! What is true of the shop whatever it runs on: money, ids, quantities, and the way an order may go.
//!
//! Nothing here does I/O, knows a framework or an SDK, or asks the machine for the time or for randomness:
//! both are arguments.

pub mod clock;
pub mod ids;
pub mod money;
pub mod order;
pub mod quantity;

pub use clock::{Clock, Timestamp};
pub use ids::{EventId, OrderId, PaymentId, ProductId, UserId};
pub use money::{Currency, Money};
pub use order::{FailureReason, OrderStatus};
pub use quantity::Quantity;
