//! The steps of `order-saga`: one function each, in the file of its name.
//!
//! Forward: [`reserve_stock`], [`process_payment`], [`update_stock`], [`complete_order`],
//! [`send_notification`]. Compensation: [`refund_payment`], [`release_stock`], [`fail_order`]. Which follows
//! which is said in `step-functions/order-saga.asl.json`; each gets the whole [`State`] and answers a small
//! object that the state machine keeps beside it.
//!
//! # Every step may run twice
//!
//! Step Functions retries, functions time out after their effect, and an order's saga itself may be started
//! twice. So no step keeps a record of having run; the ids that it carries make its effect happen once:
//!
//! | step | its effect happens once by |
//! |---|---|
//! | reserve-stock, update-stock, release-stock | the reservation's id, which is the order's: stock-service does each once |
//! | process-payment | the provider's idempotency keys, made of the order's id; the payment's id on the order; the status of the payment on the order |
//! | complete-order, fail-order | the order's status: the second run finds the first one's event |
//! | send-notification | the event's id: who receives it twice knows it |
//! | refund-payment | the payment's state at the provider, its idempotency key, the status of the payment on the order |
//!
//! # The order decides every race
//!
//! A step that was given up may still be running, and its effect arrive late. The order's item is written
//! under conditions, and so is the place where one side loses:
//!
//! - *Cancel against payment.* The customer cancels while the order is pending; the claim ends that. One of
//!   the two finds the condition broken.
//! - *Late payment against refund.* The refund first closes the order to payment. A claim that comes after it
//!   is refused, and no claim means no confirmation. A claim that came before it left the payment's id on the
//!   order, so the refund knows whom to ask: the provider either has the money, and returns it, or cancels the
//!   payment, and a confirmation that comes later fails there.
//! - *Late completion against compensation.* A closed order cannot be completed; a completed one cannot be
//!   closed, and its compensation ends there.
//! - *Goods.* Nothing is released before the order is closed, so goods never go back on sale for an order
//!   that is, or will be, completed: not even when a second execution of the same order fails at its first step.
//!
//! Only these functions take or return money. None of them writes stock: stock-service does.

mod bootstrap;
pub mod complete_order;
mod error;
pub mod fail_order;
mod http_client;
mod outbox_publisher;
pub mod payments;
pub mod process_payment;
pub mod refund_payment;
pub mod release_stock;
pub mod reserve_stock;
pub mod send_notification;
mod state;
mod stock_client;
pub mod update_stock;

pub use error::StepError;
pub use outbox_publisher::OutboxPublisher;
pub use state::{CaughtError, LineItem, OrderOutcome, SagaState};
pub use stock_client::{Reservation, StockClient};
