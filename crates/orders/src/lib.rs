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
//!
//! An order that has not ended stands in an index of such orders, which the write that ends it takes it out of;
//! so what is stuck can be found, and on a quiet day there is nothing to read.

mod customer_commands;
mod erasure;
mod error;
mod model;
mod open_orders;
mod queries;
mod saga_commands;
mod store;

pub use erasure::AnonymiseError;
pub use error::{CancelError, ClaimError, CloseError, CompleteError, FailError, PlaceError, StoreError};
pub use model::{NewOrder, Order, OrderItem, Page, Payment, StatusChange};
pub use open_orders::{OPEN_ORDERS_INDEX, OpenOrders};
pub use store::{Orders, Tables};
