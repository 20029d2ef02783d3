//! `websocket-authorizer`: admits a connection with a one-time ticket.
//!
//! The ticket is in the query parameter `ticket`, because browsers cannot set headers of a WebSocket
//! handshake. It is used up by this call, also if the connection fails afterwards. API Gateway refuses a
//! handshake without the parameter with 401, and one that this function denies with 403.

use connections::{ConnectionsTable, TicketHolder};
use dynamodb_table::DynamoDbError;
use lambda_shared::{FunctionContext, FunctionError, Handler, InitError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bootstrap;

/// A ticket that was never issued. Its use opens the connection to DynamoDB.
const UNKNOWN_TICKET: &str = "0000000000000000000000000000000000000000000";

/// The event of a REQUEST authorizer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizerEvent {
    method_arn: String,
    query_string_parameters: Option<QueryParameters>,
}

#[derive(Deserialize)]
struct QueryParameters {
    ticket: Option<String>,
}

/// Why the ticket was not examined. API Gateway answers the handshake with 500.
#[derive(Debug, thiserror::Error)]
enum AuthorizerError {
    #[error("this function expects the event of a REQUEST authorizer")]
    Event(#[source] serde_json::Error),
    #[error(transparent)]
    Table(#[from] DynamoDbError),
}

/// Initialises the function. `CONNECTIONS_TABLE` is the table of tickets.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let table = bootstrap::connections_table(&context)?;
    table.redeem_ticket(UNKNOWN_TICKET).await?;
    Ok(Handler::new(move |invocation| {
        let table = table.clone();
        async move { authorize(&table, invocation.payload).await }
    }))
}

async fn authorize(table: &ConnectionsTable, payload: Value) -> Result<Value, AuthorizerError> {
    let event: AuthorizerEvent = serde_json::from_value(payload).map_err(AuthorizerError::Event)?;
    let ticket = event
        .query_string_parameters
        .and_then(|parameters| parameters.ticket);
    let holder = match ticket {
        Some(ticket) => table.redeem_ticket(&ticket).await?,
        None => None,
    };
    if holder.is_none() {
        tracing::info!("the ticket was never issued, has expired or was used before");
    }
    Ok(response(&event.method_arn, holder))
}

/// The policy for API Gateway. It passes the context to the function `websocket-connection` with each event
/// of the connection.
fn response(method_arn: &str, holder: Option<TicketHolder>) -> Value {
    let policy = |effect: &str| {
        json!({
            "Version": "2012-10-17",
            "Statement": [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": method_arn}],
        })
    };
    match holder {
        Some(TicketHolder {
            user_id,
            token_issued_at,
        }) => json!({
            "principalId": user_id,
            "policyDocument": policy("Allow"),
            "context": {
                "user_id": user_id,
                "token_issued_at": token_issued_at.timestamp_millis().to_string(),
            },
        }),
        None => json!({"principalId": "unknown", "policyDocument": policy("Deny")}),
    }
}

impl FunctionError for AuthorizerError {
    fn name(&self) -> &'static str {
        match self {
            Self::Event(_) => "InvalidInput",
            Self::Table(_) => "Unavailable",
        }
    }

    fn is_business_error(&self) -> bool {
        false
    }
}
