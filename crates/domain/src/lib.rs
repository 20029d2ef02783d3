//! The platform's value types, free of infrastructure: money, tax, ids, quantities, quiet hours, the rules
//! of texts, and the order state machine.
//!
//! Code in this crate does no I/O, uses no framework and no SDK, and does not read the system clock or a
//! random generator: both are arguments.

pub mod clock;
pub mod ids;
pub mod language;
pub mod money;
pub mod order;
pub mod payment_action;
pub mod quantity;
pub mod quiet_hours;
pub mod tax;
pub mod text;

pub use clock::{Clock, Timestamp};
pub use ids::{EventId, OrderId, PaymentId, ProductId, UserId};
pub use language::Language;
pub use money::{Currency, Money};
pub use order::{FailureReason, OrderStatus};
pub use payment_action::{CustomerSecret, PaymentAction};
pub use quantity::Quantity;
pub use quiet_hours::QuietHours;
pub use tax::{TaxRate, TaxTotal};
