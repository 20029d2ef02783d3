//! Orders in DynamoDB: placing, reading, and every change of an order's status.
//!
//! The order's item is the arbiter of every race. Each write names the statuses that it may come from (the
//! state machine in `domain`), so of two that exclude each other one finds the condition broken:
//!
//! - a customer's cancellation and the saga's claim of the order for payment;
//! - a payment that comes late and the compensation that has closed the order to payment;
//! - the completion whose answer was lost and the compensation that follows from the loss.
//!
//! A change and its event commit in one transaction; the event waits in the outbox (crate `bus`).

mod error;
mod model;
mod place;
mod read;
mod saga;
mod store;

pub use error::{CancelError, ClaimError, CloseError, CompleteError, FailError, PlaceError, StoreError};
pub use model::{NewOrder, Order, OrderItem, Page, Payment, StatusChange};
pub use store::{Orders, Tables};
