//! `logout`: ends a session, or all sessions of its user.
//!
//! The response is the same for every token, valid or not: afterwards, the token is invalid.

use std::sync::Arc;

use axum::http::StatusCode;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;

use super::refresh::report_session_revoked;
use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    mailer::Mailer,
    sessions::{LogoutOutcome, RefreshToken, Sessions},
};

struct LogoutHandler {
    users: Users,
    sessions: Sessions,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    refresh_token: String,
    /// Ends the user's sessions on all devices.
    #[serde(default)]
    everywhere: bool,
}

/// Creates the function. The crate documentation lists its environment variables.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let sessions_table = bootstrap::sessions_table(&context).await?;
    let handler = Arc::new(LogoutHandler {
        users: bootstrap::users(&context).await?,
        sessions: Sessions::new(sessions_table, context.clock.clone()),
        mailer: bootstrap::mailer(&context)?,
    });
    let cloudfront = bootstrap::cloudfront(&context).await?;
    Ok(api_gateway::handler(context.clock, cloudfront, move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(&request).await }
    }))
}

impl LogoutHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let response = Response::empty(StatusCode::NO_CONTENT);
        let Ok(token) = body.refresh_token.parse::<RefreshToken>() else {
            return Ok(response);
        };
        // This comes before the end of the session: when it fails, the client can retry with the same token.
        if body.everywhere
            && let Some(user_id) = self.sessions.owner(&token).await?
        {
            self.users.revoke_tokens(user_id).await?;
        }
        match self.sessions.logout(&token).await? {
            None => {}
            Some(LogoutOutcome {
                user_id,
                reuse_detected: true,
            }) => {
                report_session_revoked(&self.users, &self.mailer, user_id, request).await?;
            }
            Some(LogoutOutcome {
                user_id,
                reuse_detected: false,
            }) => {
                let (user_id, details) = (Some(user_id), json!({"everywhere": body.everywhere}));
                audit::record(&self.users, request, "logout", user_id, user_id, details).await;
            }
        }
        Ok(response)
    }
}
