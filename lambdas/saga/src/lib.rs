//! The steps of the `order-saga` state machine: one Lambda function per step, one file per function.
//!
//! Forward steps: [`create_payment`], [`reserve_stock`], [`process_payment`], [`update_stock`],
//! [`complete_order`], [`send_notification`]. Compensation steps: [`refund_payment`], [`release_stock`],
//! [`fail_order`]. The order of the steps is defined in `step-functions/order-saga.asl.json`. Each step gets
//! the whole [`SagaState`] and returns a small object, which the state machine adds to the state.
//!
//! # Every step is idempotent
//!
//! Step Functions retries steps, functions time out after their effect, and the saga of an order may be
//! started twice. The steps store no record of having run. Ids make their effects idempotent:
//!
//! | step | what makes it idempotent |
//! |---|---|
//! | reserve-stock, update-stock, release-stock | the reservation id, which equals the order id |
//! | create-payment | the provider's idempotency key |
//! | process-payment | the provider's idempotency keys; the order's payment id and status |
//! | complete-order, fail-order | the order's status: a second run finds the event of the first one |
//! | send-notification | the event id: consumers detect duplicates by it |
//! | refund-payment | the payment's status and refunds at the provider; the order's payment status |
//!
//! The idempotency keys derive from the order id. stock-service applies each transition of a reservation
//! once.
//!
//! # The order item resolves every race
//!
//! A step that timed out may still be running and take effect later. Every write to the order item in
//! DynamoDB is conditional, so exactly one of two conflicting steps succeeds:
//!
//! - *Cancellation against payment.* The customer can cancel the order while it is pending, and the payment
//!   claim ends that status. Only one of the two conditions holds.
//! - *Late payment against refund.* The refund first closes the order to payment. A later claim fails, and a
//!   payment is confirmed only after its claim. An earlier claim left the payment id on the order, so the
//!   refund finds the payment at the provider: it refunds a charged payment and cancels an open one, and a
//!   later confirmation fails.
//! - *Late completion against compensation.* A closed order cannot be completed. A completed order cannot be
//!   closed, and its compensation stops there.
//! - *Stock.* Stock is released only after the order is closed to payment. So the stock of an order that is
//!   or will be completed is never put back on sale, not even when a second execution for the same order
//!   fails at its first step.
//!
//! [`payment_webhook`] is no step: it receives the payment provider's events.
//!
//! Only these functions charge and refund payments. They do not write stock: stock-service does.

mod bootstrap;
pub mod complete_order;
pub mod create_payment;
mod error;
pub mod fail_order;
mod http_client;
mod outbox_publisher;
pub mod payment_webhook;
pub mod payments;
pub mod process_payment;
pub mod refund_payment;
pub mod release_stock;
pub mod reserve_stock;
pub mod send_notification;
mod state;
mod status_push;
mod stock_client;
pub mod update_stock;

pub use error::StepError;
pub use outbox_publisher::OutboxPublisher;
pub use state::{CaughtError, CreatedPayment, LineItem, OrderOutcome, SagaState};
pub use status_push::StatusPush;
pub use stock_client::{Reservation, StockClient};
