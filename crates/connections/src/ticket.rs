//! One-time tickets: a client asks for one over HTTP with its access token, and opens a WebSocket connection
//! with it. The table contains only the digest of a ticket.

use chrono::TimeDelta;
use domain::{Timestamp, UserId};
use dynamodb_table::DynamoDbError;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokens::random_token;

use crate::ConnectionsTable;

/// How long a ticket is valid.
pub const TICKET_LIFETIME: TimeDelta = TimeDelta::seconds(30);

/// The length of a ticket: 32 random bytes in URL-safe base64.
const TICKET_LENGTH: usize = 43;

/// A new ticket.
#[derive(Debug)]
pub struct IssuedTicket {
    pub ticket: SecretString,
    pub expires_at: Timestamp,
}

/// The user to whom a ticket was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketHolder {
    pub user_id: UserId,
    /// When the access token was issued with which the user asked for the ticket. A revocation of the user's
    /// tokens also revokes what the ticket opens.
    pub token_issued_at: Timestamp,
}

/// Item of the table. The user is not in an attribute `user_id`, because that is a key of an index.
#[derive(Debug, Serialize, Deserialize)]
struct TicketItem {
    connection_id: String,
    holder: UserId,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    token_issued_at: Timestamp,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    expires_at: Timestamp,
    ttl: i64,
}

impl ConnectionsTable {
    /// Issues a ticket that opens one connection within [`TICKET_LIFETIME`].
    pub async fn issue_ticket(&self, holder: TicketHolder) -> Result<IssuedTicket, DynamoDbError> {
        let ticket = random_token::generate();
        let expires_at = self.clock.now() + TICKET_LIFETIME;
        let item = TicketItem {
            connection_id: item_key(&ticket),
            holder: holder.user_id,
            token_issued_at: holder.token_issued_at,
            expires_at,
            // Rounded up, because the ticket is valid until `expires_at`.
            ttl: expires_at.timestamp() + 1,
        };
        self.table.put(&item).await?;
        Ok(IssuedTicket {
            ticket: ticket.into(),
            expires_at,
        })
    }

    /// Uses a ticket. Returns `None` if it was never issued, has expired, or was used before: of several
    /// concurrent calls, only one gets its holder.
    pub async fn redeem_ticket(&self, ticket: &str) -> Result<Option<TicketHolder>, DynamoDbError> {
        if ticket.len() != TICKET_LENGTH {
            return Ok(None);
        }
        let now = self.clock.now();
        let item: Option<TicketItem> = self.table.take_unexpired([item_key(ticket)], now).await?;
        // The `ttl` is rounded up to seconds.
        Ok(item
            .filter(|item| now < item.expires_at)
            .map(|item| TicketHolder {
                user_id: item.holder,
                token_issued_at: item.token_issued_at,
            }))
    }
}

fn item_key(ticket: &str) -> String {
    format!("ticket#{}", random_token::digest(ticket))
}
