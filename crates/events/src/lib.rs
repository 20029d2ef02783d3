//! Every domain event as a Rust type, in the envelope that all of them travel in.
//!
//! The contract for others is `events/schemas`: a test holds these types against it, both ways. Nothing here
//! sends or receives; that is the crate `bus` and the consumers.

pub mod bridge;
pub mod envelope;
pub mod mail;
pub mod order;
pub mod payment;
pub mod product;
pub mod stock;
pub mod trace;
pub mod user;

pub use bridge::BridgeEvent;
pub use envelope::{Cause, Envelope, EventData, Outgoing};
pub use mail::{AccountMail, LinkToken, MailRequest};
pub use trace::TraceParent;
