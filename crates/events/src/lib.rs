//! Domain events as Rust types, the envelope that carries them, and the requests for account mails, for codes
//! by SMS and for pushes to WebSocket clients.
//!
//! `events/schemas` is the public contract; a test compares these types with it in both directions. This
//! crate does no I/O: the crate `event-publishing` publishes events, services and functions consume them.

pub mod account_mail_request;
pub mod envelope;
pub mod eventbridge;
pub mod order;
pub mod payment;
pub mod phone_code_request;
pub mod product;
pub mod status_push_request;
pub mod stock;
pub mod stock_push_request;
pub mod traceparent;
pub mod user;

pub use account_mail_request::{AccountMail, AccountMailRequest, LinkToken};
pub use envelope::{Envelope, EventContext, EventData, OutboxEvent};
pub use eventbridge::EventBridgeEvent;
pub use phone_code_request::PhoneCodeRequest;
pub use status_push_request::StatusPushRequest;
pub use stock_push_request::StockPushRequest;
pub use traceparent::TraceParent;
