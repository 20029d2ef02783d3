//! The DynamoDB table `ecommerce-connections` (partition key `connection_id`): the open connections of the
//! WebSocket API, the one-time tickets with which clients open them, and the revocations that close them.
//!
//! | key | item | written by |
//! | --- | --- | --- |
//! | the connection's id | an open connection | the function `websocket-connection` |
//! | `ticket#<digest>` | a ticket that was not used yet | core-api |
//! | `revoked#<user>` | the time before which a user's connections are invalid | the function `status-push` |
//!
//! Only connections have the attributes `user_id` and `address`, so that only they are in the indexes of
//! these names. DynamoDB deletes an item some time after its `ttl`, so every read checks the `ttl` itself.
//!
//! A read through an index is eventually consistent: it can miss a connection that was opened a moment ago.
//! So nothing that must hold depends on it alone. A push reads the user's revocation consistently, and a
//! client reads each order when it subscribes, and again with each heartbeat.

mod connection;
mod revocation;
mod table;
mod ticket;

pub use connection::{
    ADDRESS_INDEX, Connection, HeartbeatOutcome, MAX_MUTED_ORDERS, MAX_WATCHED_PRODUCTS, MessageLimit,
    USER_INDEX,
};
pub use revocation::Revocation;
pub use table::ConnectionsTable;
pub use ticket::{IssuedTicket, TICKET_LIFETIME, TicketHolder};
