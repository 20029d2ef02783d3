//! Orders in DynamoDB: placing, reading, and every change of an order's status.
//!
//! Conditional writes on the order's item resolve every race. Each write requires one of the statuses that
//! may precede it (the state machine in `domain`), so of two conflicting writes one fails its condition:
//!
//! - a customer's cancellation and the saga's claim of the order for payment;
//! - a late payment and the compensation that has closed the order to payment;
//! - a customer's return from the bank, the customer's cancellation there and the end of the time for both;
//! - a completion whose response was lost and the compensation that follows.
//!
//! A change and its event commit in one transaction; the event is written to the outbox (crate
//! `event-publishing`).
//!
//! Open orders are listed in a sparse index; the write that ends an order removes it from the index. Stuck
//! orders can therefore be found cheaply, and an idle platform reads nothing.

mod customer_commands;
mod erasure;
mod error;
mod model;
mod open_order_limit;
mod open_orders;
mod payment_actions;
mod payment_issues;
mod placement;
mod queries;
mod saga_commands;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use erasure::AnonymiseError;
pub use error::{CancelError, ClaimError, CloseError, CompleteError, FailError, PlaceError};
pub use model::{
    Claim, HistoryEntry, NewOrder, Order, OrderChange, OrderItem, Page, Payment, PaymentStep, SmsContact,
};
pub use open_orders::{MAX_RESTARTS, OPEN_ORDERS_INDEX, OpenOrders};
pub use payment_issues::PaymentIssue;
pub use placement::OrderPlacement;
pub use store::{Orders, OrdersWithOutbox};
