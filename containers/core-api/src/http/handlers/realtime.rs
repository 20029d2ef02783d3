//! `/v1/realtime`: access to the WebSocket API.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use connections::{ConnectionsTable, TicketHolder};
use domain::Timestamp;
use http_server::Json;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use tokens::Permission;
use url::Url;
use utoipa::ToSchema;

use crate::http::{
    ApiError,
    extractors::{Authorized, permission},
};

/// The WebSocket API and its table.
#[derive(Clone, Debug)]
pub struct Realtime {
    pub table: ConnectionsTable,
    pub websocket_api_url: Url,
}

/// A ticket that opens one connection of the WebSocket API.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RealtimeTicket)]
pub struct TicketResponse {
    /// Send it in the query parameter `ticket` of the WebSocket handshake. It is valid once.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String, min_length = 43, max_length = 43)]
    ticket: SecretString,
    /// The time until which the ticket is valid, 30 seconds from now.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// The URL of the WebSocket API, without the ticket.
    #[schema(format = "uri", example = "wss://realtime.matsuri.example/live")]
    url: String,
}

/// Issues a one-time ticket for a WebSocket connection.
///
/// Ask for a new ticket for each connection. The connection receives the status updates of all orders of the
/// caller. It ends when the caller signs out everywhere, gets a new password or deletes the account.
#[utoipa::path(
    post, path = "/v1/realtime/ticket", tag = "Realtime", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::PlaceOrders))),
    responses((status = 201, description = "The ticket", body = TicketResponse)),
)]
pub async fn issue_ticket(
    State(realtime): State<Realtime>,
    Authorized(user, ..): Authorized<permission::PlaceOrders>,
) -> Result<impl IntoResponse, ApiError> {
    let holder = TicketHolder {
        user_id: user.id,
        token_issued_at: user.token_issued_at,
    };
    let issued = realtime.table.issue_ticket(holder).await?;
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    let response = TicketResponse {
        ticket: issued.ticket,
        expires_at: issued.expires_at,
        url: realtime.websocket_api_url.into(),
    };
    Ok((StatusCode::CREATED, no_store, Json(response)))
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}
