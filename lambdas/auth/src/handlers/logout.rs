//! `logout`: ends a session, or all sessions of its user.
//!
//! The response is the same for every token, valid or not: afterwards, the token is invalid.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode};
use http_server::Json;
use lambda_shared::{FunctionContext, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;

use super::refresh::report_session_revoked;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AuthError, audit, bootstrap,
    http::RequestContext,
    mailer::Mailer,
    sessions::{LogoutOutcome, RefreshToken, Sessions},
};

pub(crate) struct LogoutState {
    users: Users,
    sessions: Sessions,
    mailer: Mailer,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogoutRequest {
    refresh_token: String,
    /// Ends the user's sessions on all devices.
    #[serde(default)]
    everywhere: bool,
}

/// Creates the route. The crate documentation lists its environment variables.
pub async fn routes(context: &FunctionContext) -> Result<Router, InitError> {
    let sessions_table = bootstrap::sessions_table(context).await?;
    let state = Arc::new(LogoutState {
        users: bootstrap::users(context).await?,
        sessions: Sessions::new(sessions_table, context.clock.clone()),
        mailer: bootstrap::mailer(context)?,
    });
    Ok(OpenApiRouter::new()
        .routes(routes!(logout))
        .with_state(state)
        .into())
}

/// Ends a session, or all sessions of its user.
///
/// The response is the same whether the refresh token was valid or not.
#[utoipa::path(
    post, path = "/v1/auth/logout", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    request_body = LogoutRequest,
    responses(
        (status = 204, description = "The refresh token is not valid any more"),
    ),
)]
pub(crate) async fn logout(
    State(state): State<Arc<LogoutState>>,
    context: RequestContext,
    Json(body): Json<LogoutRequest>,
) -> Result<StatusCode, AuthError> {
    let Ok(token) = body.refresh_token.parse::<RefreshToken>() else {
        return Ok(StatusCode::NO_CONTENT);
    };
    // This comes before the end of the session: when it fails, the client can retry with the same token.
    if body.everywhere
        && let Some(user_id) = state.sessions.owner(&token).await?
    {
        state.users.revoke_tokens(user_id).await?;
    }
    match state.sessions.logout(&token).await? {
        None => {}
        Some(LogoutOutcome {
            user_id,
            reuse_detected: true,
        }) => {
            report_session_revoked(&state.users, &state.mailer, user_id, &context).await?;
        }
        Some(LogoutOutcome {
            user_id,
            reuse_detected: false,
        }) => {
            let (user_id, details) = (Some(user_id), json!({"everywhere": body.everywhere}));
            audit::record(&state.users, &context, "logout", user_id, user_id, details).await;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
