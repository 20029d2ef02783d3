//! Every domain event as a Rust type, in the envelope that all of them travel in.
//!
//! The contract for others is `events/schemas`: a test holds these types against it, both ways. Nothing here
//! sends or receives; that is the crate `bus` and the consumers.

pub mod account_mail_request;
pub mod envelope;
pub mod eventbridge;
pub mod order;
pub mod payment;
pub mod product;
pub mod stock;
pub mod traceparent;
pub mod user;

pub use account_mail_request::{AccountMail, AccountMailRequest, LinkToken};
pub use envelope::{Envelope, EventContext, EventData, OutboxEvent};
pub use eventbridge::EventBridgeEvent;
pub use traceparent::TraceParent;
